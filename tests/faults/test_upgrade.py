"""All workers go to the next version, host after host, and back again, while days are acted out: nothing is lost, nothing doubled.

The one rule: versions take partitions over from each other in both directions, and what only the newer one knows is still there
after the older one has written it; otherwise this proves nothing.
"""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from schemas import events as e
from schemas.envelope import from_ms
from schemas.topics import ROUTER_STATE, TRANSCRIPT_STATE
from services.local.publishing import Publisher, wall_ms
from services.local.sample_company import COMPANIES
from services.local.topic_log import TopicLog
from services.router.core.state import Chat, Profile
from services.runtime.ports import InputRecord
from tests.faults.effect_workers import encoded
from tests.faults.judgement import judge
from tests.faults.next_version import REVISION, SLOGAN_SET, make
from tests.faults.stage import PARTITIONS, ROUTER, TRANSCRIPT, Stage, name_of
from tests.faults.test_acted_day import Acting

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

HOSTS, CHATS, DAY_MS = 2, 60, 8_000
SLOGAN_INTERVAL_S = 0.2
PATIENT = "patient"
"""A workspace whose chats wait for longer than all this takes."""
STATES = (ROUTER_STATE, TRANSCRIPT_STATE)


def test_a_rolling_upgrade_and_the_way_back(tmp_path: Path, seed: int, console: Console) -> None:
    following = make(tmp_path / "next")
    with Stage(tmp_path, brokers=1, hosts=HOSTS) as stage:
        names = [name for host in range(HOSTS) for name in workers_of(host)]
        for name in names:
            stage.start(name)
        stage.await_ready(*names)
        acting = Acting(stage, Random(seed), console, chats=CHATS, day_ms=DAY_MS)
        written: dict[TopicPartition, int] = {}
        back = Event()

        def roll() -> None:
            try:
                for code, host in itertools.product((following, None), range(HOSTS)):
                    for name in workers_of(host):
                        assert stage.stop(name) == 0, f"{name} did not stop in order"
                    written.update(
                        asyncio.run(ends(stage))
                    )  # in the end: from here on all are of this version
                    for name in workers_of(host):
                        stage.start(name, code=code)
                    stage.await_ready(*workers_of(host))
            finally:
                back.set()

        asyncio.run(acting.act_out(roll, partial(go_on_publishing, stage, until=back)))
        codes = {name: stage.stop(name) for name in stage.running}
        assert set(codes.values()) == {0}, codes
        found = asyncio.run(judge(stage))
        kept = asyncio.run(remembered(stage, since=written))
    console.print(f"{found.decisions} decisions, {found.transcripts} transcripts, {kept}", soft_wrap=True)
    assert found.wrong == []
    assert not stage.ended
    assert found.transcripts
    assert all(kept[topic] for topic in STATES), "what the next version knows was written back by this one"
    assert stage.count("archive_of_a_newer_version") >= HOSTS
    with closing(sqlite3.connect(stage.archive)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]


def workers_of(host: int) -> list[str]:
    """Return the names of a host's workers, readers before writers."""
    return [name_of(TRANSCRIPT, host), name_of(ROUTER, host)]


def go_on_publishing(stage: Stage, *, until: Event) -> None:
    """Publish events of a type that only the next version knows, and chats that outlast it: each hears one message in the end."""

    async def publish() -> None:
        async with Publisher(stage.bootstrap) as publisher:

            async def tell(event: Any) -> None:
                await publisher.send(PATIENT.encode(), encoded(event, PATIENT, f"patient-{publisher.count}"))

            patience = e.Routing(wait_timeout_s=3_600.0)
            await tell(e.DepartmentConfigured("desk", "Desk", agent_ids=("ann",), routing=patience))
            chats = 0
            while not await asyncio.to_thread(until.wait, SLOGAN_INTERVAL_S):
                for company in COMPANIES:
                    name = company.workspace_id
                    await publisher.send(name.encode(), slogan_set(name, publisher.count))
                await tell(e.ChatRequested(f"c{chats}", "web", "?", e.Visitor("v")))
                chats += 1
            for number in range(chats):
                await tell(e.ChatMessage(f"c{number}", "m", e.Sender("visitor"), "!"))

    asyncio.run(publish())


def slogan_set(workspace_id: str, number: int) -> bytes:
    """An event as a frontend of the next version publishes it."""
    event = {
        "specversion": "1.0",
        "id": f"slogan-{number}",
        "source": "/tests",
        "type": SLOGAN_SET,
        "time": from_ms(wall_ms()),
        "workspaceid": workspace_id,
        "data": {"slogan": "We answer."},
    }
    return json.dumps(event).encode()


async def ends(stage: Stage) -> Mapping[TopicPartition, int]:
    """Return how far the states have been written."""
    partitions = [TopicPartition(topic, number) for topic in STATES for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=stage.bootstrap) as consumer:
        found: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found


async def remembered(stage: Stage, *, since: Mapping[TopicPartition, int]) -> Mapping[str, int]:
    """Return how many stored values since then hold what the next version has put there. Fails where one has lost it."""
    async with TopicLog(stage.bootstrap, STATES) as log:
        await log.catch_up()
    last: dict[tuple[str, bytes | None], Any] = {}
    kept = dict.fromkeys(STATES, 0)
    for record in (record for topic in STATES for record in log.all_of(topic)):
        of_next, place = of_next_version(record), (record.topic, record.key)
        known = last.get(place)
        assert record.value is None or known in (None, of_next), f"{record.key!r} has lost {known!r}"
        last[place] = of_next
        if of_next is not None and record.offset >= since[TopicPartition(record.topic, record.partition)]:
            kept[record.topic] += 1
    return kept


def of_next_version(record: InputRecord) -> Any:
    """Return the value of the field that only the next version has; None where it has none."""
    assert record.key is not None
    if record.value is None:
        return None
    stored = orjson.loads(record.value)
    if record.topic == TRANSCRIPT_STATE:
        return stored.get("begun_by") if isinstance(stored, dict) else None
    kind = {b"chat": Chat, b"profile": Profile}.get(record.key.split(b"/")[0])
    if kind is None:
        return None
    return next(iter(stored[1][len(fields(kind)) :]), None)
