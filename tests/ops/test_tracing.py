"""One trace from a frontend's record to the mail and the CRM, told to a collector; and what a collector costs that is absent, or hangs."""

import asyncio
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.envelope import from_ms
from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS
from services.local.installation import CRM_SYNC, NOTIFIER, ROUTER, TRANSCRIPT, Installation
from services.local.topic_log import TopicLog
from services.runtime.ports import InputRecord
from services.runtime.process import EXIT_STOPPED
from services.runtime.wall_clock import now_ms
from tests.runtime.collector import Collector

pytestmark = [pytest.mark.kafka, pytest.mark.ops, pytest.mark.timeout(300)]

LIMIT_S = 60.0
STOP_LIMIT_S = 12.0
"""Less than the grace time of 16 s, after which a worker would end in any case."""
FOLLOWS = {
    ROUTING: {"chat.queued.v1", "chat.missed.v1", "chat.closed.v1"},
    NOTICES: {"notice.unattended.v1"},
    TRANSCRIPTS: {"transcript.completed.v1"},
    DELIVERIES: {"mail.settled.v1"},
    ACTIVITIES: {"crm.settled.v1"},
}
"""What follows from a chat that nobody takes in time: all but the first by a deadline, which belongs to the request's trace."""
PRIVATE = ("Zacharias Quellenhof", "zq@private.example", "My card is stolen", "team@desk.example")
WORKERS = (ROUTER, NOTIFIER, TRANSCRIPT, CRM_SYNC)


@dataclass(frozen=True, slots=True)
class Visit:
    """A chat whose events a frontend has published, in a trace of its own or in none."""

    workspace_id: str
    chat_id: str
    trace_id: str
    span_id: str

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        parent = f"00-{self.trace_id}-{self.span_id}-01".encode()
        return (("traceparent", parent), ("tracestate", b"frontend=7"))

    async def publish(self, bootstrap: str, *, traced: bool) -> None:
        headers = [*self.headers, ("baggage", PRIVATE[0].encode())] if traced else []
        mail = {"enabled": True, "addresses": PRIVATE[3]}
        visitor = {"visitor_id": "v", "name": PRIVATE[0], "email": PRIVATE[1]}
        events: list[tuple[str, dict[str, Any]]] = [
            ("workspace.configured.v1", {"name": "W", "language": "en"}),
            (
                "department.configured.v1",
                {
                    "department_id": "desk",
                    "name": "Desk",
                    "agent_ids": [],
                    "routing": {"mode": "auto", "wait_timeout_s": 1.0, "after_hours": "queue"},
                    "email": {"unattended": mail, "from_address": PRIVATE[3]},
                },
            ),
            ("crm.configured.v1", {"connector": "embedded", "lead_policy": "always"}),
            (
                "chat.requested.v1",
                {
                    "chat_id": self.chat_id,
                    "channel": "web",
                    "question": PRIVATE[2],
                    "visitor": visitor,
                    "department_id": "desk",
                },
            ),
        ]
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for number, (kind, data) in enumerate(events):
                event = {
                    "specversion": "1.0",
                    "id": f"{self.chat_id}-{number}",
                    "source": "/frontends/test",
                    "type": kind,
                    "time": from_ms(now_ms()),
                    "workspaceid": self.workspace_id,
                    "data": data,
                }
                await producer.send_and_wait(
                    EVENTS,
                    orjson.dumps(event),
                    key=self.workspace_id.encode(),
                    headers=headers if kind == "chat.requested.v1" else [],
                )
            for topic in (EVENTS, NOTICES):
                await producer.send_and_wait(
                    topic, b"{poison", key=self.workspace_id.encode(), headers=headers
                )

    async def unlike(self, bootstrap: str, headers: tuple[tuple[str, bytes], ...]) -> list[InputRecord]:
        """What follows from it and carries other headers, when all that is to follow stands there."""
        found: dict[str, list[InputRecord]] = {topic: [] for topic in FOLLOWS}
        async with TopicLog(bootstrap, FOLLOWS) as log, asyncio.timeout(LIMIT_S):
            while any(FOLLOWS[topic] - {_type_of(each) for each in found[topic]} for topic in FOLLOWS):
                for record in await log.catch_up():
                    if f'"chat_id":"{self.chat_id}"'.encode() in (record.value or b""):
                        found[record.topic].append(record)
                await asyncio.sleep(0.1)
        return [record for of_topic in found.values() for record in of_topic if record.headers != headers]


def visit() -> Visit:
    return Visit(f"w-{uuid4().hex[:8]}", uuid4().hex, uuid4().hex, uuid4().hex[:16])


