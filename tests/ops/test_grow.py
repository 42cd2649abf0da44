"""Partitions are added while chats wait and go on: what follows equals a plain run of the cores in which nothing was ever moved."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from typer.testing import CliRunner

from schemas import codec
from schemas.decisions import ChatClosed
from schemas.topics import EVENTS, NOTICES, ROUTING, TOPICS, TRANSCRIPTS, dead_letters
from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.cli import app
from services.local.errors import LocalError
from services.local.growing import layout as layouts
from services.local.growing.layout import Layout, administering
from services.local.growing.way import Plan, grow, planned
from services.local.kafka import EmbeddedKafka
from services.local.partitions import partition_of
from services.local.play import play
from services.local.ports import LOOPBACK, free_ports
from services.local.progress import silent
from services.local.publishing import Publisher
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics
from services.router.processor import RouterProcessor
from services.runtime.broker import Row
from services.runtime.deadletter import ORIGIN
from services.runtime.links import links
from services.runtime.ports import InputRecord
from services.transcript.processor import TranscriptProcessor
from tests.runtime.plain_run import plain_run

pytestmark = [pytest.mark.kafka, pytest.mark.ops, pytest.mark.timeout(900)]

BEFORE, AFTER = 6, 12
ROUTER, TRANSCRIPT = "chat-router", "chat-transcript"
MODULES = {ROUTER: "services.router.worker", TRANSCRIPT: "services.transcript.worker"}
READ = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS)
LINKS = {"base_url": "http://pages.example", "secret": "no secret, since nobody opens these links"}
LIMIT_S = 120.0
POISONED, FROM, TO = "globex", 1, 7
"""A workspace whose one record can't be read, and its partitions."""
FIRST_PART_S = 9.0
"""Of a day of 15 s: in its middle many chats wait, ring and go on."""
STEPS = ("Nobody runs", "All topics have", "The new partitions' offsets", "The state is written")
STANDS_STILL = """
import asyncio, sys, time
from services.local.growing.way import grow
from services.local.progress import silent

def told(sentence):
    if sentence.startswith(sys.argv[2]):
        print(sentence, flush=True)
        time.sleep(600)  # until it is killed

asyncio.run(grow(sys.argv[1], wanted=int(sys.argv[3]), told=told, progress=silent))
"""


class Workers:
    """A router and a transcript worker, each a process."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._common = {
            "CHAT_BOOTSTRAP": bootstrap,
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_TICK_INTERVAL_MS": "200",
            "CHAT_ARCHIVE_URL": f"sqlite:///{folder / 'archive.db'}",
            "CHAT_PUBLIC_URL": LINKS["base_url"],
            "CHAT_LINK_SECRET": LINKS["secret"],
        }
        self._folder = folder

    @contextmanager
    def running(self, **more: str) -> Iterator[Supervisor]:
        workers = [
            Worker(
                name,
                module,
                port,
                {**self._common, "CHAT_INSTANCE_ID": f"{name}-1", "CHAT_HTTP_PORT": str(port), **more},
            )
            for (name, module), port in zip(MODULES.items(), free_ports(len(MODULES)), strict=True)
        ]
        settings = LocalSettings(worker_start_limit_s=LIMIT_S)
        with Supervisor(workers, logs=self._folder / "logs", settings=settings) as supervisor:
            yield supervisor


async def act(bootstrap: str, *, seed: int, limit_s: float | None) -> None:
    """Act a day out, or its first part: then people fall silent in the middle of what they do."""
    day = sample_day.make(chats=150, seed=seed, curve=built_in_curve(), day_ms=15_000, pace=40)
    try:
        async with asyncio.timeout(limit_s):
            await play(day, bootstrap=bootstrap)
    except TimeoutError:
        assert limit_s is not None


async def publish_poison(bootstrap: str) -> None:
    async with Publisher(bootstrap) as publisher:
        await publisher.send(POISONED.encode(), b"{poison")


def redrive(bootstrap: str) -> str:
    command = ["dlq", "redrive", "--workspace", POISONED, "--bootstrap", bootstrap]
    return CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False).stdout


async def letters(bootstrap: str) -> list[tuple[int, bytes | None]]:
    """The partition of each of its dead letters, and which one it was before."""
    async with TopicLog(bootstrap, [dead_letters(EVENTS)]) as log:
        await log.catch_up()
    return [
        (record.partition, dict(record.headers).get(ORIGIN))
        for record in log.all_of(dead_letters(EVENTS))
        if record.key == POISONED.encode() and record.value is not None
    ]


async def layout_of(bootstrap: str) -> Layout:
    async with administering(bootstrap) as admin:
        return await layouts.look(admin)


def bring_to_rest(bootstrap: str, supervisor: Supervisor, *, count: int) -> None:
    """Stop the router when all events are processed, and so the transcripts' source; people have fallen silent, time-outs have not."""
    asyncio.run(processed(bootstrap, [ROUTER], count=count))
    supervisor.stop_worker(ROUTER)
    asyncio.run(processed(bootstrap, list(MODULES), count=count))


