"""The archive: every record is in it exactly once, whatever stops in between."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from schemas.decisions import ChatQueued, MissedUpdated
from schemas.events import ChatFeedback, ChatNoteAdded, MissedAssignRequested
from services.local.ports import LOOPBACK, free_ports
from services.runtime.connection import KafkaSettings
from services.runtime.database import open_single
from services.runtime.metrics import Metrics
from services.transcript.archive import tables
from services.transcript.archive.batch import Batch, Partition
from services.transcript.archive.database import Archive, Overtaken, migrate
from services.transcript.archive.kafka_log import KafkaLog
from services.transcript.archive.projector import Projector
from services.transcript.archive.rows import TOPICS, Row
from services.transcript.core import DAY_MS
from tests.databases import NewDatabase
from tests.transcript.bulk import Size, fill
from tests.transcript.sources import Crashes, ListLog, contents, drain, everything, watched
from tests.transcript.world import START_MS, World


def sample() -> World:
    world = World()
    world.request("c1")
    world.say("c1", "one")
    world.say("c1", "whisper", kind="agent", internal=True)
    world.tag("c1", "first")
    world.refuse(world.request("c1"))
    world.end("c1")
    world.publish(ChatFeedback("c1", 5, "good"))
    world.publish(ChatNoteAdded("c1", "n1", "a1", "likes tea"))
    world.raw(b"not json", workspace="acme")
    world.request("c2", workspace="other")
    world.miss("c2", workspace="other")
    world.answer("c2", "sorry", "sent", "failed", workspace="other")
    world.reopen("c2", at=world.say("c2", "hey", workspace="other"), revision=2, workspace="other")
    world.end("c2", revision=2, workspace="other")
    world.tag("c1", "first", "second")
    return world


async def test_what_stands_in_the_archive(archive: Archive) -> None:
    metrics = await drain(archive, everything(sample()))
    async with archive.engine.connect() as connection:
        c = tables.chats.c
        found = await connection.execute(
            select(c.workspace_id, c.chat_id, c.revision, c.outcome, c.missed_tag, c.question).order_by(
                c.workspace_id, c.revision
            )
        )
        assert [tuple(row) for row in found] == [
            ("acme", "c1", 1, "handled", None, "料金について"),
            ("other", "c2", 1, "missed", "unattended", "料金について"),
            ("other", "c2", 2, "handled", None, "料金について"),
        ]
        m = tables.messages.c
        said = await connection.execute(
            select(m.chat_id, m.revision, m.text, m.internal).order_by(m.revision)
        )
        assert [tuple(row) for row in said] == [
            ("c1", 1, "one", False),
            ("c1", 1, "whisper", True),
            ("c2", 2, "hey", False),
        ]
        c = tables.conversations.c
        kept = await connection.execute(select(c.chat_id, c.tags, c.inbox_status).order_by(c.chat_id))
        assert [tuple(row) for row in kept] == [("c1", ["first", "second"], None), ("c2", None, None)]
    rows = await contents(archive)
    counted = {name: len(found) for name, found in rows.items() if found}
    assert counted == {
        "activities": 3,
        "chat_agents": 2,
        "chats": 3,
        "conversations": 2,
        "deliveries": 5,
        "departments": 2,
        "feedback": 1,
        "freshness": 2,
        "messages": 3,
        "notes": 1,
        "offsets": 6,
        "refusals": 1,
        "replies": 1,
        "requests": 3,
        "summaries": 3,
        "tags": 2,
        "texts": 4,
        "transcripts": 3,
    }
    assert metrics.value("archive_unreadable_total") == 1


async def test_the_inbox_as_it_stands_after_each_decision(archive: Archive) -> None:
    world = World()
    world.request("c1")
    c = tables.conversations.c
    found = []

    async def look() -> None:
        await drain(archive, everything(world))
        async with archive.engine.connect() as connection:
            rows = await connection.execute(select(c.inbox_status, c.inbox_agent_id))
            found.append([tuple(row) for row in rows])

    await look()
    world.miss("c1")
    await look()
    assigned = world.publish(MissedAssignRequested(("c1",), "a1", "a2"))
    world.decide(MissedUpdated("c1", "assigned", "a1", "a2"), at=assigned)
    await look()
    world.reopen("c1", at=world.say("c1", "still there?"), revision=2)
    await look()
    world.miss("c1", revision=2)
    await look()
    world.delete("c1")
    await look()
    assert found == [
        [],
        [("open", None)],
        [("assigned", "a1")],
        [(None, None)],
        [("open", None)],
        [("deleted", None)],
    ]


async def test_a_chat_id_used_again_is_another_chat(archive: Archive) -> None:
    world = World()
    world.decide(ChatQueued("c1", "sales", 1), at=world.request("c1"))
    world.tag("c1", "old")
    world.miss("c1")
    world.delete("c1")
    await drain(archive, everything(world))
    assert (await contents(archive))["tags"] == [("acme", "old", "c1")]
    world.now_ms += DAY_MS + 1_000
    world.decide(ChatQueued("c1", "support", 1), at=world.request("c1"))
    await drain(archive, everything(world))
    c = tables.conversations.c
    async with archive.engine.connect() as connection:
        found = await connection.execute(
            select(c.phase, c.department_id, c.revision, c.inbox_status, c.missed_tag, c.tags)
        )
        assert [tuple(row) for row in found] == [("waiting", "support", 1, None, None, None)]
    assert (await contents(archive))["tags"] == []


async def test_the_same_event_again_changes_nothing_for_a_day(archive: Archive) -> None:
    world = World()
    note = world.publish(ChatNoteAdded("c1", "n1", "a1", "likes tea"))
    times = []
    for hours in (0, 1, 24):
        world.now_ms = START_MS + hours * 3_600_000 + hours // 24
        if hours:
            world.again(note)
        await drain(archive, everything(world))
        times += [row[5] - START_MS for row in (await contents(archive))["notes"]]
    assert times == [0, 0, DAY_MS + 1]


async def test_the_order_between_topics_does_not_matter(new_database: NewDatabase) -> None:
    records = everything(sample())
    topics = sorted({record.topic for record in records})
    seen = []
    for seed in range(4):
        order = Random(seed).sample(topics, len(topics))
        archive = await Archive.open(new_database())
        await drain(archive, sorted(records, key=lambda record: order.index(record.topic)), batch=3)
        seen.append(await contents(archive))
        await archive.close()
    assert all(found == seen[0] for found in seen)


async def test_killed_at_every_await_the_archive_is_the_same(tmp_path: Path) -> None:
    records, file = everything(sample()), tmp_path / "archive.sqlite3"
    archive = await Archive.open(f"sqlite:///{file}")
    source, crashes = ListLog(records, batch=4), Crashes(file)
    projector = Projector(archive, source, metrics=Metrics())

    async def work() -> None:
        await projector.place()
        while not source.drained.is_set():
            await projector.step()

    await watched(work(), crashes.copy)
    expected = await contents(archive)
    await archive.close()
    begun = set()
    for copied in crashes.copies:
        restarted = await Archive.open(f"sqlite:///{copied}")
        found = await contents(restarted)
        begun.add(sum(row[2] for row in found["offsets"]))
        await drain(restarted, records)
        assert await contents(restarted) == expected
        await restarted.close()
    assert len(begun) > 5, "crashes after different batches"


async def test_reading_everything_again_changes_nothing(archive: Archive) -> None:
    records = everything(sample())
    await drain(archive, records)
    before = await contents(archive)
    async with archive.engine.begin() as connection:
        await connection.execute(tables.offsets.delete())
    await drain(archive, records, batch=7)
    assert await contents(archive) == before


async def test_of_two_projectors_one_writes(archive: Archive) -> None:
    partition = ("chat.events.v1", 0)
    await archive.offsets([partition])
    row = Row(tables.conversations, {"workspace_id": "w", "chat_id": "c", "inbox_status": "open"})
    await archive.write(Batch([row], moved={partition: (0, 5)}))
    late = Row(tables.conversations, {"workspace_id": "w", "chat_id": "c", "inbox_status": "late"})
    with pytest.raises(Overtaken):
        await archive.write(Batch([late], moved={partition: (0, 4)}))
    assert await archive.offsets([partition]) == {partition: 5}
    assert (await contents(archive))["conversations"][0][3] == "open"


async def test_a_database_that_fails_is_tried_again(archive: Archive) -> None:
    class Flaky(Archive):
        failures = 2

        async def write(self, batch: Batch) -> None:
            if Flaky.failures:
                Flaky.failures -= 1
                raise OperationalError("INSERT", {}, Exception("disk full"))
            await super().write(batch)

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    records, metrics, stop = everything(sample()), Metrics(), asyncio.Event()
    source = ListLog(records)
    running = asyncio.create_task(
        Projector(Flaky(archive.engine), source, metrics=metrics, sleep=sleep).run(stop)
    )
    await asyncio.wait_for(source.drained.wait(), 10)
    stop.set()
    await running
    assert len(waits) == 2
    assert metrics.value("archive_failures_total") == 2
    assert metrics.value("archive_records_total") == len(records)


async def test_a_database_that_cannot_be_opened_at_the_start_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("a file", encoding="utf-8")
    opened = Archive.at(f"sqlite:///{folder}/archive.sqlite3")
    records, metrics, stop = everything(sample()), Metrics(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        if metrics.value("archive_failures_total") == 2:
            folder.unlink()

    source = ListLog(records)
    running = asyncio.create_task(Projector(opened, source, metrics=metrics, sleep=sleep).run(stop))
    await asyncio.wait_for(source.drained.wait(), 10)
    stop.set()
    await running
    assert metrics.value("archive_failures_total") == 2
    assert metrics.value("archive_records_total") == len(records)
    assert (await contents(opened))["messages"]
    await opened.close()


async def test_behind_a_transaction_marker_nothing_is_left_to_read(archive: Archive) -> None:
    class Marked(ListLog):
        """Each partition ends with a marker, which holds no record."""

        async def position(self, partition: Partition) -> int:
            return self.end(partition)

        def end(self, partition: Partition) -> int:
            return super().end(partition) + 1

    metrics = Metrics()
    source = Marked(everything(sample()))
    projector = Projector(archive, source, metrics=metrics)
    await projector.place()
    while not source.drained.is_set():
        await projector.step()
    assert metrics.value("archive_lag_records", topic=TOPICS[0], partition="0") == 0


async def test_a_kafka_that_is_away_at_the_start_is_tried_again(archive: Archive) -> None:
    metrics, stop = Metrics(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        if metrics.value("archive_failures_total") == 2:
            stop.set()

    (nobody,) = free_ports(1)
    async with KafkaLog(KafkaSettings(bootstrap=f"{LOOPBACK}:{nobody}"), topics=TOPICS) as source:
        running = Projector(archive, source, metrics=metrics, sleep=sleep).run(stop)
        await asyncio.wait_for(running, 10)
    assert metrics.value("archive_failures_total") == 2


async def test_a_database_that_refuses_everything_is_ever_more_behind_and_a_stop_does_not_wait_for_the_next_try(
    archive: Archive,
) -> None:
    class Refusing(Archive):
        """Takes its offsets once, and nothing after."""

        refuses = False

        async def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
            if Refusing.refuses:
                raise OperationalError("INSERT", {}, Exception("disk full"))
            Refusing.refuses = True
            return await super().offsets(partitions)

        async def write(self, batch: Batch) -> None:  # noqa: ARG002 - the port's
            raise OperationalError("INSERT", {}, Exception("disk full"))

    metrics, stop, tried_often = Metrics(), asyncio.Event(), asyncio.Event()
    records = everything(sample())
    events = [record for record in records if record.topic == TOPICS[0]]
    source = ListLog(events[:1])
    lags: list[float | None] = []

    async def sleep(_seconds: float) -> None:
        lags.append(metrics.value("archive_lag_records", topic=TOPICS[0], partition="0"))
        if len(lags) == 3:
            tried_often.set()
            await asyncio.Event().wait()
        source.records = events  # time passes, and more is written to the topic

    running = asyncio.create_task(
        Projector(Refusing(archive.engine), source, metrics=metrics, sleep=sleep).run(stop)
    )
    await asyncio.wait_for(tried_often.wait(), 10)
    assert lags == [None, source.end((TOPICS[0], 0)), source.end((TOPICS[0], 0))]
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_several_archives_of_a_process_are_prepared_at_once(new_database: NewDatabase) -> None:
    """Alembic's own books are the process's: migrations that ran side by side went to each other's connection."""
    archives = [Archive.at(new_database()) for _ in range(8)]
    await asyncio.gather(*(archive.prepare() for archive in archives))
    for archive in archives:
        assert not any((await contents(archive)).values())
        await archive.close()


