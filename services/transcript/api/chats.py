"""The list of chats that have ended, by filters, newest first.

The one rule: a chat's place in the list is its end, which never changes; a chat that still lives is not in it (`queue.py`,
`monitored.py` and `chat.py` tell of those).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias, get_args

from pydantic import Field
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    RowMapping,
    ScalarSelect,
    Select,
    and_,
    false,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from schemas.envelope import from_ms, to_ms
from schemas.types import Id, MissedReason, MissedTag, Outcome
from services.runtime.openapi import Asked
from services.runtime.problems import BadRequest, Wrong, kind_of
from services.transcript.api import visibility
from services.transcript.api.listing import Keyset, Page, Paged, apart, cut, first
from services.transcript.api.reader import Reader, When, YesNo
from services.transcript.archive import search, standing, tables

Conditions: TypeAlias = list[ColumnElement[bool]]
Columns: TypeAlias = ReadOnlyColumnCollection[str, Column[Any]]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
TEXT_CHARS_MAX = 200
RARE_MAX = 5_000
"""A tag or text that so few chats have is looked up first; the chats of any other are found while going through the list."""
_ANY = true()


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody or something with an id and a name."""

    id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class VisitorHead:
    """Who asked."""

    visitor_id: str
    name: str | None
    email: str | None


def visitor_head(visitor: Mapping[str, Any]) -> VisitorHead:
    """Of all that is known of a visitor, who they are."""
    return VisitorHead(visitor["visitor_id"], visitor.get("name"), visitor.get("email"))


@dataclass(frozen=True, slots=True)
class ChatHead:
    """One revision of a chat, as it stands in a list."""

    chat_id: str
    revision: int
    outcome: Outcome
    end_reason: str | None
    missed_tag: MissedTag | None
    missed_reason: MissedReason | None
    department: Named
    agents: tuple[Named, ...]
    visitor: VisitorHead
    channel: str | None
    question: str | None
    tags: tuple[str, ...]
    started_at: str
    ended_at: str


@dataclass(frozen=True, slots=True)
class Source:
    """Chats of a list, in its order, and the columns they are filtered by."""

    chats: Select[Any]
    order: Keyset
    department_id: ColumnElement[Any]
    outcome: ColumnElement[Any]
    missed_tag: ColumnElement[Any]


class Filters(Asked):
    """A chat must fit all that are given."""

    department_id: Id | None = Field(default=None, description="the department it ended in")
    agent_id: Id | None = Field(default=None, description="somebody who took part")
    outcome: Outcome | None = Field(default=None, description="how it ended")
    missed: YesNo | None = Field(default=None, description="true: only missed ones; false: all others")
    missed_tag: MissedTag | None = Field(default=None, description="only missed ones with this tag")
    tag: Id | None = Field(default=None, description="a tag it has now")
    since: When | None = Field(default=None, description="ended then or later")
    until: When | None = Field(default=None, description="ended before")
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=TEXT_CHARS_MAX,
        pattern=r"^[^\x00]*$",
        description="words that must all occur in its question or messages, each of two characters at least, or one ideograph",
    )


class ChatsAsked(Paged, Filters):
    """Which chats, and where in their list."""


async def chats(reader: Reader, asked: ChatsAsked) -> Page[ChatHead]:
    """Chats that have ended, newest first; of a chat that was opened again one for each revision."""
    few, fits = await _filters(reader, asked, whispers=True)
    sources = [
        (each.chats.where(*_of_columns(asked, each, outcome), *each.order.after(asked.cursor)), each.order)
        for each, outcome in product(_sources(reader, asked, few, fits), _outcomes(asked))
    ]
    if not sources:
        return Page(reader.as_of, (), None)
    c, keys = tables.chats.c, first(sources, asked.limit)
    chosen = tables.chats.join(keys, and_(keys.c.chat_id == c.chat_id, keys.c.revision == c.revision))
    rows = await reader.connection.execute(heads(reader, chosen=chosen))
    page, following = cut(rows.mappings().all(), asked.limit, "ended_at_ms", "chat_id", "revision")
    return Page(reader.as_of, tuple(head(row) for row in page), following)


async def fitting(reader: Reader, asked: Filters, *, whispers: bool) -> Conditions:
    """The chats of this list as conditions on `tables.chats`. `whispers`: a text is looked for in them, too."""
    few, fits = await _filters(reader, asked, whispers=whispers)
    if asked.agent_id is not None:
        fits.append(visibility.had_by(asked.agent_id))
    columns = [and_(true(), *_of_columns(asked, _every(reader), outcome)) for outcome in _outcomes(asked)]
    return [visibility.ended_chats(reader.caller), *few, *fits, or_(false(), *columns)]


