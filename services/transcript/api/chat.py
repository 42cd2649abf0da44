"""One chat with its tabs: information, the visitor's recent chats and tickets, messages, summary (notes: `notes.py`).

The one rule: every tab begins with `find`, which gives nothing unless the reader sees the chat.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import CompoundSelect, RowMapping, String, and_, literal, or_, select

from schemas.envelope import from_ms
from schemas.types import Id, MissedReason, MissedTag, Outcome, SenderKind
from services.runtime.openapi import Asked
from services.runtime.problems import NotFound
from services.transcript.api import visibility
from services.transcript.api.access import Noun
from services.transcript.api.browsers import described
from services.transcript.api.chats import ChatHead, Named, head, heads
from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Ordinal, Reader, moment
from services.transcript.archive import standing, tables

RECENT_MAX = 20
"""Chats, and tickets, of the tab."""
FEEDBACK_MAX = 20

Phase = Literal["bot", "waiting", "owned", "closed"]


class ChatAsked(Asked):
    """Which chat."""

    chat_id: Id = Field(description="the chat")


class RevisionAsked(ChatAsked):
    """Which revision of it."""

    revision: Ordinal | None = Field(
        default=None, description="of a chat that was opened again; default: the latest"
    )


class MessagesAsked(Paged, RevisionAsked):
    """Which chat's messages."""


@dataclass(frozen=True, slots=True)
class Information:
    """What is known of the visitor. A browser's own description of itself is told in words."""

    visitor_id: str
    name: str | None
    email: str | None
    phone: str | None
    ip: str | None
    location: str | None
    browser: str | None
    os: str | None
    widget: str | None
    score: float | None
    lead_likelihood: float | str | None
    language: str | None


