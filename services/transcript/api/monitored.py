"""The chats that somebody's own monitors match.

The one rule: only the monitor's owner may know of a match, an admin no more than anybody else.
"""

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import ColumnElement, RowMapping, and_, select, true

from schemas.envelope import from_ms
from services.transcript.api.chats import Columns, Named, VisitorHead, requested, visitor_head
from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Reader, YesNo, moment
from services.transcript.archive import standing, tables


class MonitoredAsked(Paged):
    """Which of them."""

    live: YesNo = Field(default=True, description="true: those that match now; false: all that ever did")


@dataclass(frozen=True, slots=True)
class MonitoredChat:
    """A chat that a monitor matches, or has matched. `kind` and `value` are null where the monitor is gone."""

    chat_id: str
    monitor_id: str
    kind: str | None
    value: str | None
    since: str
    until: str | None
    owner: Named | None
    department: Named | None
    visitor: VisitorHead | None
    channel: str | None
    question: str | None


async def monitored(reader: Reader, asked: MonitoredAsked) -> Page[MonitoredChat]:
    """The chats that the monitors of who asks match, newest match first."""
    m, o, v, g, d = (
        standing.matches.c,
        standing.monitors.c,
        tables.conversations.c,
        standing.agents.c,
        standing.departments.c,
    )
    order = Keyset((m.since_ms, m.chat_id, m.monitor_id), (int, str, str), descending=True)
    found = await reader.connection.execute(
        select(
            *(m.chat_id, m.monitor_id, m.since_ms, m.until_ms, o.kind, o.value),
            *(v.owner_id, g.name.label("owner_name"), v.department_id, d.name.label("department_name")),
            *(requested(m, name).label(name) for name in ("visitor", "channel", "question")),
        )
        .select_from(
            standing.matches.outerjoin(standing.monitors, _same(m, o, "monitor_id"))
            .outerjoin(tables.conversations, _same(m, v, "chat_id"))
            .outerjoin(standing.agents, and_(g.workspace_id == v.workspace_id, g.agent_id == v.owner_id))
            .outerjoin(standing.departments, _same(v, d, "department_id"))
        )
        .where(m.workspace_id == reader.workspace_id, m.owner_agent_id == reader.caller.agent_id)
        .where(m.until_ms.is_(None) if asked.live else true(), *order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(found.mappings().all(), asked.limit, "since_ms", "chat_id", "monitor_id")
    return Page(reader.as_of, tuple(_told(row) for row in page), following)


def _same(one: Columns, other: Columns, name: str) -> ColumnElement[bool]:
    return and_(other.workspace_id == one.workspace_id, other[name] == one[name])


def _told(row: RowMapping) -> MonitoredChat:
    owner_id, department_id, visitor = row["owner_id"], row["department_id"], row["visitor"]
    return MonitoredChat(
        chat_id=row["chat_id"],
        monitor_id=row["monitor_id"],
        kind=row["kind"],
        value=row["value"],
        since=from_ms(row["since_ms"]),
        until=moment(row["until_ms"]),
        owner=None if owner_id is None else Named(owner_id, row["owner_name"]),
        department=None if department_id is None else Named(department_id, row["department_name"]),
        visitor=None if visitor is None else visitor_head(visitor),
        channel=row["channel"],
        question=row["question"],
    )
