"""The disk of the archive is full while chats close: transcripts go on, operators are told, and in the end nothing is missing.

The one rule: the archive is compared, row for row, with one that was fed from the same topics on a disk with room.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.request import urlopen

import pytest

from schemas import codec
from schemas.events import ChatMessage, ChatRequested, Sender, Visitor, VisitorLeft
from schemas.topics import TRANSCRIPTS
from services.local.ports import LOOPBACK
from services.local.publishing import Publisher, wall_ms
from services.local.topic_log import TopicLog
from services.transcript.archive.database import Archive
from tests.faults.judgement import ARCHIVED, drain, judge
from tests.faults.small_disk import small_disk
from tests.faults.stage import LIMIT_S, POLL_INTERVAL_S, Stage
from tests.transcript import sources

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

ROUTER, TRANSCRIPT = "router-0", "transcript-0"
DISK_MB = 48
WORKSPACES = [f"full-{number}" for number in range(6)]
NOT_OF_THE_TOPICS = ("offsets", "summaries")
"""How far it has been read, and what a task beside the projector makes."""
CHATS, MESSAGES, LONG_TEXT = 4, 5, "長い話 " * 1_000


def visit(chat_id: str) -> Iterator[Any]:
    """Give what a visitor does who asks, talks for long, and leaves: the chat closes without anybody's help."""
    yield ChatRequested(chat_id, "web", "?", Visitor("v"))
    for number in range(MESSAGES):
        yield ChatMessage(chat_id, f"{chat_id}-{number}", Sender("visitor"), LONG_TEXT)
    yield VisitorLeft(chat_id)


async def publish(bootstrap: str, *, name: str) -> None:
    """Publish chats for every workspace."""
    async with Publisher(bootstrap) as publisher:
        for workspace_id in WORKSPACES:
            for chat in range(CHATS):
                for number, data in enumerate(visit(f"{name}-{chat}")):
                    value = codec.encode(
                        data,
                        event_id=f"{name}-{chat}-{number}",
                        source="/tests",
                        at_ms=wall_ms(),
                        workspace_id=workspace_id,
                    )
                    await publisher.send(workspace_id.encode(), value)


async def transcripts(bootstrap: str, *, count: int) -> None:
    """Return when so many chats have their transcripts."""
    async with TopicLog(bootstrap, (TRANSCRIPTS,)) as log, asyncio.timeout(LIMIT_S):
        while True:
            await log.catch_up()
            found = [codec.transcripts.decode(record.value) for record in log.all_of(TRANSCRIPTS)]
            if len({(each.workspaceid, each.data.chat_id) for each in found}) == count:
                return
            await asyncio.sleep(POLL_INTERVAL_S)


def page(stage: Stage, path: str) -> str:
    port = stage.entries(TRANSCRIPT, "pages")[-1]["port"]
    with urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=LIMIT_S) as answer:
        return str(answer.read().decode())


def metric(stage: Stage, name: str) -> float:
    """Return a metric, summed over its labels."""
    lines = (line for line in page(stage, "/metrics").splitlines() if line.startswith(name))
    return sum(float(line.split()[-1]) for line in lines)


def await_failure(stage: Stage) -> None:
    """Return when the archive has failed since the worker's start, for the reason that is told of."""
    ends_s = monotonic() + LIMIT_S
    while not (failed := stage.entries(TRANSCRIPT, "archive_failed")):
        assert monotonic() < ends_s, "the archive goes on"
        sleep(POLL_INTERVAL_S)
    assert "SQLITE_FULL" in str(failed)


async def archives_differ(stage: Stage, fresh: Path) -> list[str]:
    """Return the tables in which the archive differs from one that is fed now, from the same topics."""
    async with TopicLog(stage.bootstrap, ARCHIVED) as log:
        await log.catch_up()
        records = [record for topic in ARCHIVED for record in log.all_of(topic)]
    kept, wanted = [await Archive.open(f"sqlite:///{path}") for path in (stage.archive, fresh)]
    try:
        await sources.drain(wanted, records)
        found, expected = [await sources.contents(each) for each in (kept, wanted)]
    finally:
        await kept.close()
        await wanted.close()
    assert expected["messages"], "the archive has something to lose"
    return [
        table for table, rows in expected.items() if table not in NOT_OF_THE_TOPICS and found[table] != rows
    ]


def test_a_full_disk_holds_up_the_archive_only_and_in_the_end_nothing_is_missing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", megabytes=DISK_MB) as disk,
        Stage(tmp_path, brokers=1, hosts=1, archive=disk.folder / "archive.db") as stage,
    ):
        for name in (ROUTER, TRANSCRIPT):
            stage.start(name)
        stage.await_ready(ROUTER, TRANSCRIPT)
        asyncio.run(publish(stage.bootstrap, name="before"))
        asyncio.run(drain(stage))
        assert metric(stage, "chat_archive_failures_total") == 0

        disk.fill()
        asyncio.run(publish(stage.bootstrap, name="full"))
        asyncio.run(transcripts(stage.bootstrap, count=2 * CHATS * len(WORKSPACES)))
        await_failure(stage)
        assert metric(stage, "chat_archive_failures_total") >= 1
        assert metric(stage, "chat_archive_lag_records") >= CHATS * len(WORKSPACES)
        assert (page(stage, "/healthz"), page(stage, "/readyz")) == ("alive", "ready")

        stage.kill(TRANSCRIPT)
        stage.start(TRANSCRIPT)
        await_failure(stage)
        asyncio.run(publish(stage.bootstrap, name="killed"))
        asyncio.run(transcripts(stage.bootstrap, count=3 * CHATS * len(WORKSPACES)))

        disk.make_room()
        asyncio.run(drain(stage))
        for name in stage.running:
            assert stage.stop(name) == 0
        assert asyncio.run(judge(stage)).wrong == []
        assert asyncio.run(archives_differ(stage, tmp_path / "fresh.db")) == []
        assert stage.ended == []