async def processed(bootstrap: str, groups: list[str], *, count: int) -> None:
    """Return when these have processed all but the router's own last ticks."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            layout = await layout_of(bootstrap)
            theirs = replace(layout, committed={group: layout.committed[group] for group in groups})
            try:
                return await layouts.demand_drained(bootstrap, theirs, before=count)
            except LocalError as error:
                assert "Not everything is processed yet" in str(error)  # noqa: PT017 - anything else is no reason to wait
                await asyncio.sleep(0.2)


def kill_after(bootstrap: str, step: str) -> None:
    """Run the tool in a process of its own, and kill it when a step has been told."""
    command = [sys.executable, "-c", STANDS_STILL, bootstrap, step, str(AFTER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        assert tool.stderr is not None
        told = tool.stdout.readline()
        tool.send_signal(signal.SIGKILL)
        assert told.startswith(step), tool.stderr.read()


def refused(workers: Workers, log: Path) -> str:
    """What a worker says that does not start."""
    with pytest.raises(LocalError, match="ended by itself"), workers.running():
        pass
    failed = [line for line in log.read_text().splitlines() if '"worker_failed"' in line]
    return str(json.loads(failed[-1])["reason"])


# ---------------------------------------------------------------- what should stand there


def rows(records: list[InputRecord]) -> list[Row]:
    return [Row(record.key, record.value, record.headers) for record in records]


def of_workspaces(found: list[Row], number: int) -> list[Row]:
    return [row for row in found if partition_of((row.key or b"").decode(), partitions=AFTER) == number]


def until(records: list[InputRecord], end: int) -> list[InputRecord]:
    return [record for record in records if record.offset < end]


def judge(
    log: TopicLog, layout: Layout, then: Layout, number: int
) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """A partition's records beside those of a core that was never moved.

    It reads the old partition up to where it was processed, and goes on with this one; it is asked for this one's workspaces.
    """
    old = number % BEFORE
    first: dict[str, list[InputRecord]] = {}
    second: dict[str, list[InputRecord]] = {}
    for group, topic in ((ROUTER, EVENTS), (TRANSCRIPT, ROUTING)):
        moved_at = layout.committed[group].get(TopicPartition(topic, old), 0)  # nothing was decided there
        end = then.committed[group].get(TopicPartition(topic, number), 0)
        first[topic] = until(log.of(topic, old), moved_at)
        second[topic] = [
            record
            for record in until(log.of(topic, number), end)
            if number != old or record.offset >= moved_at
        ]
    router = RouterProcessor(old)
    before = plain_run(router, first[EVENTS])
    router.partition.number = number
    after = plain_run(router, second[EVENTS])
    assembler = TranscriptProcessor(old, link=links(**LINKS, lifetime_s=90 * 24 * 3600.0))
    before[TRANSCRIPTS] = plain_run(assembler, [*first[EVENTS], *first[ROUTING]])[TRANSCRIPTS]
    after[TRANSCRIPTS] = plain_run(assembler, [*second[EVENTS], *second[ROUTING]])[TRANSCRIPTS]
    for topic in (ROUTING, NOTICES, TRANSCRIPTS):
        here = before[topic] if number == old else []
        yield topic, rows(log.of(topic, number)), [*here, *of_workspaces(after[topic], number)]


def closed(found: list[InputRecord]) -> set[tuple[str, str]]:
    envelopes = [codec.decisions.decode(record.value) for record in found]
    return {(each.workspaceid, each.data.chat_id) for each in envelopes if isinstance(each.data, ChatClosed)}


# ---------------------------------------------------------------- the tests


def test_partitions_are_added_in_the_middle_of_a_day(tmp_path: Path) -> None:
    with ExitStack() as parts:
        at = parts.enter_context(EmbeddedKafka()).bootstrap
        asyncio.run(ensure_topics(at, partitions=BEFORE))
        workers = Workers(at, tmp_path)
        with workers.running() as supervisor:
            asyncio.run(publish_poison(at))
            asyncio.run(act(at, seed=1, limit_s=FIRST_PART_S))
            bring_to_rest(at, supervisor, count=BEFORE)
        plan = asyncio.run(planned(at, wanted=AFTER))
        assert (plan.before, plan.wanted) == (BEFORE, AFTER)
        assert plan.records > 0
        assert plan.offsets > 0
        layout = asyncio.run(layout_of(at))
        assert set(layout.counts.values()) == {BEFORE}, "a dry run changes nothing"
        assert set(layout.made_with.values()) == {frozenset([BEFORE])}

        for step in STEPS:
            kill_after(at, step)
        with pytest.raises(LocalError, match="Finish `chat-routing grow` first"):
            redrive(at)
        assert "made with 6 partitions, and chat.events.v1 has 12" in refused(
            workers, tmp_path / "logs" / f"{ROUTER}.log"
        )
        told: list[str] = []
        done = asyncio.run(grow(at, wanted=AFTER, told=told.append, progress=silent))
        assert done == Plan(BEFORE, AFTER, plan.records, 0)
        assert [sentence.startswith(step) for sentence, step in zip(told, STEPS, strict=True)] == [
            True
        ] * len(STEPS)
        command = [
            sys.executable,
            "-m",
            "services.local.cli",
            "grow",
            "--bootstrap",
            at,
            "--partitions",
            "12",
        ]
        again = subprocess.run(command, capture_output=True, text=True, check=True)
        assert again.stdout == "There is nothing to do: there are 12 partitions.\n"

        with workers.running() as supervisor:
            assert redrive(at) == "Put back: 1.\n"
            asyncio.run(act(at, seed=2, limit_s=None))
            bring_to_rest(at, supervisor, count=AFTER)
        origin = f"{dead_letters(EVENTS)}/{FROM}/0".encode()
        assert asyncio.run(letters(at)) == [(FROM, None), (TO, origin)], "refused again where it is now"
        then = asyncio.run(layout_of(at))
        assert set(then.counts) == {topic.name for topic in TOPICS}
        assert set(then.counts.values()) == {AFTER}
        assert set(then.made_with.values()) == {frozenset([AFTER])}
        asyncio.run(equal(at, layout, then))


async def equal(bootstrap: str, layout: Layout, then: Layout) -> None:
    async with TopicLog(bootstrap, READ) as log:
        await log.catch_up()
        asked_for_before = {
            (record.key or b"").decode()
            for number in range(BEFORE)
            for record in until(
                log.of(EVENTS, number), layout.committed[ROUTER][TopicPartition(EVENTS, number)]
            )
        }
        for number in range(AFTER):
            for topic, found, expected in judge(log, layout, then, number):
                assert found == expected, f"{topic}, partition {number}"
        moved = {name for name in asked_for_before if partition_of(name, partitions=AFTER) >= BEFORE}
        assert moved, "a workspace must move, or nothing is proved"
        ended = {chat for number in range(BEFORE, AFTER) for chat in closed(log.of(ROUTING, number))}
        begun = {
            (envelope.workspaceid, getattr(envelope.data, "chat_id", None))
            for number in range(BEFORE)
            for record in log.of(ROUTING, number)
            if (envelope := codec.decisions.decode(record.value)).workspaceid in moved
        }
        assert ended & begun, "a chat must have begun in an old partition and ended in a new one"


def test_somebody_has_added_partitions_by_hand_while_others_published(tmp_path: Path) -> None:
    """Workers refuse; what lies in the old partitions is drained without ticks, and what lies in new ones follows in its order."""
    with ExitStack() as parts:
        at = parts.enter_context(EmbeddedKafka()).bootstrap
        asyncio.run(ensure_topics(at, partitions=BEFORE))
        workers = Workers(at, tmp_path)
        with workers.running() as supervisor:
            asyncio.run(act(at, seed=1, limit_s=FIRST_PART_S / 2))
            supervisor.stop_worker(ROUTER)
            supervisor.stop_worker(TRANSCRIPT)
        asyncio.run(act(at, seed=3, limit_s=4.0))  # nobody processes it before the partitions are added
        asyncio.run(add_by_hand(at))
        asyncio.run(act(at, seed=2, limit_s=4.0))
        assert "chat-routing grow" in refused(workers, tmp_path / "logs" / f"{ROUTER}.log")
        with pytest.raises(LocalError, match=f"CHAT_DRAIN_PARTITIONS={BEFORE}"):
            asyncio.run(grow(at, wanted=AFTER, told=print, progress=silent))
        with workers.running(CHAT_DRAIN_PARTITIONS=str(BEFORE)) as supervisor:
            bring_to_rest(at, supervisor, count=BEFORE)
        layout = asyncio.run(layout_of(at))
        asyncio.run(grow(at, wanted=AFTER, told=print, progress=silent))
        with workers.running() as supervisor:
            asyncio.run(act(at, seed=4, limit_s=None))
            bring_to_rest(at, supervisor, count=AFTER)
        asyncio.run(equal(at, layout, asyncio.run(layout_of(at))))


async def add_by_hand(bootstrap: str) -> None:
    async with administering(bootstrap) as admin:
        await admin.create_partitions({topic.name: NewPartitions(AFTER) for topic in TOPICS})