def _sources(reader: Reader, asked: ChatsAsked, few: Conditions, fits: Conditions) -> list[Source]:
    """What the reader sees, as queries that each have an index in the list's order, or give few chats; they may overlap."""
    caller, agent_id, c, a = reader.caller, asked.agent_id, tables.chats.c, tables.chat_agents.c
    seen = visibility.ended_chats(caller)
    if few:
        had_by = [] if agent_id is None else [visibility.had_by(agent_id)]
        return [_of_few(reader, *few, *had_by, seen, *fits)]
    departments = [each for each in caller.departments if asked.department_id in (None, each)]
    if caller.extent("chats") != "theirs" or len(departments) > visibility.PARTS_MAX:
        return [_every(reader, seen, *fits) if agent_id is None else _had_by(reader, agent_id, seen, *fits)]
    given = c.chat_id.in_(visibility.given_to(caller))
    if agent_id is None:
        return [
            *(_every(reader, c.department_id == each, *fits) for each in departments),
            _of_few(reader, given, *fits),
            _had_by(reader, caller.agent_id, *fits),
        ]
    return [
        *(_had_by(reader, agent_id, *fits, part=a.department_id == each) for each in departments),
        _had_by_both(reader, agent_id, *fits),
        _of_few(reader, given, visibility.had_by(agent_id), *fits),
    ]


def _every(reader: Reader, *conditions: ColumnElement[bool]) -> Source:
    c = tables.chats.c
    every = select(c.ended_at_ms, c.chat_id, c.revision).where(
        c.workspace_id == reader.workspace_id, c.ended_at_ms.is_not(None), *conditions
    )
    return Source(every, _order(c.ended_at_ms), c.department_id, c.outcome, c.missed_tag)


def _of_few(reader: Reader, *conditions: ColumnElement[bool]) -> Source:
    """Chats that are found by their ids, and put in order then."""
    c = tables.chats.c
    ended_at_ms = apart(c.ended_at_ms).label("ended_at_ms")
    few = select(ended_at_ms, c.chat_id, c.revision).where(
        c.workspace_id == reader.workspace_id, ended_at_ms.is_not(None), *conditions
    )
    return Source(few, _order(ended_at_ms), apart(c.department_id), apart(c.outcome), apart(c.missed_tag))


def _had_by(
    reader: Reader, agent_id: str | None, *conditions: ColumnElement[bool], part: ColumnElement[bool] = _ANY
) -> Source:
    """Chats in which an agent took part; `part`: a condition on that, of `tables.chat_agents`."""
    c, a = tables.chats.c, tables.chat_agents.c
    chat = select(func.coalesce(c.missed_tag, "")).where(*_of_part(), *conditions)
    # No JOIN: PostgreSQL expects one row of it at most, and would find all chats of the agent before the first one is given.
    missed_tag = chat.correlate(tables.chat_agents).scalar_subquery()
    had = select(a.ended_at_ms, a.chat_id, a.revision).where(
        a.workspace_id == reader.workspace_id, a.agent_id == agent_id, part, missed_tag.is_not(None)
    )
    return Source(had, _order_of_parts(), a.department_id, a.outcome, missed_tag)


def _had_by_both(reader: Reader, agent_id: str, *conditions: ColumnElement[bool]) -> Source:
    """Chats in which an agent took part, and the reader."""
    c, a, had_too = tables.chats.c, tables.chat_agents.c, visibility.had_too(reader.caller.agent_id)
    both = select(a.ended_at_ms, a.chat_id, a.revision).where(
        a.workspace_id == reader.workspace_id, a.agent_id == agent_id, had_too, *_of_part(), *conditions
    )
    return Source(both, _order_of_parts(), a.department_id, a.outcome, c.missed_tag)


def _of_part() -> Conditions:
    """The chat of an agent's part."""
    c, a = tables.chats.c, tables.chat_agents.c
    same = [a.workspace_id == c.workspace_id, a.chat_id == c.chat_id, a.revision == c.revision]
    # Of another end: its id was used again, for another chat.
    return [*same, a.ended_at_ms == apart(c.ended_at_ms)]


def _order_of_parts() -> Keyset:
    a = tables.chat_agents.c
    return Keyset((a.ended_at_ms, a.chat_id, a.revision), (int, str, int), descending=True)


def _order(ended_at_ms: ColumnElement[Any]) -> Keyset:
    c = tables.chats.c
    return Keyset((ended_at_ms, c.chat_id, c.revision), (int, str, int), descending=True)


