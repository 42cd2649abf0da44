"""Makes the archive's rows anew from what the topics hold.

The one rule: everything is read again over the rows that are there, so what the topics no longer hold stays, unless it is to be discarded;
and projectors go by the offsets alone, so one that runs meanwhile takes part in it, and nothing is written twice or left out.

Settings are never discarded: they hold until they are made anew, however long ago they were made, and nobody says them again meanwhile.
"""

import asyncio
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, and_, delete, exists, false, func, or_, select, update

from schemas.frozen import dataclass
from schemas.topics import EVENTS, ROUTING
from services.runtime.metrics import Metrics
from services.transcript.archive import search, settings, standing, tables
from services.transcript.archive.batch import Partition
from services.transcript.archive.database import Archive, Overtaken
from services.transcript.archive.kafka_log import Held
from services.transcript.archive.projector import Log, Projector

OVERTAKEN_WAIT_S = 0.2
"""Before the place is looked up again that another projector has come to."""
_OWN = {"offsets", "erasures", "erased_chats", "erased_events", "revoked_links", "texts"}
"""Tables that are filled from no topic, and two that are emptied in ways of their own."""
_STANDING = {"snapshots", "presence", "freshness"}
"""Settings and presence, and where each workspace's are told."""
_EVENTS = (tables.requests, tables.feedback, tables.notes, tables.visitor_updates)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild had to go by. `oldest_ms`: the time of the oldest record of each topic, None: it holds none.

    `older_chats`, `older_settings`: what the archive holds from before that, and no topic any more.
    """

    offsets: int
    oldest_ms: dict[str, int | None]
    older_chats: int
    older_settings: int


async def rebuild(
    archive: Archive,
    source: Log,
    held: Mapping[Partition, Held],
    *,
    discard: bool,
    show: Callable[[int, int], None],
) -> Rebuilt:
    """Reads everything again that is `held`; `show` is told how many offsets are done, and of how many.

    `discard`: what the topics no longer hold goes, but for settings. Raises SQLAlchemyError or KafkaError; what is left to read then, any projector reads.
    """
    await archive.offsets(list(held))
    async with archive.engine.begin() as connection:
        await connection.run_sync(reopen, held, discard=discard)
    projector = Projector(archive, source, metrics=Metrics())
    await projector.place()
    total = sum(each.end - each.begin for each in held.values())
    while (done := await _done(source, held)) < total:
        show(done, total)
        try:
            await projector.step()
        except Overtaken:
            await asyncio.sleep(OVERTAKEN_WAIT_S)
            await projector.place()
    show(total, total)
    oldest_ms: dict[str, int | None] = {}
    for (topic, _), each in held.items():
        times = [at_ms for at_ms in (oldest_ms.get(topic), each.oldest_ms) if at_ms is not None]
        oldest_ms[topic] = min(times, default=None)
    async with archive.engine.connect() as connection:
        older = await connection.run_sync(_older, held, oldest_ms[ROUTING])
    return Rebuilt(total, oldest_ms, *older)


async def _done(source: Log, held: Mapping[Partition, Held]) -> int:
    done = 0
    for partition, each in held.items():
        done += max(0, min(await source.position(partition), each.end) - each.begin)
    return done


def reopen(connection: Connection, held: Mapping[Partition, Held], *, discard: bool) -> None:
    """Takes all offsets back to the beginning, and lets older facts replace what stands for those that are still in the topics."""
    connection.execute(update(tables.offsets).values(next_offset=0, at_ms=None, tick_ms=None, clock_ms=None))
    f, c, p, s = standing.freshness.c, tables.conversations.c, standing.presence.c, standing.snapshots.c
    if discard:
        _discard(connection, held)
    else:
        settings.settle_all(connection)
    for (topic, number), each in held.items():
        here = select(f.workspace_id).where(f.partition == number)
        if topic == ROUTING:
            told = (c.workspace_id.in_(here), c.decided_offset >= each.begin)
            connection.execute(
                update(tables.conversations).where(*told).values(decided_offset=-1, phase=None)
            )
            connection.execute(
                update(standing.presence).where(p.workspace_id.in_(here)).values(marked_away_ms=-1)
            )
        elif topic == EVENTS:
            said = (p.workspace_id.in_(here), p.told_offset >= each.begin)
            connection.execute(update(standing.presence).where(*said).values(told_offset=-1))
            kept = (s.workspace_id.in_(here), s.offset >= each.begin)
            connection.execute(update(standing.snapshots).where(*kept).values(at_ms=-1))
            for table in _EVENTS:
                there = (table.c.workspace_id.in_(here), table.c.offset >= each.begin)
                connection.execute(update(table).where(*there).values(offset=None))


def _discard(connection: Connection, held: Mapping[Partition, Held]) -> None:
    """Takes everything away but the settings from before what the topics hold, and the presence of agents that these know."""
    f, g, p, s = standing.freshness.c, standing.agents.c, standing.presence.c, standing.snapshots.c
    older = [
        and_(s.workspace_id.in_(select(f.workspace_id).where(f.partition == number)), s.offset < each.begin)
        for (topic, number), each in held.items()
        if topic == EVENTS
    ]
    connection.execute(delete(standing.snapshots).where(~or_(false(), *older)))
    connection.execute(delete(standing.snapshots).where(tables.refused(standing.snapshots)))
    for table in reversed(tables.metadata.sorted_tables):
        if table.name not in _OWN | _STANDING:
            connection.execute(delete(table))
    search.forget_all(connection)
    known = select(s.workspace_id)
    connection.execute(delete(standing.freshness).where(f.workspace_id.not_in(known)))
    settings.settle_all(connection)
    is_known = exists().where(g.workspace_id == p.workspace_id, g.agent_id == p.agent_id)
    connection.execute(delete(standing.presence).where(~is_known))


def _older(connection: Connection, held: Mapping[Partition, Held], oldest_ms: int | None) -> tuple[int, int]:
    """How many chats ended, and how many settings were made, before what the topics hold."""
    c, f, s = tables.chats.c, standing.freshness.c, standing.snapshots.c
    chats = select(func.count()).select_from(tables.chats)
    if oldest_ms is not None:
        chats = chats.where(func.coalesce(c.ended_at_ms, c.missed_at_ms) < oldest_ms)
    kept = 0
    for (topic, number), each in held.items():
        if topic == EVENTS:
            here = select(f.workspace_id).where(f.partition == number)
            older = select(func.count()).select_from(standing.snapshots)
            older = older.where(s.workspace_id.in_(here), s.offset < each.begin, s.kind != "presence")
            kept += connection.scalar(older) or 0
    return connection.scalar(chats) or 0, kept
