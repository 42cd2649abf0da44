"""The archive's database: SQLite in a file by default, PostgreSQL by URL.

The one rule: rows and the offsets they were read up to are written in one transaction, and only if nobody else moved those offsets;
so every record is in the archive exactly once, whatever stops in between and however many projectors run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Table, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import Insert

from services.runtime.database import open_async, open_single
from services.transcript import tables
from services.transcript.rows import Row

Partition: TypeAlias = tuple[str, int]
"""Topic and partition number."""

PARAMETERS_MAX = 5_000
"""Rows handed to the database in one statement's execution."""
MIGRATION_LOCK = 7_340_211
"""A number for PostgreSQL's advisory lock: one worker migrates at a time."""
_migrating = Lock()
"""Alembic keeps the migration under way in its module, so a process can do one at a time."""


class Overtaken(Exception):
    """Another projector wrote these offsets since they were read: read them again and go on from there."""


class Archive:
    """One database. Its tables are in place once `prepare` has ended; close with `close`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._prepared = False
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._statements: dict[tuple[str, tuple[str, ...]], Insert] = {}

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
        statement = self._insert(tables.offsets).on_conflict_do_nothing()
        async with self.engine.begin() as connection:
            if partitions:
                new = [
                    {"topic": topic, "partition": number, "next_offset": 0} for topic, number in partitions
                ]
                await connection.execute(statement, new)
            found = await connection.execute(select(tables.offsets))
            known = {(row.topic, row.partition): int(row.next_offset) for row in found}
        return {partition: known[partition] for partition in partitions}

    async def write(self, rows: Sequence[Row], *, moved: Mapping[Partition, tuple[int, int]]) -> None:
        """Writes rows and offsets. `moved`: the offset each partition was read from, and the next one. Raises `Overtaken`."""
        o = tables.offsets.c
        async with self.engine.begin() as connection:
            for (topic, number), (from_offset, next_offset) in moved.items():
                result = await connection.execute(
                    update(tables.offsets)
                    .where(o.topic == topic, o.partition == number, o.next_offset == from_offset)
                    .values(next_offset=next_offset)
                )
                if result.rowcount != 1:
                    raise Overtaken(f"{topic}/{number}")
            for statement, parameters in self._grouped(rows):
                for start in range(0, len(parameters), PARAMETERS_MAX):
                    await connection.execute(statement, parameters[start : start + PARAMETERS_MAX])

    def _grouped(self, rows: Sequence[Row]) -> list[tuple[Insert, list[dict[str, Any]]]]:
        """Rows by table and columns, each group in the order of the log."""
        groups: dict[tuple[str, tuple[str, ...]], tuple[Insert, list[dict[str, Any]]]] = {}
        for row in rows:
            key = (row.table.name, tuple(row.values))
            if key not in groups:
                groups[key] = (self._upsert(row.table, key), [])
            groups[key][1].append(row.values)
        return list(groups.values())

    def _upsert(self, table: Table, key: tuple[str, tuple[str, ...]]) -> Insert:
        """An insert of these columns that replaces the columns which are not the key."""
        statement = self._statements.get(key)
        if statement is None:
            insert = self._insert(table)
            primary = [column.name for column in table.primary_key]
            others = {name: insert.excluded[name] for name in key[1] if name not in primary}
            statement = insert.on_conflict_do_update(index_elements=primary, set_=others)
            self._statements[key] = statement
        return statement


def migrate(url: URL, revision: str = "head") -> None:
    """Brings the tables of a database to `revision`, in one transaction."""
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
            if revision == "base":
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    finally:
        engine.dispose()
