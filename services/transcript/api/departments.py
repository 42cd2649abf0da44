"""Departments, who is available in one, and who waits there: as the archive last heard.

The one rule: a visitor learns the enabled public ones by name, and nothing of who works or waits there.
"""

from collections import Counter
from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import RowMapping, and_, false, func, select, true

from schemas.envelope import from_ms
from schemas.types import Id, Visibility
from services.runtime.problems import NotFound, Refused
from services.transcript.api import visibility
from services.transcript.api.chats import VisitorHead, requested, visitor_head
from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Reader, moment
from services.transcript.archive import presence, standing, tables

RINGING_MAX = 10_000
"""Chats that ring at a time, as far as they are looked through."""


class DepartmentsAsked(Paged):
    """Only where in the list."""


class DepartmentAsked(Paged):
    """Which department."""

    department_id: Id = Field(description="the department")


@dataclass(frozen=True, slots=True)
class Department:
    """A department."""

    department_id: str
    name: str
    description: str | None
    visibility: Visibility
    enabled: bool


@dataclass(frozen=True, slots=True)
class AvailableAgent:
    """An agent who is online and has room; load and capacity are in the units of a channel's cost."""

    agent_id: str
    name: str
    load: int
    capacity: int
    languages: tuple[str, ...]
    skills: dict[str, float]
    since: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A chat that waits. `ringing` are the agents who are being asked; the router may take a chat with a head start first."""

    position: int
    chat_id: str
    visitor: VisitorHead
    channel: str
    question: str
    requested_at: str
    entered_at: str | None
    ringing: tuple[str, ...]


async def departments(reader: Reader, asked: DepartmentsAsked) -> Page[Department]:
    """The departments, by id: to a visitor the enabled public ones, to everybody else all."""
    d = standing.departments.c
    order = Keyset((d.department_id,), (str,))
    extents = {"all": true(), "public": and_(d.visibility == "public", d.enabled == true())}
    rows = await reader.connection.execute(
        select(d.department_id, d.name, d.description, d.visibility, d.enabled)
        .where(d.workspace_id == reader.workspace_id)
        .where(extents.get(reader.caller.extent("departments"), false()), *order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "department_id")
    return Page(reader.as_of, tuple(Department(**row) for row in page), following)


async def available_agents(reader: Reader, asked: DepartmentAsked) -> Page[AvailableAgent]:
    """The department's agents who are online and have room, by id. A page may hold fewer than asked for: those without room are left out."""
    await _known(reader, asked.department_id)
    m, g, p = standing.members.c, standing.agents.c, presence.with_status()
    order = Keyset((g.agent_id,), (str,))
    agent = and_(g.workspace_id == m.workspace_id, g.agent_id == m.agent_id)
    status = and_(p.c.workspace_id == g.workspace_id, p.c.agent_id == g.agent_id)
    rows = await reader.connection.execute(
        select(g.agent_id, g.name, g.max_chats, g.languages, g.skills, p.c.since_ms)
        .select_from(standing.members.join(standing.agents, agent).join(p, status))
        .where(m.workspace_id == reader.workspace_id, m.department_id == asked.department_id)
        .where(p.c.status == "online", *order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "agent_id")
    loads = await _loads(reader, [row["agent_id"] for row in page])
    found = [
        AvailableAgent(
            agent_id=row["agent_id"],
            name=row["name"],
            load=loads[row["agent_id"]],
            capacity=row["max_chats"],
            languages=tuple(row["languages"]),
            skills=row["skills"],
            since=moment(row["since_ms"]),
        )
        for row in page
    ]
    return Page(reader.as_of, tuple(each for each in found if each.load < each.capacity), following)


async def _loads(reader: Reader, agent_ids: list[str]) -> Counter[str]:
    """What the agents' chats cost, and one-by-one offers to them. Slots that stay taken after a chat are known to the router alone."""
    v, d = tables.conversations.c, standing.departments.c
    department = and_(d.workspace_id == v.workspace_id, d.department_id == v.department_id)
    of_workspace = (
        select(v.owner_id, v.rung_agent_ids, requested(v, "channel").label("channel"), d.routing)
        .select_from(tables.conversations.outerjoin(standing.departments, department))
        .where(v.workspace_id == reader.workspace_id)
    )
    owned = of_workspace.where(v.owner_id.in_(agent_ids), v.phase == "owned")
    ringing = of_workspace.where(v.phase.in_(("bot", "waiting")), v.offer_id.is_not(None)).limit(RINGING_MAX)
    loads: Counter[str] = Counter()
    for row in (await reader.connection.execute(owned)).mappings():
        loads[row["owner_id"]] += _cost(row)
    for row in (await reader.connection.execute(ringing)).mappings():
        if len(row["rung_agent_ids"] or ()) == 1 and (row["routing"] or {}).get("mode") != "ring_all":
            loads[row["rung_agent_ids"][0]] += _cost(row)
    return loads


def _cost(row: RowMapping) -> int:
    """What a chat takes of an agent's capacity: 1 unless its department says otherwise for its channel."""
    costs: dict[str, int] = (row["routing"] or {}).get("channel_cost") or {}
    return costs.get(row["channel"], 1)


async def queue(reader: Reader, asked: DepartmentAsked) -> Page[Waiting]:
    """The chats that wait in a department, the oldest first."""
    await _known(reader, asked.department_id)
    if reader.caller.extent("queue") != "all" and asked.department_id not in reader.caller.departments:
        raise Refused(403, "an agent sees the queues of their own departments")
    v, r = tables.conversations.c, tables.requests.c
    w = tables.conversations.alias().c
    # The few that wait first: SQLite would go through all requests.
    few = select(w.chat_id).where(w.workspace_id == reader.workspace_id, w.phase == "waiting")
    request = and_(r.workspace_id == v.workspace_id, r.chat_id == v.chat_id)
    place = (r.at_ms, func.coalesce(r.offset, 0).label("offset"), r.chat_id)
    waiting = (
        select(
            *(*place, r.visitor, r.channel, r.question, v.entered_ms, v.rung_agent_ids),
            func.row_number().over(order_by=place).label("position"),
        )
        .select_from(tables.conversations.join(tables.requests, request))
        .where(v.workspace_id == reader.workspace_id, v.phase == "waiting", r.chat_id.in_(few))
        .where(visibility.department_now() == asked.department_id, ~tables.refused(tables.requests))
        .subquery()
    )
    order = Keyset((waiting.c.at_ms, waiting.c.offset, waiting.c.chat_id), (int, int, str))
    rows = await reader.connection.execute(
        select(waiting).where(*order.after(asked.cursor)).order_by(*order.order()).limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "at_ms", "offset", "chat_id")
    return Page(
        reader.as_of,
        tuple(
            Waiting(
                position=row["position"],
                chat_id=row["chat_id"],
                visitor=visitor_head(row["visitor"]),
                channel=row["channel"],
                question=row["question"],
                requested_at=from_ms(row["at_ms"]),
                entered_at=moment(row["entered_ms"]),
                ringing=tuple(row["rung_agent_ids"] or ()),
            )
            for row in page
        ),
        following,
    )


async def _known(reader: Reader, department_id: str) -> None:
    """Raises NotFound unless there is such a department."""
    of_department = {"workspace_id": reader.workspace_id, "department_id": department_id}
    if await reader.connection.scalar(select(standing.departments.c.name).filter_by(**of_department)) is None:
        raise NotFound
