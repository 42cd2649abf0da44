"""Agents' presence as the log last said.

The one rule: it is what the router makes of the same records: its deadline clock decides when silence means offline, and what an agent said
before they were known, or after they were deleted, does not count.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, or_, select

from schemas.decisions import AgentMarkedAway
from schemas.events import AgentConfigured, AgentDeleted, AgentHeartbeat, AgentPresence
from schemas.topics import EVENTS
from services.transcript.archive import standing, tables
from services.transcript.archive.batch import Told
from services.transcript.archive.rows import Row
from services.transcript.archive.writing import having, put

SILENCE_MS = 60_000
"""Once an agent has sent heartbeats, so much silence means offline (the contract, Inputs)."""
_Agent = tuple[str, str]


def with_status() -> Subquery:
    """Agents of whom the log said something: workspace_id, agent_id, status, sound, since_ms. Anybody else is offline."""
    p = standing.presence.c
    return (
        select(p.workspace_id, p.agent_id, status().label("status"), p.sound, p.since_ms)
        .select_from(
            standing.presence.outerjoin(
                standing.freshness, standing.freshness.c.workspace_id == p.workspace_id
            ).outerjoin(
                tables.offsets,
                and_(
                    tables.offsets.c.topic == EVENTS,
                    tables.offsets.c.partition == standing.freshness.c.partition,
                ),
            )
        )
        .subquery("with_status")
    )


def status() -> ColumnElement[str]:
    """An agent's status as SQL, over `presence`, `freshness` and `offsets` as `with_status` joins them."""
    p, o = standing.presence.c, tables.offsets.c
    silent = and_(p.beats, func.coalesce(o.clock_ms, -1) >= p.alive_ms + SILENCE_MS)
    return case(
        (or_(tables.refused(standing.presence), p.status == "offline", silent), "offline"),
        (and_(p.status == "online", p.marked_away_ms > p.tick_ms), "away"),
        else_=p.status,
    )


def settle(connection: Connection, events: Iterable[Told], decisions: Iterable[Told]) -> None:
    """Takes what was told of agents, each in the order of its topic. The snapshots of the events are written."""
    marked = [each for each in decisions if isinstance(each.data, AgentMarkedAway)]
    told = [each for each in events if isinstance(each.data, AgentHeartbeat)]
    told += _fresh(connection, [each for each in events if not isinstance(each.data, AgentHeartbeat)])
    if not told and not marked:
        return
    wanted = {(each.workspace_id, each.data.agent_id) for each in (*told, *marked)}
    agents = _stored(connection, wanted)
    for each in sorted(told, key=lambda each: each.offset):
        _tell(agents[each.workspace_id, each.data.agent_id], each)
    for each in marked:
        agent = agents[each.workspace_id, each.data.agent_id]
        agent["marked_away_ms"] = max(agent["marked_away_ms"], each.at_ms)
    put(connection, [Row(standing.presence, agent) for agent in agents.values()])


def _fresh(connection: Connection, events: list[Told]) -> list[Told]:
    """Those that are no duplicates of earlier ones: snapshots of duplicates are not kept. A heartbeat's duplicate does no harm."""
    s = standing.snapshots.c
    kept: set[tuple[str, int]] = set()
    for of_events in having(
        (s.workspace_id, s.offset), [(each.workspace_id, each.offset) for each in events]
    ):
        found = connection.execute(select(s.workspace_id, s.offset).where(of_events))
        kept.update((row.workspace_id, row.offset) for row in found)
    return [each for each in events if (each.workspace_id, each.offset) in kept]


def _stored(connection: Connection, agents: set[_Agent]) -> dict[_Agent, dict[str, Any]]:
    p = standing.presence.c
    found: dict[_Agent, dict[str, Any]] = {
        agent: {
            "workspace_id": agent[0],
            "agent_id": agent[1],
            "known": False,
            "status": "offline",
            "sound": True,
            "since_ms": 0,
            "event_id": None,
            "offset": None,
            "tick_ms": -1,
            "beats": False,
            "alive_ms": -1,
            "told_offset": -1,
            "marked_away_ms": -1,
        }
        for agent in sorted(agents)
    }
    for of_agents in having((p.workspace_id, p.agent_id), found):
        for row in connection.execute(select(standing.presence).where(of_agents)).mappings():
            found[row["workspace_id"], row["agent_id"]] = dict(row)
    return found


def _tell(agent: dict[str, Any], told: Told) -> None:
    """Applies one event, unless a later one was applied before."""
    if told.offset <= agent["told_offset"]:
        return
    agent["told_offset"] = told.offset
    clock = told.clock
    match told.data:
        case AgentConfigured():
            agent["known"] = True
        case AgentDeleted():
            agent |= {"known": False, "status": "offline", "since_ms": clock.at_ms, "beats": False}
        case AgentPresence(status=status, sound=sound):
            agent |= {"status": status, "sound": sound, "since_ms": clock.at_ms, "tick_ms": clock.tick_ms}
            agent |= {"event_id": told.event_id, "offset": told.offset, "alive_ms": clock.deadline_ms()}
        case AgentHeartbeat() if agent["known"]:
            if agent["beats"] and clock.clock_ms >= agent["alive_ms"] + SILENCE_MS:
                agent |= {"status": "offline", "since_ms": clock.at_ms}
            agent |= {"beats": True, "alive_ms": clock.deadline_ms()}