def _within(asked: Filters, source: Source) -> Conditions:
    (ended_at_ms, *_) = source.order.columns
    bounds: Conditions = []
    if asked.since is not None:
        bounds.append(ended_at_ms >= to_ms(asked.since))
    if asked.until is not None:
        bounds.append(ended_at_ms < to_ms(asked.until))
    return bounds


def _outcomes(asked: Filters) -> tuple[Outcome | None, ...]:
    """The outcomes that fit; None for all of them. Of each the list is read by an index, so that none is gone through for another."""
    given = asked.outcome, asked.missed, asked.missed_tag
    if given == (None, None, None):
        return (None,)
    missed = True if asked.missed_tag is not None and asked.missed is None else asked.missed
    return tuple(
        outcome
        for outcome in OUTCOMES
        if asked.outcome in (None, outcome) and missed in (None, outcome == "missed")
    )


def _of_columns(asked: Filters, source: Source, outcome: Outcome | None) -> Conditions:
    given: list[tuple[ColumnElement[Any], object]] = [
        (source.department_id, asked.department_id),
        (source.outcome, outcome),
        (source.missed_tag, asked.missed_tag),
    ]
    return [*(column == value for column, value in given if value is not None), *_within(asked, source)]


async def _filters(reader: Reader, asked: Filters, *, whispers: bool) -> tuple[Conditions, Conditions]:
    """Conditions that few chats fit, by which they are found; and all the others."""
    c = tables.chats.c
    few: Conditions = []
    fits: Conditions = []
    if asked.tag is not None:
        t = standing.tags.c
        of_tag = select(t.chat_id).where(t.workspace_id == reader.workspace_id, t.tag == asked.tag)
        # No EXISTS: PostgreSQL would make a join of it, and find every chat that has the tag before the first one is given.
        has_it = of_tag.where(t.chat_id == c.chat_id).correlate(tables.chats).scalar_subquery().is_not(None)
        rare = await _is_rare(reader, of_tag)
        (few if rare else fits).append(c.chat_id.in_(of_tag) if rare else has_it)
    for term in _terms(asked.text):
        about = {"workspace_id": reader.workspace_id, "dialect": reader.connection.dialect.name}
        rare = await _is_rare(reader, search.candidates(term, **about))
        found = search.found_by(term, **about, whispers=whispers)
        (few if rare else fits).append(found if rare else search.held_by_chat(term, whispers=whispers))
    return few, fits


async def _is_rare(reader: Reader, found: Select[Any]) -> bool:
    some = found.limit(RARE_MAX + 1).subquery()
    return (await reader.connection.scalar(select(func.count()).select_from(some)) or 0) <= RARE_MAX


def _terms(text: str | None) -> list[str]:
    """Raises BadRequest for a text that can't be searched for."""
    try:
        return [] if text is None else search.terms(text)
    except search.Unsearchable as error:
        raise BadRequest(Wrong("text", kind_of(text or ""), str(error))) from None


def heads(reader: Reader, *conditions: ColumnElement[bool], chosen: FromClause = tables.chats) -> Select[Any]:
    """Chats of the reader's workspace with their tags, newest first; `chosen` is `tables.chats`, joined with whatever chooses."""
    c, v = tables.chats.c, tables.conversations.c
    tagged = and_(v.workspace_id == c.workspace_id, v.chat_id == c.chat_id)
    return (
        select(tables.chats, v.tags)
        .select_from(chosen.outerjoin(tables.conversations, tagged))
        .where(c.workspace_id == reader.workspace_id, *conditions)
        .order_by(*_order(c.ended_at_ms).order())
    )


def head(row: RowMapping) -> ChatHead:
    """A chat of `heads`."""
    return ChatHead(
        chat_id=row["chat_id"],
        revision=row["revision"],
        outcome=row["outcome"],
        end_reason=row["end_reason"],
        missed_tag=row["missed_tag"],
        missed_reason=row["missed_reason"],
        department=Named(row["department_id"], row["department_name"]),
        agents=tuple(Named(agent["id"], agent.get("name")) for agent in row["agents"]),
        visitor=visitor_head(row["visitor"]),
        channel=row["channel"],
        question=row["question"],
        tags=tuple(row["tags"] or ()),
        started_at=from_ms(row["started_at_ms"]),
        ended_at=from_ms(row["ended_at_ms"]),
    )


def requested(of: Columns, name: str) -> ScalarSelect[Any]:
    """What the request said that a chat began with; `of`: the columns of a table that names the chat."""
    r = tables.requests.c
    return (
        select(r[name])
        .where(r.workspace_id == of.workspace_id, r.chat_id == of.chat_id, ~tables.refused(tables.requests))
        .order_by(r.at_ms, r.offset)
        .limit(1)
        .scalar_subquery()
    )