def _type_of(record: InputRecord) -> str:
    kind: str = orjson.loads(record.value or b"")["type"]
    return kind


@asynccontextmanager
async def working(folder: Path, bootstrap: str, **overrides: str) -> AsyncIterator[Installation]:
    """The four workers; each must stop well in time."""
    installation = Installation(folder, bootstrap=bootstrap, partitions=1, overrides=overrides)
    await asyncio.to_thread(installation.__enter__)
    try:
        yield installation
        for name in WORKERS:
            began_s = time.monotonic()
            assert await asyncio.to_thread(installation.supervisor.stop_worker, name) == EXIT_STOPPED
            assert time.monotonic() - began_s < STOP_LIMIT_S, name
    finally:
        await asyncio.to_thread(installation.__exit__, None, None, None)


def spans_counted(installation: Installation, worker: str, result: str) -> float:
    with urllib.request.urlopen(f"{installation.http_url(worker)}/metrics", timeout=LIMIT_S) as page:
        lines = page.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("chat_spans_total") and result in line
    )


async def until_counted(installation: Installation, worker: str, result: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(spans_counted, installation, worker, result):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.1)


async def test_one_trace_is_found_from_the_publisher_to_the_mail_and_the_crm(
    own_kafka: str, tmp_path: Path
) -> None:
    traced, plain, collector = visit(), visit(), Collector()
    async with collector.open():
        async with working(tmp_path, own_kafka, CHAT_TRACING_URL=collector.url) as installation:
            await plain.publish(own_kafka, traced=False)
            await traced.publish(own_kafka, traced=True)
            for each, headers in ((traced, traced.headers), (plain, ())):
                assert await each.unlike(own_kafka, headers) == []
            await until_counted(installation, CRM_SYNC, "taken")
            mails = [mail.path.read_bytes() for mail in installation.mailbox.mails()]
        logs = {name: (tmp_path / "logs" / f"{name}.log").read_text() for name in WORKERS}
    in_trace = {(span.service, span.name) for span in collector.spans if span.trace_id == traced.trace_id}
    assert in_trace == {
        (ROUTER, f"process {EVENTS}"),
        (TRANSCRIPT, f"process {EVENTS}"),
        (TRANSCRIPT, f"process {ROUTING}"),
        (NOTIFIER, f"process {NOTICES}"),
        (NOTIFIER, f"process {TRANSCRIPTS}"),
        (NOTIFIER, f"process {ACTIVITIES}"),
        (NOTIFIER, "call mail"),
        (CRM_SYNC, f"process {NOTICES}"),
        (CRM_SYNC, f"process {TRANSCRIPTS}"),
        (CRM_SYNC, "call crm"),
    }
    batches = collector.of("decide a batch")
    assert {span.service for span in batches} == {ROUTER, TRANSCRIPT}
    assert {link for span in batches for link in span.links} == {traced.span_id}
    assert traced.trace_id not in {span.trace_id for span in batches}
    for name in (ROUTER, NOTIFIER, CRM_SYNC):
        assert {each["trace_id"] for each in _letters(logs[name]) if "trace_id" in each} == {traced.trace_id}
    told = b"".join(collector.bodies).decode("latin-1") + "".join(logs.values())
    assert [text for text in PRIVATE if text in told] == []
    assert len(mails) == 2
    assert not any(traced.trace_id.encode() in mail for mail in mails), "a trace is nothing for strangers"


def _letters(log: str) -> list[dict[str, Any]]:
    return [entry for entry in map(orjson.loads, log.splitlines()) if entry.get("event") == "dead_letter"]


async def test_without_a_collector_contexts_are_passed_on_and_opentelemetry_is_not_imported(
    own_kafka: str, tmp_path: Path
) -> None:
    trap = tmp_path / "trap" / "opentelemetry"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('OpenTelemetry was imported')\n")
    traced = visit()
    async with working(tmp_path / "data", own_kafka, PYTHONPATH=str(trap.parent)) as installation:
        await traced.publish(own_kafka, traced=True)
        assert await traced.unlike(own_kafka, traced.headers) == []
        assert {spans_counted(installation, name, "") for name in WORKERS} == {0.0}


async def test_a_collector_that_hangs_costs_spans_and_nothing_else(own_kafka: str, tmp_path: Path) -> None:
    traced = visit()
    with hanging() as url:
        async with working(tmp_path, own_kafka, CHAT_TRACING_URL=url) as installation:
            await traced.publish(own_kafka, traced=True)
            assert await traced.unlike(own_kafka, traced.headers) == []
            await until_counted(installation, NOTIFIER, "dropped")
            assert spans_counted(installation, NOTIFIER, "taken") == 0


@contextmanager
def hanging() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"
