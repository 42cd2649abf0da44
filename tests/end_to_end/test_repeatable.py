"""One resolved day, decided four times: as it was acted out, offline under two hash seeds, and by the router on a real Kafka.

One rule: the log is the same record for record, ticks and offsets included, so all four must give the same bytes, and folding what
was decided the same state. `make repeatable` does it with a day of 20,000 chats.
"""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from bench.day import Record, as_input
from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING, TOPICS, Topic, dead_letters
from services.local import sample_day, verify
from services.local.arrivals import built_in_curve
from services.local.input_log import empty_snapshot, line
from services.local.rehearsal import Rehearsal
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics
from services.router.core.fold import differences
from services.router.core.invariants import Checker
from services.router.core.partition import Partition
from services.router.processor import RouterProcessor, read_entry
from services.router.records import encode_emitted
from services.router.worker import RouterSettings
from services.runtime.ports import InputRecord
from services.runtime.runner import Context, Runner

CHATS = int(os.environ.get("REPEATABLE_CHATS", "500"))
CHAT_EVERY_MS = 4_320
"""20,000 chats are a day of 24 hours; fewer are as close together, in a shorter one."""
PARTITIONS = 6
POLL_INTERVAL_S = 0.2
LIMIT_S = 60 + CHATS * 0.05
READ_BACK = (EVENTS, ROUTING, NOTICES, ROUTER_STATE, dead_letters(EVENTS))

pytestmark = pytest.mark.timeout(3 * LIMIT_S)

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass
class Day:
    """The log, what was decided when it came about, and the states that led to."""

    file: Path
    records: list[InputRecord] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    decided: dict[Place, list[InputRecord]] = field(default_factory=lambda: defaultdict(list))
    states: dict[int, Partition] = field(default_factory=dict)

    def of(self, partition: int) -> list[InputRecord]:
        return [record for record in self.records if record.partition == partition]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    made = sample_day.make(
        chats=CHATS, seed=1, curve=built_in_curve(), day_ms=CHATS * CHAT_EVERY_MS, pace=1.0
    )
    rehearsal = Rehearsal(replace(made, poisoned=()), PARTITIONS)
    day = Day(tmp_path_factory.mktemp("repeatable") / "events.jsonl")
    with day.file.open("wb") as log:
        log.write(empty_snapshot(at_ms=made.head.starts_at_ms))
        for acted in rehearsal.run():
            entry = acted.entry
            log.write(line(acted.envelope, partition=entry.partition, offset=entry.offset, at_ms=entry.at_ms))
            day.records.append(as_input(Record(acted.envelope, entry)))
            for item in acted.emitted:
                made_of = encode_emitted(item)
                assert made_of.value is not None, "decisions are never tombstones"
                place = made_of.topic, entry.partition
                offset = len(day.decided[place])
                day.decided[place].append(InputRecord(*place, offset, item.at_ms, made_of.key, made_of.value))
                day.lines.append(made_of.value)
    assert rehearsal.open_chats == 0
    day.states = {number: lane.router for number, lane in rehearsal.lanes.items()}
    return day


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_offline_under_any_hash_seed_the_bytes_are_the_same(day: Day, hash_seed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "services.local.cli", "replay", day.file],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert len(day.lines) > CHATS, "each chat has an outcome at least"
    assert _first_difference(ran.stdout.splitlines(), day.lines) is None


def test_folding_inputs_and_decisions_gives_the_state_without_deciding(day: Day) -> None:
    for number, state in day.states.items():
        decided, told = (verify.recorded(day.decided[topic, number]) for topic in (ROUTING, NOTICES))
        checker = Checker(number, decisions=decided, notices=told)
        for record in day.of(number):
            checker.enter(read_entry(record))
        assert checker.finish() == []
        assert differences(checker.fold.partition, state) == []


@pytest.mark.kafka
async def test_on_kafka_the_same_log_leads_to_the_same_records_and_state(day: Day, own_kafka: str) -> None:
    await ensure_topics(own_kafka, partitions=PARTITIONS, topics=tuple(map(_as_published, TOPICS)))
    await _publish(day, own_kafka)
    await _route(day, own_kafka)
    offsets = await verify.committed_offsets(own_kafka, group=RouterSettings().group)
    async with TopicLog(own_kafka, READ_BACK) as log:
        await verify.catch_up(log)
        for number in range(PARTITIONS):
            assert _first_difference(log.of(EVENTS, number), day.of(number)) is None
            for topic in (ROUTING, NOTICES):
                found, wanted = log.of(topic, number), day.decided[topic, number]
                assert _first_difference(_contents(found), _contents(wanted)) is None, topic
        verified = verify.check(log, offsets=offsets)
    assert verified.violations == [], "folded, they give what the router stored"
    assert verified.records == len(day.records)


# ---------------------------------------------------------------- the log, put into Kafka as it stands


def _as_published(topic: Topic) -> Topic:
    """The input topic takes records' times from us, whatever the time is now, and keeps them; the others are the contract's."""
    if topic.name != EVENTS:
        return topic
    own_time = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    return replace(topic, config={**topic.config, **own_time, "retention.ms": "-1"})


async def _publish(day: Day, bootstrap: str) -> None:
    """Without a transaction, whose marker would take an offset; idempotent, so that no record stands twice."""
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5
    ) as producer:
        deliveries = [
            await producer.send(
                EVENTS, record.value, record.key, record.partition, timestamp_ms=record.timestamp_ms
            )
            for record in day.records
        ]
        await asyncio.gather(*deliveries)


async def _route(day: Day, bootstrap: str) -> None:
    """Runs the router until it has committed everything: as its worker does, but without a ticker, for the log has ticks."""
    settings = RouterSettings(bootstrap=bootstrap, commit_interval_ms=100)
    ends = {number: len(day.of(number)) for number in day.states}
    context = Context(asyncio.Event())
    runner = Runner(
        context, settings=settings, inputs=(EVENTS,), changelog=ROUTER_STATE, factory=RouterProcessor
    )
    router = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            while not router.done():
                await asyncio.sleep(POLL_INTERVAL_S)
                if not context.health.unready and await _committed(bootstrap, settings.group, ends):
                    break
    finally:
        context.stop.set()
        await router


async def _committed(bootstrap: str, group: str, ends: dict[int, int]) -> bool:
    reached = await verify.committed_offsets(bootstrap, group=group)
    return all(reached.get(number) == end for number, end in ends.items())


# ---------------------------------------------------------------- comparing


def _contents(records: Sequence[InputRecord]) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in records]


def _first_difference(found: Sequence[Any], wanted: Sequence[Any]) -> object:
    """The first place where two lists differ, with what stands there; comparing them whole prints them whole."""
    if found == wanted:
        return None
    pairs = zip(found, wanted, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(wanted)))
    return place, found[place : place + 1], wanted[place : place + 1], len(found), len(wanted)
