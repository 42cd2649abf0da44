"""Erases a visitor from the archive, and keeps them erased.

The one rule: which chats were erased is written in the transaction that deletes them, and read in each transaction that writes rows.
The two wait for each other, so nothing of an erased chat is archived again, however often the topics are read anew.

What is kept are hashes of ids, and when. A later chat of the same visitor is a new one, which is archived until it is erased too.
Monitors on a mail address of the visitor go as well: what set one up stands as a deletion from then on.
"""

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import TypeVar

import orjson
from sqlalchemy import Connection, Delete, delete, exists, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.frozen import dataclass
from services.transcript.archive import settings, standing, tables
from services.transcript.archive.batch import Told
from services.transcript.archive.rows import Row
from services.transcript.archive.search import forget
from services.transcript.archive.writing import chunks, having, put_new

Kept = TypeVar("Kept", Row, Told)
_EVENT = ("workspace_id", "source", "event_id")
LOCK = {"postgresql": "LOCK TABLE offsets IN EXCLUSIVE MODE", "sqlite": "BEGIN IMMEDIATE"}
"""Whoever writes rows moves offsets first, so erasing waits for them, and they for it; SQLite has one writer, which this is from then on."""


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record in the CRM that a chat went to. Erasing it is the CRM's doing."""

    type: str
    id: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did. `rows`: how many were deleted, by table; `before_ms`: when this visitor was last erased."""

    chats: int
    rows: dict[str, int]
    before_ms: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A monitor on a visitor's mail address."""

    monitor_id: str
    owner_agent_id: str
    address: str


def hash_of(workspace_id: str, *names: str) -> str:
    """What stands for the id of a visitor, a chat or an event. Who knows an id can tell whether it was erased; nobody can read it off."""
    return sha256(orjson.dumps([workspace_id, *names])).hexdigest()


async def chats_of(engine: AsyncEngine, *, workspace_id: str, visitor_id: str) -> set[str]:
    """The chats of a visitor that the archive knows."""
    c, r = tables.chats.c, tables.requests.c
    closed = select(c.chat_id).where(c.workspace_id == workspace_id, c.visitor_id == visitor_id)
    asked = select(r.chat_id).where(r.workspace_id == workspace_id, r.visitor_id == visitor_id)
    async with engine.connect() as connection:
        found = await connection.execute(closed.union(asked))
        return set(found.scalars())


async def crm_records(engine: AsyncEngine, *, workspace_id: str, chat_ids: Collection[str]) -> set[CrmRecord]:
    """What the CRM holds of these chats, as far as it told."""
    a = tables.activities.c
    found: set[CrmRecord] = set()
    async with engine.connect() as connection:
        for some in chunks(chat_ids):
            rows = await connection.execute(
                select(a.record_type, a.record_id, a.record_url).where(
                    a.workspace_id == workspace_id, a.chat_id.in_(some), a.record_id != ""
                )
            )
            found |= {CrmRecord(row.record_type or "", row.record_id, row.record_url) for row in rows}
    return found


async def watches_on(
    engine: AsyncEngine, *, workspace_id: str, chat_ids: Collection[str]
) -> tuple[Watch, ...]:
    """The monitors that stand now on a mail address by which the visitor of these chats was known."""
    m = standing.monitors.c
    by_address = select(m.monitor_id, m.owner_agent_id, m.value).where(
        m.workspace_id == workspace_id, m.kind == "visitor_email"
    )
    async with engine.connect() as connection:
        addresses = await connection.run_sync(_addresses, workspace_id, chat_ids)
        found = await connection.execute(by_address.order_by(m.monitor_id))
        return tuple(Watch(*row) for row in found if _folded(row.value) in addresses)


async def erase(
    engine: AsyncEngine, *, workspace_id: str, visitor_id: str, chat_ids: Collection[str], now_ms: int
) -> Erased:
    """Deletes these chats of a visitor, and monitors on their mail address, and records it. Again, it does nothing. Raises SQLAlchemyError."""
    sqlite = engine.dialect.name == "sqlite"
    async with engine.connect() as connection:
        if sqlite:
            # What is deleted is overwritten in the file, too.
            await connection.execute(text("PRAGMA secure_delete=ON"))
            await connection.commit()
        async with connection.begin():
            await connection.execute(text(LOCK[engine.dialect.name]))
            watching = await connection.run_sync(
                partial(_erase_monitors, workspace_id=workspace_id, chat_ids=chat_ids, at_ms=now_ms)
            )
            counts = {
                table.name: sum(
                    [
                        (await connection.execute(statement)).rowcount
                        for statement in _deletions(workspace_id, chat_ids, table.name)
                    ]
                )
                for table in tables.metadata.sorted_tables
                if holds_chats(table.name) and table is not standing.texts
            }
            counts[standing.texts.name] = await connection.run_sync(
                partial(forget, workspace_id=workspace_id, chat_ids=chat_ids)
            )
            new = await _record(
                connection,
                {hash_of(workspace_id, chat_id) for chat_id in chat_ids},
                at_ms=now_ms,
            )
            counts[standing.snapshots.name] = watching
            rows = {str(name): count for name, count in counts.items() if count}
            before_ms = await _note(
                connection,
                {"workspace_id": workspace_id, "visitor_hash": hash_of(workspace_id, visitor_id)},
                at_ms=now_ms if new or rows else None,
            )
        if sqlite:
            await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return Erased(chats=new, rows=rows, before_ms=before_ms)


