"""Trace contexts: which are passed on and with what, what a log line names, and that spans are told without anybody waiting."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.contextvars import get_contextvars

from schemas import codec
from schemas.outcomes import MailSettled
from services.local.ports import free_ports
from services.runtime import spans, tracing
from services.runtime.broker import Row
from services.runtime.effect_settings import EffectSettings
from services.runtime.effects import Away, Downstream, Limits, Refused
from services.runtime.failures import TaskCorrupted
from services.runtime.handling import Handling
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings
from services.runtime.tracing import carried, carrying, exporting
from tests.runtime.collector import Collector
from tests.runtime.fakes import INPUT, OUTPUT, PARTITION, Stage

LIMIT_S = 30.0
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOPIC = "chat.deliveries.v1"


def parent(trace: str = TRACE, span: str = SPAN, *, flags: str = "01") -> tuple[str, bytes]:
    return ("traceparent", f"00-{trace}-{span}-{flags}".encode())


STATE = ("tracestate", b"vendor=1,other=2")
OTHER = ("baggage", b"user=zoe@example.com")


@pytest.mark.parametrize(
    ("headers", "passed_on"),
    [
        ((), ()),
        ((OTHER,), ()),
        ((parent(),), (parent(),)),
        ((OTHER, STATE, parent()), (parent(), STATE)),
        ((parent(flags="00"), STATE), (parent(flags="00"), STATE)),
        ((STATE,), ()),
        ((parent(), parent()), ()),
        ((parent(), STATE, STATE), (parent(),)),
        ((parent(), ("tracestate", b"v=" + b"x" * 510)), (parent(), ("tracestate", b"v=" + b"x" * 510))),
        ((parent(), ("tracestate", b"v=" + b"x" * 511)), (parent(),)),
        ((parent(), ("tracestate", "v=葵".encode())), (parent(),)),
        ((parent(), ("tracestate", None)), (parent(),)),
        ((("traceparent", None),), ()),
        ((("traceparent", b"00-1"),), ()),
        ((parent(trace="0" * 32),), ()),
        ((parent(span="0" * 16),), ()),
        ((parent(trace=TRACE.upper()),), ()),
        ((("traceparent", b"01" + parent()[1][2:]),), ()),
        ((("traceparent", parent()[1] + b"\n"),), ()),
    ],
)
def test_only_one_sound_context_is_passed_on(
    headers: Sequence[tuple[str, bytes | None]], passed_on: tuple[tuple[str, bytes], ...]
) -> None:
    assert carried(headers) == passed_on


@pytest.mark.parametrize(
    "url",
    ["localhost:4318", "ftp://localhost/v1/traces", "http:///v1/traces", "https://user:secret@collector/v1"],
)
def test_what_is_no_collectors_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RuntimeSettings(tracing_url=url)
    (error,) = refused.value.errors()
    assert "http://localhost:4318/v1/traces was expected" in error["msg"]
    assert "secret" not in error["msg"]


def test_workers_of_both_kinds_import_no_opentelemetry() -> None:
    kinds = "services.router.worker, services.runtime.faust_app"
    program = f"import sys, {kinds}; print([name for name in sys.modules if 'opentelemetry' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout == "[]\n"


# ---------------------------------------------------------------- the exactly-once loop


async def test_what_follows_from_a_record_carries_its_context_again_after_a_failure() -> None:
    stage = Stage()
    contexts = [(parent(),), (), (parent(span="1" * 16), STATE), (OTHER,)]
    for number, headers in enumerate(contexts):
        stage.broker.append((INPUT, PARTITION), Row(b"key", b"%d" % number, headers))
    stage.fail("commit", TaskCorrupted("unknown outcome"))
    await stage.task().run()
    rows = list(stage.broker.rows((OUTPUT, PARTITION)))
    assert [row.headers for row in rows] == [contexts[0], (), contexts[2], ()]
    assert {row.headers for row in stage.broker.rows(("state", PARTITION))} == {()}


async def test_a_batch_is_one_span_with_links_and_each_record_one_in_its_own_trace() -> None:
    collector, stage = Collector(), Stage()
    for number, headers in enumerate([(parent(),), (), (parent(flags="00"),)]):
        stage.broker.append((INPUT, PARTITION), Row(b"key", b"%d" % number, headers))
    stage.broker.append((INPUT, PARTITION), Row(b"key", b"3"))  # in a batch of its own, so without any span
    async with collector.open(), exporting(settings(collector.url), Metrics()):
        await stage.task().run()
    (batch,) = collector.of("decide a batch")
    assert batch.trace_id != TRACE
    assert (batch.parent_id, batch.links) == ("", (SPAN,))
    assert batch.said["messaging.batch.message_count"] == 4
    (one,) = collector.of(f"process {INPUT}")
    assert (one.trace_id, one.parent_id, one.links) == (TRACE, SPAN, (batch.span_id,))
    assert one.said["messaging.kafka.offset"] == 0


def settings(url: str | None) -> EffectSettings:
    return EffectSettings(tracing_url=url, group="chat-notifier")


# ---------------------------------------------------------------- records with effects


def record(number: int, *headers: tuple[str, bytes]) -> InputRecord:
    data = MailSettled(notice_id=f"n{number}", kind="feedback", recipient="r", result="sent", chat_id="c7")
    value = codec.encode(data, event_id=f"e{number}", source="/test", at_ms=0, workspace_id="acme")
    return InputRecord(TOPIC, 0, number, number, b"acme", value, headers)


class Effect:
    """A handler: keeps what would be written and what log lines would name, and calls its server once."""

    def __init__(self, *, away: int = 0, refused: bool = False) -> None:
        self.away = away
        self.refused = refused
        self.written: list[tuple[tuple[str, bytes], ...]] = []
        self.named: list[dict[str, Any]] = []
        self._server = Downstream("mail.example:25", kind="mail", limits=Limits(), metrics=Metrics())

    async def handle(self, _envelope: Any) -> None:
        self.named.append(get_contextvars())
        if self.away:
            self.away -= 1
            raise Away("server", retry_s=0.01)
        try:
            await self._server.call(self._answer)
        except Refused:
            self.written.append(())
        else:
            self.written.append(carrying())

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.refused:
            raise Refused("smtp_550")


async def handled(url: str, effect: Effect, records: Sequence[InputRecord], *, writes: int = 1) -> None:
    """Let the records be handled by a worker that lives until so much is written."""

    async def send(*_values: Any, **_named: Any) -> None:
        raise AssertionError("everything can be read")

    async with Ledger(url, group="effects") as ledger:
        made = Handling(EffectSettings(), Metrics(), ledger, send)
        made.on(TOPIC, codec.deliveries, effect.handle)
        for each in records:
            await made.settled(each)
        working_off = asyncio.create_task(made.work_off())
        try:
            async with asyncio.timeout(LIMIT_S):
                while len(effect.written) < writes:  # noqa: ASYNC110  a list has no events
                    await asyncio.sleep(0.01)
        finally:
            working_off.cancel()
            await asyncio.wait({working_off})
            await made.end(limit_s=LIMIT_S)


async def test_what_an_effect_writes_and_logs_names_its_record_also_once_it_was_parked(
    database_url: str,
) -> None:
    effect = Effect(away=1)
    await handled(database_url, effect, [record(4, OTHER, parent(), STATE)])
    assert effect.written == [(parent(), STATE)]
    named = {"topic": TOPIC, "partition": 0, "offset": 4, "trace_id": TRACE}
    assert effect.named == 2 * [named | {"workspace_id": "acme", "chat_id": "c7"}]
    assert get_contextvars() == {}
    assert carrying() == ()


async def test_a_parking_made_by_a_version_that_knew_no_headers_is_gone_on_with(tmp_path: Path) -> None:
    old = record(1)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
        database.execute(
            "CREATE TABLE effects_parked (topic VARCHAR(249), partition INTEGER, record_offset BIGINT, timestamp_ms BIGINT, "
            "record_key BLOB, record_value BLOB, queue VARCHAR(300), owner VARCHAR(160), "
            "PRIMARY KEY (topic, partition, record_offset))"
        )
        database.execute(
            "INSERT INTO effects_parked VALUES (?, 0, 1, 1, ?, ?, 'server', 'gone')",
            (old.topic, old.key, old.value),
        )
    effect = Effect(away=1)
    await handled(f"sqlite:///{tmp_path / 'ledger.db'}", effect, [record(4, parent())], writes=2)
    assert sorted(effect.written) == [(), (parent(),)]


async def test_an_effect_has_a_span_in_the_publishers_trace_and_its_call_one_below(tmp_path: Path) -> None:
    collector = Collector()
    async with collector.open(), exporting(settings(collector.url), Metrics()):
        await handled(f"sqlite:///{tmp_path / 'a.db'}", Effect(refused=True), [record(4, parent())])
        await handled(f"sqlite:///{tmp_path / 'b.db'}", Effect(), [record(5, parent(flags="00"))])
        await handled(f"sqlite:///{tmp_path / 'c.db'}", Effect(), [record(6)])
    process, call = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert (process.name, call.name) == (f"process {TOPIC}", "call mail")
    assert (process.service, process.trace_id, process.parent_id) == ("chat-notifier", TRACE, SPAN)
    assert (process.said["chat.workspace_id"], process.said["chat.chat_id"]) == ("acme", "c7")
    assert (call.trace_id, call.parent_id) == (TRACE, process.span_id)
    assert (call.said, call.failed) == ({"peer.service": "mail.example:25", "error.type": "smtp_550"}, True)
    assert not process.failed


# ---------------------------------------------------------------- the collector


async def test_a_collector_that_is_away_is_not_waited_for_and_what_it_misses_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans, "CLOSE_LIMIT_S", 0.1)
    loop, metrics, made = asyncio.get_running_loop(), Metrics(), spans.QUEUE_MAX + 500
    (port,) = free_ports(1)
    async with exporting(settings(f"http://127.0.0.1:{port}/v1/traces"), metrics):
        began_s = loop.time()
        for number in range(made):
            with tracing.deciding([record(number, parent())]):
                pass
        took_s = loop.time() - began_s
        dropped = metrics.value("spans_total", result="dropped") or 0
        began_s = loop.time()
    assert loop.time() - began_s < spans.CLOSE_LIMIT_S + spans.EXPORT_LIMIT_S
    assert took_s < spans.EXPORT_LIMIT_S, "nobody waits for the collector"
    assert dropped == 2 * made - spans.QUEUE_MAX, "a batch's span and its record's"
    assert metrics.value("spans_total", result="dropped") == 2 * made
    assert metrics.value("spans_total", result="taken") is None


async def test_what_the_collector_takes_is_counted_too() -> None:
    collector, metrics = Collector(), Metrics()
    async with collector.open(), exporting(settings(collector.url), metrics):
        with pytest.raises(ZeroDivisionError), tracing.deciding([record(0, parent())]):
            raise ZeroDivisionError("zoe@example.com")
    assert metrics.value("spans_total", result="taken") == len(collector.spans) == 2
    assert all(span.failed and span.said["error.type"] == "ZeroDivisionError" for span in collector.spans)
    assert b"zoe" not in b"".join(collector.bodies)
