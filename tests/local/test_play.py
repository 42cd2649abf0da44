"""A scenario against the real router on a real Kafka: what is exported and replayed is what stands in the topics."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING, dead_letters
from services.local.accounts import Accounts
from services.local.export import lines
from services.local.kafka import EmbeddedKafka
from services.local.play import Played, play
from services.local.publishing import publish_file
from services.local.replay import replay
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics
from services.local.verify import Verified, catch_up, check, committed_offsets, replay_differs
from tests.local.rehearsed import day

CHATS = 60
PARTITIONS = 6
TOPICS = (EVENTS, ROUTING, NOTICES, ROUTER_STATE, dead_letters(EVENTS))
GROUP = "chat-router"

pytestmark = pytest.mark.kafka


@contextmanager
def router(bootstrap: str, log: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_HTTP_PORT": "0",
        "CHAT_TICK_INTERVAL_MS": "100",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.router.worker"], env=environment, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text()


async def judged(bootstrap: str, folder: Path) -> tuple[Verified, list[str], Accounts]:
    offsets = await committed_offsets(bootstrap, group=GROUP)
    async with TopicLog(bootstrap, TOPICS) as log:
        await catch_up(log)
        exported = folder / "events.jsonl"
        exported.write_bytes(b"".join(lines(log)))
        books = Accounts()
        books.take(record for topic in TOPICS if topic != ROUTER_STATE for record in log.all_of(topic))
        verified = check(log, offsets=offsets)
        return verified, replay_differs(replay(exported), log), books


async def invent_a_decision(bootstrap: str) -> None:
    """Write the first decision of a partition once more behind its last."""
    async with TopicLog(bootstrap, (ROUTING,)) as log:
        await log.catch_up()
        again = log.all_of(ROUTING)[0]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(ROUTING, again.value, key=again.key, partition=again.partition)
    finally:
        await producer.stop()


def test_a_played_day_is_sound_and_repeats_offline(tmp_path: Path) -> None:
    with EmbeddedKafka() as kafka:
        bootstrap = kafka.bootstrap
        asyncio.run(ensure_topics(bootstrap, partitions=PARTITIONS))
        extra = tmp_path / "extra.jsonl"
        extra.write_bytes(b'{"type":"router.tick.v1"}\n{"type":"router.snapshot.v1"}\nnot JSON\n')
        with router(bootstrap, tmp_path / "router.log"):
            assert asyncio.run(publish_file(extra, bootstrap=bootstrap)) == 1, "ticks are the router's own"
            played: Played = asyncio.run(play(day(CHATS), bootstrap=bootstrap))
            assert played.open_chats == 0
            verified, replayed, books = asyncio.run(judged(bootstrap, tmp_path))
            assert (verified.violations, replayed) == ([], [])
            assert verified.decisions > CHATS
            assert books.chats == CHATS
            ended = [books.outcomes(outcome) for outcome in ("handled", "handled_by_bot", "missed")]
            assert sum(ended) == CHATS
            assert books.dead_letters == 2, "the day's poison, and the line that is no JSON"
            assert played.heard_at_ms
        asyncio.run(invent_a_decision(bootstrap))
        verified, replayed, _ = asyncio.run(judged(bootstrap, tmp_path))
        assert 6 in {broken.invariant for broken in verified.violations}
        assert len(replayed) == 1
