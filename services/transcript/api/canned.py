"""Canned messages: texts that agents insert by a few keys.

The one rule: an agent gets those of their own departments and the general ones, in lists and suggestions alike.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, or_, select, true

from schemas.types import Id
from services.runtime.openapi import Asked
from services.transcript.api.chats import Named
from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Reader
from services.transcript.archive import standing
from services.transcript.archive.folding import folded

SUGGESTIONS_MAX = 10
"""The contract's."""
QUERY_CHARS_MAX = 100


class CannedAsked(Paged):
    """Filters."""

    department_id: Id | None = Field(
        default=None, description="those of this department and the general ones"
    )
    category_id: Id | None = Field(default=None, description="those of this category")


class SuggestionsAsked(Asked):
    """What an agent has typed."""

    text: str = Field(
        min_length=1,
        max_length=QUERY_CHARS_MAX,
        pattern=r"^#[^\x00]*$",
        description="`#` and a part of a text or of its category's name",
    )
    department_id: Id | None = Field(
        default=None, description="those of this department and the general ones"
    )


@dataclass(frozen=True, slots=True)
class CannedMessage:
    """A canned message; one of no department is for everybody."""

    canned_message_id: str
    text: str
    category: Named | None
    department_id: str | None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Up to ten canned messages."""

    as_of: str | None
    items: tuple[CannedMessage, ...]


async def canned_messages(reader: Reader, asked: CannedAsked) -> Page[CannedMessage]:
    """Canned messages with their categories, by id."""
    m = standing.canned_messages.c
    order = Keyset((m.canned_message_id,), (str,))
    fits = [] if asked.category_id is None else [m.category_id == asked.category_id]
    rows = await reader.connection.execute(
        _canned(reader, asked.department_id)
        .where(*fits, *order.after(asked.cursor))
        .order_by(*order.order())
        .limit(asked.limit + 1)
    )
    page, following = cut(rows.mappings().all(), asked.limit, "canned_message_id")
    return Page(reader.as_of, tuple(_told(row) for row in page), following)


async def suggestions(reader: Reader, asked: SuggestionsAsked) -> Suggestions:
    """What an agent may mean by `#` and a few letters: those that begin with them first. Width, case and the like make no difference."""
    m, k = standing.canned_messages.c, standing.canned_categories.c
    typed = folded(asked.text.removeprefix("#"))
    begins = or_(m.folded.startswith(typed, autoescape=True), k.folded.startswith(typed, autoescape=True))
    rows = await reader.connection.execute(
        _canned(reader, asked.department_id)
        .where(or_(m.folded.contains(typed, autoescape=True), k.folded.contains(typed, autoescape=True)))
        .order_by(case((begins, 0), else_=1), m.folded, m.canned_message_id)
        .limit(SUGGESTIONS_MAX)
    )
    return Suggestions(reader.as_of, tuple(_told(row) for row in rows.mappings()))


def _canned(reader: Reader, department_id: str | None) -> Select[Any]:
    """Those that the reader may use, in a chat of this department or in any."""
    m, k = standing.canned_messages.c, standing.canned_categories.c
    category = and_(k.workspace_id == m.workspace_id, k.category_id == m.category_id)
    of_department = true() if department_id is None else _general_or(m.department_id == department_id)
    return (
        select(m.canned_message_id, m.text, m.category_id, m.department_id, k.name)
        .select_from(standing.canned_messages.outerjoin(standing.canned_categories, category))
        .where(m.workspace_id == reader.workspace_id, of_department, _usable(reader))
    )


def _usable(reader: Reader) -> ColumnElement[bool]:
    m = standing.canned_messages.c
    if reader.caller.extent("canned") == "all":
        return true()
    return _general_or(m.department_id.in_(reader.caller.departments))


def _general_or(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return or_(standing.canned_messages.c.department_id.is_(None), condition)


def _told(row: RowMapping) -> CannedMessage:
    category_id = row["category_id"]
    return CannedMessage(
        canned_message_id=row["canned_message_id"],
        text=row["text"],
        category=None if category_id is None else Named(category_id, row["name"]),
        department_id=row["department_id"],
    )