@dataclass(frozen=True, slots=True)
class Rating:
    """What a visitor thought of it."""

    rating: int
    comment: str | None
    agent_id: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat as it is known now. `phase` and what goes with it are of now; the outcome is null while the revision lives.

    `participants` are colleagues who joined; who watches is not told. `summary` is null where there is none yet.
    """

    as_of: str | None
    chat_id: str
    revision: int
    phase: Phase | None
    since: str | None
    owner: Named | None
    participants: tuple[str, ...]
    department: Named | None
    outcome: Outcome | None
    end_reason: str | None
    missed_tag: MissedTag | None
    missed_reason: MissedReason | None
    agents: tuple[Named, ...]
    channel: str | None
    question: str | None
    tags: tuple[str, ...]
    started_at: str | None
    ended_at: str | None
    information: Information | None
    summary: str | None
    feedback: tuple[Rating, ...]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket the CRM holds about one of the visitor's chats; its address is for agents who may use the CRM."""

    chat_id: str
    id: str
    type: str | None
    url: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Recent:
    """The visitor's other chats that have ended, and tickets, newest first."""

    as_of: str | None
    chats: tuple[ChatHead, ...]
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a message."""

    kind: SenderKind
    id: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message; an internal one is a whisper, which no visitor may ever see."""

    message_id: str
    at: str
    sender: Author
    text: str
    internal: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A chat that the reader sees. `ended`: its row, once a revision was missed or has ended; `now`: how it lives, while it does."""

    ended: RowMapping | None
    now: RowMapping | None

    @property
    def revision(self) -> int:
        """The revision that is told of: the one that lives, or the last one."""
        row = self.now if self.now is not None else self.ended
        return 1 if row is None or row["revision"] is None else int(row["revision"])

    def __getitem__(self, name: str) -> Any:
        """What is known of the chat: a revision that ended says it for good."""
        rows = [row for row in (self.ended, self.now) if row is not None and name in row]
        return next((row[name] for row in rows if row[name] is not None), None)


async def find(reader: Reader, chat_id: str, *, revision: int | None = None, noun: Noun = "chats") -> Found:
    """The chat, in the given revision or its latest. Raises NotFound unless the reader sees it."""
    c, v, r = tables.chats.c, tables.conversations.c, tables.requests.c
    of_chat = and_(v.workspace_id == r.workspace_id, v.chat_id == r.chat_id)
    living = await reader.connection.execute(
        select(
            *(v.phase, v.since_ms, v.revision, v.owner_id, v.participants),
            *(r.channel, r.question, r.visitor, r.at_ms.label("started_at_ms")),
            visibility.department_now().label("department_id"),
        )
        .select_from(tables.requests.outerjoin(tables.conversations, of_chat))
        .where(r.workspace_id == reader.workspace_id, r.chat_id == chat_id, ~tables.refused(tables.requests))
        .where(visibility.live_chats(reader.caller, noun))
        .order_by(r.at_ms, r.offset)
        .limit(1)
    )
    now = living.mappings().one_or_none()
    if now is not None and revision not in (None, now["revision"] or 1):
        now = None
    of_revision = revision if now is None else now["revision"] or 1
    ended = await reader.connection.execute(
        select(tables.chats)
        .where(c.workspace_id == reader.workspace_id, c.chat_id == chat_id)
        .where(or_(c.revision == of_revision, literal(of_revision is None)))
        .where(visibility.ended_chats(reader.caller, noun))
        .order_by(c.revision.desc())
        .limit(1)
    )
    found = Found(ended.mappings().one_or_none(), now)
    if found.ended is None and found.now is None:
        raise NotFound
    return found


async def chat(reader: Reader, asked: RevisionAsked) -> Chat:
    """One chat: how it stands, who takes part, information about the visitor, summary and feedback."""
    found = await find(reader, asked.chat_id, revision=asked.revision)
    of_chat = {"workspace_id": reader.workspace_id, "chat_id": asked.chat_id}
    f = tables.feedback.c
    rated = await reader.connection.execute(
        select(f.rating, f.comment, f.agent_id, f.at_ms)
        .filter_by(**of_chat)
        .where(~tables.refused(tables.feedback))
        .order_by(f.at_ms.desc(), f.event_id)
        .limit(FEEDBACK_MAX)
    )
    tags = await reader.connection.scalar(select(tables.conversations.c.tags).filter_by(**of_chat))
    summary = await reader.connection.scalar(
        select(tables.summaries.c.text).filter_by(**of_chat, revision=found.revision)
    )
    participants = (found["participants"] or {}) if found.now is not None else {}
    return Chat(
        as_of=reader.as_of,
        chat_id=asked.chat_id,
        revision=found.revision,
        phase=found["phase"] if found["ended_at_ms"] is None else "closed",
        since=moment(found["since_ms"] if found["ended_at_ms"] is None else found["ended_at_ms"]),
        owner=await _agent(reader, found["owner_id"]),
        participants=tuple(sorted(who for who, role in participants.items() if role == "participant")),
        department=await _department(reader, found),
        outcome=found["outcome"],
        end_reason=found["end_reason"],
        missed_tag=found["missed_tag"],
        missed_reason=found["missed_reason"],
        agents=tuple(Named(each["id"], each.get("name")) for each in found["agents"] or ()),
        channel=found["channel"],
        question=found["question"],
        tags=tuple(tags or ()),
        started_at=moment(found["started_at_ms"]),
        ended_at=moment(found["ended_at_ms"]),
        information=await _information(reader, asked.chat_id, found),
        summary=summary,
        feedback=tuple(Rating(row.rating, row.comment, row.agent_id, from_ms(row.at_ms)) for row in rated),
    )


async def _agent(reader: Reader, agent_id: str | None) -> Named | None:
    if agent_id is None:
        return None
    name = select(standing.agents.c.name).filter_by(workspace_id=reader.workspace_id, agent_id=agent_id)
    return Named(agent_id, await reader.connection.scalar(name))


async def _department(reader: Reader, found: Found) -> Named | None:
    department_id = found["department_id"]
    if department_id is None:
        return None
    if found["department_name"] is not None:
        return Named(department_id, found["department_name"])
    of_department = {"workspace_id": reader.workspace_id, "department_id": department_id}
    name = select(standing.departments.c.name).filter_by(**of_department)
    return Named(department_id, await reader.connection.scalar(name))


async def visitor_of(reader: Reader, chat_id: str, found: Found) -> Mapping[str, Any]:
    """Who asked. Of a chat that ended, what was known then; of one that lives, what became known since it was asked for."""
    visitor: dict[str, Any] = found["visitor"] or {}
    if visitor and found["ended_at_ms"] is None:
        u = tables.visitor_updates.c
        patches = await reader.connection.scalars(
            select(u.visitor)
            .filter_by(workspace_id=reader.workspace_id, chat_id=chat_id)
            .where(~tables.refused(tables.visitor_updates))
            .order_by(u.at_ms, u.offset)
        )
        for patch in patches:
            visitor = visitor | patch
    return visitor


async def _information(reader: Reader, chat_id: str, found: Found) -> Information | None:
    visitor = await visitor_of(reader, chat_id, found)
    if not visitor:
        return None
    known: dict[str, Any] = {field.name: visitor.get(field.name) for field in fields(Information)}
    # The first description takes a second to read.
    words = await asyncio.to_thread(described, known["browser"], os=known["os"])
    return Information(**(known | words))


async def recent(reader: Reader, asked: ChatAsked) -> Recent:
    """The visitor's other chats that have ended, as far as the reader sees them, and the tickets about any of the visitor's chats."""
    found = await find(reader, asked.chat_id)
    visitor_id = (found["visitor"] or {}).get("visitor_id")
    c, a = tables.chats.c, tables.activities.c
    others = await reader.connection.execute(
        heads(
            reader,
            c.visitor_id == literal(visitor_id, String),
            c.chat_id != asked.chat_id,
            c.ended_at_ms.is_not(None),
        )
        .where(visibility.ended_chats(reader.caller))
        .limit(RECENT_MAX)
    )
    known = await reader.connection.execute(
        select(a.chat_id, a.record_id, a.record_type, a.record_url, a.at_ms)
        .where(a.workspace_id == reader.workspace_id, a.kind == "ticket", a.result == "done")
        .where(a.chat_id.in_(with_others(reader, asked.chat_id, visitor_id)))
        .order_by(a.at_ms.desc(), a.record_id)
        .limit(RECENT_MAX)
    )
    return Recent(
        reader.as_of,
        tuple(head(row) for row in others.mappings()),
        tuple(
            Ticket(
                row.chat_id,
                row.record_id,
                row.record_type,
                row.record_url if reader.caller.crm != "none" else None,
                from_ms(row.at_ms),
            )
            for row in known
        ),
    )


def with_others(reader: Reader, chat_id: str, visitor_id: str | None) -> CompoundSelect[tuple[str]]:
    """A chat and the others of its visitor, whether they live or have ended; of one who is not known there are none."""
    c, r, known = tables.chats.c, tables.requests.c, literal(visitor_id, String)
    ended = select(c.chat_id).where(c.workspace_id == reader.workspace_id, c.visitor_id == known)
    asked = select(r.chat_id).where(r.workspace_id == reader.workspace_id, r.visitor_id == known)
    return ended.union(asked.where(~tables.refused(tables.requests)), select(literal(chat_id, String)))


async def messages(reader: Reader, asked: MessagesAsked) -> Page[Message]:
    """What was said in one revision of a chat, whispers included, once its transcript is archived; a later revision repeats the earlier ones."""
    found = await find(reader, asked.chat_id, revision=asked.revision)
    m = tables.messages.c
    order = Keyset((m.part, m.position), (int, int))
    rows = await reader.connection.execute(
        select(tables.messages)
        .filter_by(workspace_id=reader.workspace_id, chat_id=asked.chat_id, revision=found.revision)
        .where(*order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "part", "position")
    return Page(
        reader.as_of,
        tuple(
            Message(
                row["message_id"],
                from_ms(row["at_ms"]),
                Author(row["sender_kind"], row["sender_id"], row["sender_name"]),
                row["text"],
                row["internal"],
            )
            for row in page
        ),
        following,
    )
