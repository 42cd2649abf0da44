"""Agents' notes about a visitor: they belong to the visitor, and show in every chat of theirs.

The one rule: a chat opens the notes of its visitor, so whoever may not see the chat may not see them.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from sqlalchemy import and_, select, true

from schemas.envelope import from_ms
from services.transcript.api.chat import ChatAsked, find, with_others
from services.transcript.api.chats import Named
from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Reader
from services.transcript.archive import standing, tables


class NotesAsked(Paged, ChatAsked):
    """Whose notes about the visitor of which chat."""

    whose: Literal["all", "own", "others"] = Field(
        default="all", description="all of them, those of who asks, or everybody else's"
    )


@dataclass(frozen=True, slots=True)
class Note:
    """What an agent wrote down about the visitor, in the chat it was written in."""

    note_id: str
    chat_id: str
    by: Named
    own: bool
    text: str
    at: str


async def notes(reader: Reader, asked: NotesAsked) -> Page[Note]:
    """Notes about a chat's visitor, written in any chat of theirs, newest first."""
    found = await find(reader, asked.chat_id, noun="notes")
    n, g, me = tables.notes.c, standing.agents.c, reader.caller.agent_id
    visitor_id = (found["visitor"] or {}).get("visitor_id")
    whose = {"all": true(), "own": n.by_agent_id == me, "others": n.by_agent_id.is_distinct_from(me)}
    order = Keyset((n.at_ms, n.source, n.event_id), (int, str, str), descending=True)
    author = and_(g.workspace_id == n.workspace_id, g.agent_id == n.by_agent_id)
    rows = await reader.connection.execute(
        select(tables.notes, g.name)
        .select_from(tables.notes.outerjoin(standing.agents, author))
        .where(n.workspace_id == reader.workspace_id, ~tables.refused(tables.notes))
        .where(n.chat_id.in_(with_others(reader, asked.chat_id, visitor_id)))
        .where(whose[asked.whose], *order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "at_ms", "source", "event_id")
    return Page(
        reader.as_of,
        tuple(
            Note(
                note_id=row["note_id"],
                chat_id=row["chat_id"],
                by=Named(row["by_agent_id"], row["name"]),
                own=row["by_agent_id"] == me,
                text=row["text"],
                at=from_ms(row["at_ms"]),
            )
            for row in page
        ),
        following,
    )
