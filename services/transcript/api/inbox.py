"""The missed inbox: chats nobody replied to, and all that is known of why.

The one rule: a deleted one has left for good, and one that lives again is not in it.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import RowMapping, Select, and_, func, select

from schemas.envelope import from_ms
from schemas.types import Id, MissedDetail, MissedReason, MissedTag
from services.runtime.problems import NotFound
from services.transcript.api import visibility
from services.transcript.api.chat import ChatAsked
from services.transcript.api.chats import Named, VisitorHead, requested, visitor_head
from services.transcript.api.listing import Keyset, Page, Paged, cut, first
from services.transcript.api.reader import Reader
from services.transcript.archive import standing, tables
from services.transcript.pages.reading import replies_to

InboxStatus = Literal["open", "assigned", "closed"]
STATUSES: tuple[InboxStatus, ...] = ("open", "assigned")
"""What the inbox shows unless it is asked for something else."""


class InboxAsked(Paged):
    """Filters; a chat must fit all that are given."""

    status: InboxStatus | None = Field(default=None, description="default: open and assigned ones together")
    missed_tag: MissedTag | None = Field(default=None, description="why it was missed, in a word")
    department_id: Id | None = Field(default=None, description="the department it was missed in")
    agent_id: Id | None = Field(default=None, description="whom it is assigned to")


@dataclass(frozen=True, slots=True)
class MissedHead:
    """A missed chat, as it stands in the inbox."""

    chat_id: str
    revision: int
    status: InboxStatus
    assigned_to: Named | None
    missed_tag: MissedTag
    reason: MissedReason
    detail: MissedDetail | None
    department: Named | None
    visitor: VisitorHead | None
    channel: str | None
    question: str | None
    tags: tuple[str, ...]
    reply_by_email: bool
    missed_at: str


@dataclass(frozen=True, slots=True)
class Available:
    """An agent who could have taken it."""

    id: str
    name: str
    load: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer by e-mail; `result` is null until it is known what became of the mail."""

    by: str
    text: str
    at: str
    result: Literal["sent", "failed"] | None


@dataclass(frozen=True, slots=True)
class Missed:
    """All that is known of a missed chat: the rule it was missed under, and who was available. The lists name the first 20."""

    as_of: str | None
    head: MissedHead
    rule: dict[str, Any]
    available_at_start: tuple[Available, ...]
    available_at_missed: tuple[Available, ...]
    available_counts: dict[str, int]
    replies: tuple[Reply, ...]


async def missed(reader: Reader, asked: InboxAsked) -> Page[MissedHead]:
    """The missed inbox, newest first."""
    v = tables.conversations.c
    order = Keyset((v.missed_at_ms, v.chat_id), (int, str), descending=True)
    fits = [v.workspace_id == reader.workspace_id, *order.after(asked.cursor)]
    given = (
        (v.missed_tag, asked.missed_tag),
        (v.department_id, asked.department_id),
        (v.inbox_agent_id, asked.agent_id),
    )
    fits += [column == value for column, value in given if value is not None]
    statuses = STATUSES if asked.status is None else (asked.status,)
    every = select(v.missed_at_ms, v.chat_id).where(v.missed_at_ms.is_not(None), *fits)
    sources = [
        (every.where(v.inbox_status == status, seen), order)
        for status in statuses
        for seen in visibility.parts_of_inbox(reader.caller, asked.department_id)
    ]
    keys = first(sources, asked.limit)
    rows = await reader.connection.execute(
        _heads(reader).join(keys, keys.c.chat_id == v.chat_id).order_by(*order.order())
    )
    page, following = cut(rows.mappings().all(), asked.limit, "missed_at_ms", "chat_id")
    return Page(reader.as_of, tuple(_head(row) for row in page), following)


async def missed_chat(reader: Reader, asked: ChatAsked) -> Missed:
    """One missed chat: why, under which rule, who was available, and the answers by e-mail so far."""
    v = tables.conversations.c
    found = await reader.connection.execute(
        _heads(reader)
        .where(v.chat_id == asked.chat_id, v.inbox_status.in_(("open", "assigned", "closed")))
        .where(visibility.inbox(reader.caller))
    )
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound
    replies = await replies_to(
        reader.connection, {"workspace_id": reader.workspace_id, "chat_id": asked.chat_id}
    )
    return Missed(
        as_of=reader.as_of,
        head=_head(row),
        rule=row["rule"],
        available_at_start=tuple(Available(**each) for each in row["available_at_start"]),
        available_at_missed=tuple(Available(**each) for each in row["available_at_missed"]),
        available_counts=row["available_counts"],
        replies=tuple(
            Reply(each["agent_name"], each["text"], from_ms(each["at_ms"]), each["result"])
            for each in replies
        ),
    )


def _heads(reader: Reader) -> Select[Any]:
    """Missed chats with what their request said, for what only their end tells."""
    c, v, g, d = tables.chats.c, tables.conversations.c, standing.agents.c, standing.departments.c
    revision = and_(c.workspace_id == v.workspace_id, c.chat_id == v.chat_id, c.revision == v.revision)
    agent = and_(g.workspace_id == v.workspace_id, g.agent_id == v.inbox_agent_id)
    department = and_(d.workspace_id == v.workspace_id, d.department_id == v.department_id)
    return (
        select(
            *(v.chat_id, v.inbox_status, v.inbox_agent_id, v.tags, v.missed_at_ms, v.department_id),
            *(
                c.revision,
                c.missed_tag,
                c.missed_reason,
                c.missed_detail,
                c.department_name,
                c.reply_by_email,
            ),
            *(c.rule, c.available_at_start, c.available_at_missed, c.available_counts),
            # Until its end tells, the request it began with.
            *(
                func.coalesce(c[name], requested(v, name)).label(name)
                for name in ("visitor", "channel", "question")
            ),
            g.name.label("agent_name"),
            d.name.label("department_now"),
        )
        .select_from(
            tables.conversations.join(tables.chats, revision)
            .outerjoin(standing.agents, agent)
            .outerjoin(standing.departments, department)
        )
        .where(v.workspace_id == reader.workspace_id, c.missed_reason.is_not(None))
    )


def _head(row: RowMapping) -> MissedHead:
    agent_id, department_id, visitor = row["inbox_agent_id"], row["department_id"], row["visitor"]
    department_name = row["department_name"] or row["department_now"]
    return MissedHead(
        chat_id=row["chat_id"],
        revision=row["revision"],
        status=row["inbox_status"],
        assigned_to=None if agent_id is None else Named(agent_id, row["agent_name"]),
        missed_tag=row["missed_tag"],
        reason=row["missed_reason"],
        detail=row["missed_detail"],
        department=None if department_id is None else Named(department_id, department_name),
        visitor=None if visitor is None else visitor_head(visitor),
        channel=row["channel"],
        question=row["question"],
        tags=tuple(row["tags"] or ()),
        reply_by_email=row["reply_by_email"],
        missed_at=from_ms(row["missed_at_ms"]),
    )
