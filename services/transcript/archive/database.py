"""The archive's database: SQLite in a file by default, PostgreSQL by URL.

The one rule: rows and the offsets they were read up to are written in one transaction, and only if nobody else moved those offsets;
so every record is in the archive exactly once, whatever stops in between and however many projectors run.
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.runtime.database import open_async, open_single
from services.runtime.logs import log
from services.transcript.archive import live, presence, search, settings, standing, tables
from services.transcript.archive.batch import Batch, Partition
from services.transcript.archive.clocks import Clock
from services.transcript.archive.erasure import blank_erased, without_erased
from services.transcript.archive.rows import Row
from services.transcript.archive.writing import having, put, put_new

PartKey: TypeAlias = tuple[str, str, int, int]
"""Workspace id, chat id, revision, part."""

LOCK = "LOCK TABLE offsets IN SHARE ROW EXCLUSIVE MODE"
"""Keeps other writers out, and no reader."""
MIGRATION_LOCK = 7_340_211
"""A number for PostgreSQL's advisory lock: one worker migrates at a time."""
_log = log(__name__)
_migrating = Lock()
"""Alembic keeps the migration under way in its module, so a process can do one at a time."""


class Overtaken(Exception):
    """Another projector wrote these offsets since they were read: read them again and go on from there."""


class Archive:
    """One database. Its tables are in place once `prepare` has ended; close with `close`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._prepared = False

    @classmethod
    async def open(cls, url: str) -> "Archive":
        """One that is prepared."""
        archive = cls.at(url)
        try:
            await archive.prepare()
        except BaseException:
            await archive.close()
            raise
        return archive

    @classmethod
    def at(cls, url: str) -> "Archive":
        """One that is not connected yet. Raises SQLAlchemyError or ValueError unless `url` is `sqlite:///FILE` or `postgresql://…`."""
        return cls(open_async(url, readers=True))

    async def prepare(self) -> None:
        """Brings the tables up to date, once."""
        if not self._prepared:
            await asyncio.to_thread(migrate, self.engine.url)
            self._prepared = True

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()

    async def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The next offset of each partition; 0 where nothing was read yet."""
        async with self.engine.begin() as connection:
            new = [{"topic": topic, "partition": number, "next_offset": 0} for topic, number in partitions]
            await connection.run_sync(put_new, tables.offsets, new)
            found = await connection.execute(select(tables.offsets))
            known = {(row.topic, row.partition): int(row.next_offset) for row in found}
        return {partition: known[partition] for partition in partitions}

    async def clocks(self) -> dict[Partition, Clock]:
        """The time in each partition, as far as it was read."""
        o = tables.offsets.c
        query = select(o.topic, o.partition, o.at_ms, o.tick_ms, o.clock_ms).where(o.at_ms.is_not(None))
        async with self.engine.connect() as connection:
            found = await connection.execute(query)
            return {(row[0], row[1]): Clock(*row[2:]) for row in found}

    async def write(self, batch: Batch) -> None:
        """Writes a batch and its offsets. Raises `Overtaken`."""
        async with self.engine.begin() as connection:
            await connection.run_sync(_move, batch)
            batch.rows = await without_erased(connection, batch.rows)
            batch.decisions = await without_erased(connection, batch.decisions)
            await blank_erased(connection, batch.rows)
            await connection.run_sync(write, batch)


def write(connection: Connection, batch: Batch) -> None:
    """Writes what a batch holds into a transaction under way."""
    rows = [row for row in batch.rows if row.table is not standing.texts]
    texts = [row.values for row in batch.rows if row.table is standing.texts]
    replaced = _make_room(connection, rows)
    put(connection, rows)
    search.keep(connection, texts, replaced=replaced)
    settings.settle(connection, rows, batch.heard)
    presence.settle(connection, batch.events, batch.decisions)
    live.settle(connection, batch.decisions)
    put(
        connection,
        [
            Row(standing.freshness, {"workspace_id": workspace_id, "as_of_ms": at_ms, "partition": number})
            for workspace_id, (at_ms, number) in batch.heard.items()
        ],
    )


def _move(connection: Connection, batch: Batch) -> None:
    """First of all, since whoever else writes waits here, and finds that it was overtaken, or all that was written before.

    (What stands follows from several topics: two who wrote at once would each miss what the other knows.)
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(text(LOCK))
    o = tables.offsets.c
    for (topic, number), (from_offset, next_offset) in sorted(batch.moved.items()):
        clock = batch.clocks.get((topic, number))
        times = (
            {}
            if clock is None
            else {"at_ms": clock.at_ms, "tick_ms": clock.tick_ms, "clock_ms": clock.clock_ms}
        )
        result = connection.execute(
            update(tables.offsets)
            .where(o.topic == topic, o.partition == number, o.next_offset == from_offset)
            .values(next_offset=next_offset, **times)
        )
        if result.rowcount != 1:
            raise Overtaken(f"{topic}/{number}")


def _make_room(connection: Connection, rows: Iterable[Row]) -> list[PartKey]:
    """The parts of transcripts that are there already and are replaced, their messages being taken away.

    They are those among rows, and those beyond the last: a chat's id may be used again, by a shorter one.
    """
    coming: set[PartKey] = set()
    parts: dict[tuple[str, str, int], int] = {}
    for row in rows:
        v = row.values
        if row.table is tables.transcripts:
            coming.add((v["workspace_id"], v["chat_id"], v["revision"], v["part"]))
        elif row.table is tables.chats and "parts" in v:
            parts[v["workspace_id"], v["chat_id"], v["revision"]] = v["parts"]
    t, m = tables.transcripts.c, tables.messages.c
    there: list[PartKey] = []
    for of_chats in having((t.workspace_id, t.chat_id), {key[:2] for key in parts}):
        query = select(t.workspace_id, t.chat_id, t.revision, t.part).where(of_chats)
        there += [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
    gone = [key for key in there if key in coming or key[3] > parts.get(key[:3], key[3])]
    for which in having((t.workspace_id, t.chat_id, t.revision, t.part), gone):
        connection.execute(delete(tables.transcripts).where(which))
    for which in having((m.workspace_id, m.chat_id, m.revision, m.part), gone):
        connection.execute(delete(tables.messages).where(which))
    return gone


def migrate(url: URL, revision: str = "head") -> None:
    """Brings the tables of a database to `revision`, in one transaction.

    One that a newer version has migrated is used as it is: while both run, migrations only add (docs/upgrades.md). What does not
    fit all the same fails whole, offsets included, and is tried again.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = open_single(url.render_as_string(hide_password=False))
    try:
        with _migrating, engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SET LOCAL statement_timeout = 0")
                )  # another one may be at it for long
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            script = ScriptDirectory.from_config(config)
            here = MigrationContext.configure(connection).get_current_heads()
            if revision == "head" and not {each.revision for each in script.walk_revisions()}.issuperset(
                here
            ):
                _log.info("archive_of_a_newer_version", revision=", ".join(here))
                return
            earlier = {each.revision for each in script.iterate_revisions(here, "base")} if here else set()
            if revision == "base" or (revision in earlier and revision not in here):
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    finally:
        engine.dispose()