async def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    first = await Archive.open(database_url)
    await drain(first, everything(sample()))
    before = await contents(first)
    await first.close()
    second = await Archive.open(database_url)
    assert await contents(second) == before
    await second.close()


async def test_readers_of_a_file_never_wait_for_the_writer(tmp_path: Path) -> None:
    archive = await Archive.open(f"sqlite:///{tmp_path}/archive.sqlite3")
    async with archive.engine.connect() as connection:
        mode = await connection.exec_driver_sql("PRAGMA journal_mode")
        assert mode.scalar() == "wal"
    await archive.close()


def test_what_is_written_never_needs_whole_tables_read(tmp_path: Path) -> None:
    """A batch costs the same however much there is already; SQLite says how it looks for rows."""
    engine = open_single(f"sqlite:///{tmp_path}/archive.sqlite3")
    migrate(engine.url)
    fill(engine, Size(chats=30))
    plans: dict[str, list[str]] = {}

    @event.listens_for(engine, "before_cursor_execute")
    def explain(
        _connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and statement not in plans:
            plans[statement] = []
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters)
            plans[statement] = [row[3] for row in cursor.fetchall()]

    fill(engine, Size(chats=30))
    engine.dispose()
    assert len(plans) > 10
    steps = [(step, statement) for statement, found in plans.items() for step in found]
    large = re.compile(rf"SCAN ({'|'.join(tables.metadata.tables)})\b(?! USING COVERING INDEX)")
    assert [(step, statement) for step, statement in steps if large.match(step)] == []