def holds_chats(name: str) -> bool:
    """Whether the rows of a table are about one chat each, and so are deleted with it."""
    return {"workspace_id", "chat_id"} <= set(tables.metadata.tables[name].c.keys())


async def without_erased(connection: AsyncConnection, rows: list[Kept]) -> list[Kept]:
    """The rows that are not about erased chats. To be asked in the transaction that writes them, after it has moved its offsets."""
    e = tables.erased_chats.c
    if not await connection.scalar(select(exists(select(e.chat_hash)))):
        return rows
    hashes = {
        (workspace_id, chat_id): hash_of(workspace_id, chat_id)
        for workspace_id, chat_id in {row.chat for row in rows}
        if chat_id
    }
    erased: set[str] = set()
    for some in chunks(hashes.values()):
        found = await connection.execute(select(e.chat_hash).where(e.chat_hash.in_(some)))
        erased.update(found.scalars())
    return [row for row in rows if hashes.get(row.chat) not in erased]


async def blank_erased(connection: AsyncConnection, rows: Iterable[Row]) -> None:
    """Makes deletions of the monitors among these rows that were erased. To be asked as `without_erased` is."""
    e = tables.erased_events.c
    monitors = {
        id(row): hash_of(*(row.values[name] for name in _EVENT))
        for row in rows
        if row.table is standing.snapshots and row.values["kind"] == "monitor"
    }
    erased: set[str] = set()
    for some in chunks(monitors.values()):
        found = await connection.execute(select(e.event_hash).where(e.event_hash.in_(some)))
        erased.update(found.scalars())
    for row in rows:
        if monitors.get(id(row)) in erased:
            row.values["data"] = None


def _erase_monitors(
    connection: Connection, *, workspace_id: str, chat_ids: Collection[str], at_ms: int
) -> int:
    """Takes monitors on the visitor's addresses away, as if they had been deleted; returns how many events about them were made so."""
    s = standing.snapshots.c
    addresses = _addresses(connection, workspace_id, chat_ids)
    monitors = select(standing.snapshots).where(
        s.workspace_id == workspace_id, s.kind == "monitor", s.data.is_not(None)
    )
    found = [
        row
        for row in connection.execute(monitors).mappings().all()
        if row["data"]["kind"] == "visitor_email" and _folded(row["data"]["value"]) in addresses
    ]
    if not found:
        return 0
    events = [tuple(row[name] for name in _EVENT) for row in found]
    for of_events in having((s.workspace_id, s.source, s.event_id), events):
        connection.execute(update(standing.snapshots).where(of_events).values(data=None))
    hashes = [{"event_hash": hash_of(*event), "at_ms": at_ms} for event in events]
    put_new(connection, tables.erased_events, hashes)
    settings.settle(connection, [Row(standing.snapshots, dict(row)) for row in found], ())
    return len(found)


def _addresses(connection: Connection, workspace_id: str, chat_ids: Collection[str]) -> set[str]:
    """The mail addresses by which the visitor of these chats was known."""
    found: set[str] = set()
    for table in (tables.chats, tables.requests, tables.visitor_updates):
        address = table.c.visitor["email"].as_string()
        for some in chunks(chat_ids):
            mine = select(address).where(table.c.workspace_id == workspace_id, table.c.chat_id.in_(some))
            found |= {_folded(each) for each in connection.scalars(mine) if each}
    return found


def _folded(address: str) -> str:
    """An address as the router compares it (the contract, Monitoring)."""
    return address.strip().casefold()


async def _record(connection: AsyncConnection, hashes: set[str], *, at_ms: int) -> int:
    """Notes which chats are erased; returns how many were not before."""
    e = tables.erased_chats.c
    for some in chunks(hashes):
        known = await connection.execute(select(e.chat_hash).where(e.chat_hash.in_(some)))
        hashes = hashes - set(known.scalars())
    if hashes:
        await connection.execute(
            insert(tables.erased_chats), [{"chat_hash": each, "at_ms": at_ms} for each in sorted(hashes)]
        )
    return len(hashes)


async def _note(connection: AsyncConnection, visitor: dict[str, str], *, at_ms: int | None) -> int | None:
    """Notes when a visitor was erased, unless nothing was to be done; returns when they last were before."""
    known = await connection.scalar(select(tables.erasures.c.at_ms).filter_by(**visitor))
    if at_ms is not None and known is None:
        await connection.execute(insert(tables.erasures), {**visitor, "at_ms": at_ms})
    elif at_ms is not None:
        await connection.execute(update(tables.erasures).filter_by(**visitor).values(at_ms=at_ms))
    return known


def _deletions(workspace_id: str, chat_ids: Collection[str], name: str) -> Iterator[Delete]:
    table = tables.metadata.tables[name]
    for some in chunks(chat_ids):
        yield delete(table).where(table.c.workspace_id == workspace_id, table.c.chat_id.in_(some))
