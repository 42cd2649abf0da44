"""Exports finished chats as a stream: JSON lines, CSV for spreadsheets, or a page of HTML.

The one rule: nothing is cut and nothing is gathered. Chats and what was said in them are read page by page, each page by the sort
key of the last one, so memory holds one page however long a chat or a list is. Whispers and notes, which are for colleagues, are
left out in the database unless they are asked for.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    and_,
    exists,
    false,
    func,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.envelope import from_ms
from schemas.frozen import dataclass as frozen_dataclass
from services.runtime.html import page_templates
from services.transcript.archive import tables
from services.transcript.pages.rendering import PACKAGE, STYLE, Written
from services.transcript.pages.spreadsheet import Sheet
from services.transcript.pages.wording import WORDS
from services.transcript.parts import parse_ms

CHATS_PER_PAGE = 20
ENTRIES_PER_PAGE = 250
"""Rows read at a time: messages of 16 KiB make a page of 4 MB, three times that in Japanese."""
CHUNK_BYTES_MIN = 64 * 1024
"""Small pieces of HTML are gathered up to this."""

Format: TypeAlias = Literal["jsonl", "csv", "html"]
MEDIA_TYPES: Mapping[Format, str] = {
    "jsonl": "application/jsonl; charset=utf-8",
    "csv": "text/csv; charset=utf-8; header=present",
    "html": "text/html; charset=utf-8",
}
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many chats of how many have been read."""
Kind: TypeAlias = Literal["message", "whisper", "note", "reply", "feedback"]


@frozen_dataclass(frozen=True, slots=True)
class Entry:
    """Something that was said in a chat, or about it. `by_kind`: visitor, agent, bot, trigger or system."""

    kind: Kind
    id: str
    at: str
    by_kind: str
    by_id: str | None
    by_name: str | None
    rating: int | None
    text: str | None


Pages: TypeAlias = Callable[[], AsyncIterator[Sequence[Entry]]]


@dataclass(frozen=True, slots=True)
class Chat:
    """One finished revision of a chat. `pages` reads its entries anew with each call."""

    head: Mapping[str, Any]
    language: Literal["ja", "en"]
    timezone: str
    pages: Pages

    @property
    def names(self) -> Mapping[str, str]:
        """The agents' names by their ids: messages often name their senders by the id alone."""
        return {agent["id"]: agent["name"] for agent in self.head["agents"]}


async def export(
    engine: AsyncEngine,
    *,
    workspace_id: str,
    chosen: ColumnElement[bool],
    form: Format,
    internal: bool = False,
    progress: Progress | None = None,
) -> AsyncGenerator[bytes, None]:
    """The finished chats of a workspace that fulfil a condition on `tables.chats`, oldest end first, in a format.

    `internal`: with whispers and notes, which no visitor may see. Raises SQLAlchemyError.
    """
    found = _chats(engine, workspace_id=workspace_id, chosen=chosen, internal=internal, progress=progress)
    async for piece in _WRITERS[form](found):
        yield piece


# ---------------------------------------------------------------- formats


async def _jsonl(found: AsyncIterator[Chat]) -> AsyncIterator[bytes]:
    """One chat a line."""
    async for chat in found:
        yield orjson.dumps(chat.head)[:-1] + b',"entries":['
        comma = b""
        async for page in chat.pages():
            yield comma + orjson.dumps(page)[1:-1]
            comma = b","
        yield b"]}\n"


async def _csv(found: AsyncIterator[Chat]) -> AsyncIterator[bytes]:
    """One entry a row, with its chat; a chat in which nothing was said has one row without an entry."""
    sheet = Sheet(Entry)
    yield sheet.head()
    async for chat in found:
        empty = True
        async for page in chat.pages():
            yield sheet.rows(chat.head, page)
            empty = False
        if empty:
            yield sheet.rows(chat.head, [None])


async def _html(found: AsyncIterator[Chat]) -> AsyncIterator[bytes]:
    """A page that stands by itself; the template asks for chats and entries as it goes."""
    template = page_templates(PACKAGE, is_async=True).get_template("export.html")
    gathered: list[str] = []
    size = 0
    async for piece in template.generate_async(chats=found, words=WORDS, moment=_moment, style=STYLE):
        gathered.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES_MIN:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    yield "".join(gathered).encode()


def _moment(chat: Chat, at: str) -> str:
    """A time as the chat's department writes it."""
    return Written(chat.language, ZoneInfo(chat.timezone)).moment(parse_ms(at))


_WRITERS: Mapping[Format, Callable[[AsyncIterator[Chat]], AsyncIterator[bytes]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "html": _html,
}


# ---------------------------------------------------------------- chats


async def _chats(
    engine: AsyncEngine,
    *,
    workspace_id: str,
    chosen: ColumnElement[bool],
    internal: bool,
    progress: Progress | None,
) -> AsyncIterator[Chat]:
    c, v, s, t = tables.chats.c, tables.conversations.c, tables.summaries.c, tables.transcripts.c
    meant = and_(c.workspace_id == workspace_id, c.ended_at_ms.is_not(None), chosen)
    total = 0
    if progress is not None:
        async with engine.connect() as connection:
            counted = await connection.execute(select(func.count()).select_from(tables.chats).where(meant))
            total = counted.scalar_one()
        progress(0, total)
    twin = tables.chats.alias()
    same_revision = [s.workspace_id == c.workspace_id, s.chat_id == c.chat_id, s.revision == c.revision]
    of_revision = [t.workspace_id == c.workspace_id, t.chat_id == c.chat_id, t.revision == c.revision]
    later = [
        twin.c.workspace_id == c.workspace_id,
        twin.c.chat_id == c.chat_id,
        twin.c.revision > c.revision,
        twin.c.ended_at_ms.is_not(None),
    ]
    arrived = select(func.count()).select_from(tables.transcripts).where(*of_revision).scalar_subquery()
    query = (
        select(
            *c,
            v.tags,
            s.text.label("summary"),
            (arrived == func.coalesce(c.parts, -1)).label("complete"),
            (~exists().where(*later)).label("latest"),
        )
        .select_from(
            tables.chats.outerjoin(
                tables.conversations, and_(v.workspace_id == c.workspace_id, v.chat_id == c.chat_id)
            ).outerjoin(tables.summaries, and_(*same_revision))
        )
        .where(meant)
    )
    done = 0
    sources = _sources(internal=internal)
    async for page in _paged(engine, query, (c.ended_at_ms, c.chat_id, c.revision), limit=CHATS_PER_PAGE):
        read = await _read(engine, page, sources)
        for row in page:
            yield _chat(row, partial(_entries, engine, row, sources, read))
            done += 1
            if progress is not None:
                progress(done, max(done, total))  # more chats may have ended since they were counted


def _chat(row: RowMapping, pages: Pages) -> Chat:
    head = {
        "workspace_id": row["workspace_id"],
        "chat_id": row["chat_id"],
        "revision": row["revision"],
        "outcome": row["outcome"],
        "started_at": _text(row["started_at_ms"]),
        "ended_at": _text(row["ended_at_ms"]),
        "end_reason": row["end_reason"],
        "ended_by": row["ended_by"],
        "missed_at": _text(row["missed_at_ms"]),
        "missed_reason": row["missed_reason"],
        "missed_detail": row["missed_detail"],
        "missed_tag": row["missed_tag"],
        "department_id": row["department_id"],
        "department_name": row["department_name"],
        "agents": row["agents"] or [],
        "tags": row["tags"] or [],
        "channel": row["channel"],
        "visitor": row["visitor"] or {},
        "question": row["question"],
        "summary": row["summary"],
        "complete": bool(row["complete"]),
    }
    return Chat(
        head=head,
        language="ja" if row["language"] == "ja" else "en",
        timezone=row["timezone"] or "UTC",
        pages=pages,
    )


def _text(at_ms: int | None) -> str | None:
    return None if at_ms is None else from_ms(at_ms)


# ---------------------------------------------------------------- what was said


@dataclass(frozen=True, slots=True)
class Source:
    """A table of entries. `key`: their order, unique within a chat."""

    table: Table
    key: tuple[Column[Any], ...]
    entry: Callable[[RowMapping], Entry]
    fits: tuple[ColumnElement[bool], ...] = ()

    @property
    def of_revisions(self) -> bool:
        """Whether entries belong to a revision of a chat; otherwise to the whole chat, and stand with its latest revision."""
        return "revision" in self.table.c

    def query(self, *chats: RowMapping) -> Select[Any]:
        """The entries of these chats; of several, those of all their revisions."""
        c = self.table.c
        wanted = [
            c.workspace_id == chats[0]["workspace_id"],
            c.chat_id.in_([row["chat_id"] for row in chats]),
        ]
        if self.of_revisions and len(chats) == 1:
            wanted.append(c.revision == chats[0]["revision"])
        return select(self.table).where(*wanted, *self.fits)


Read: TypeAlias = Mapping[Source, Mapping[tuple[Any, ...], Sequence[Entry]]]
"""Entries that were read for many chats at once, by chat."""


def _sources(*, internal: bool) -> list[Source]:
    m, n, r, f = tables.messages.c, tables.notes.c, tables.replies.c, tables.feedback.c
    notes = Source(tables.notes, (n.at_ms, n.source, n.event_id), _note, (~tables.refused(tables.notes),))
    return [
        Source(tables.messages, (m.part, m.position), _message, () if internal else (m.internal == false(),)),
        *([notes] if internal else []),
        Source(tables.replies, (r.at_ms, r.notice_id), _reply),
        Source(
            tables.feedback, (f.at_ms, f.source, f.event_id), _feedback, (~tables.refused(tables.feedback),)
        ),
    ]


async def _read(engine: AsyncEngine, chats: Sequence[RowMapping], sources: Sequence[Source]) -> Read:
    """The entries of some chats, a query for each source; none of a source that has more than a page of them."""
    read: dict[Source, dict[tuple[Any, ...], list[Entry]]] = {}
    async with engine.connect() as connection:
        for source in sources:
            query = source.query(*chats).order_by(*source.key).limit(ENTRIES_PER_PAGE + 1)
            rows = (await connection.execute(query)).mappings().all()
            if len(rows) <= ENTRIES_PER_PAGE:
                by_chat = read[source] = defaultdict(list)
                for row in rows:
                    by_chat[_place(source, row)].append(source.entry(row))
    return read


def _place(source: Source, row: RowMapping) -> tuple[Any, ...]:
    return (row["chat_id"], row["revision"]) if source.of_revisions else (row["chat_id"],)


async def _entries(
    engine: AsyncEngine, chat: RowMapping, sources: Sequence[Source], read: Read
) -> AsyncIterator[Sequence[Entry]]:
    """Messages in the order of the log; then what belongs to the whole chat, once."""
    for source in sources:
        if not source.of_revisions and not chat["latest"]:
            continue
        if source in read:
            found = read[source].get(_place(source, chat))
            if found:
                yield found
            continue
        async for page in _paged(engine, source.query(chat), source.key, limit=ENTRIES_PER_PAGE):
            yield [source.entry(row) for row in page]


def _message(row: RowMapping) -> Entry:
    kind: Kind = "whisper" if row["internal"] else "message"
    by = (row["sender_kind"], row["sender_id"], row["sender_name"])
    return Entry(kind, row["message_id"], from_ms(row["at_ms"]), *by, None, row["text"])


def _note(row: RowMapping) -> Entry:
    return Entry(
        "note", row["note_id"], from_ms(row["at_ms"]), "agent", row["by_agent_id"], None, None, row["text"]
    )


def _reply(row: RowMapping) -> Entry:
    by = ("agent", row["agent_id"], row["agent_name"])
    return Entry("reply", row["notice_id"], from_ms(row["at_ms"]), *by, None, row["text"])


def _feedback(row: RowMapping) -> Entry:
    at = from_ms(row["at_ms"])
    return Entry("feedback", row["event_id"], at, "visitor", None, None, row["rating"], row["comment"])


async def _paged(
    engine: AsyncEngine, query: Select[Any], key: Sequence[ColumnElement[Any]], *, limit: int
) -> AsyncIterator[Sequence[RowMapping]]:
    """The rows of a query by a key that is unique, page by page; between two pages no connection is held."""
    ordered = query.order_by(*key).limit(limit)
    names = [column.key for column in key]
    after: tuple[Any, ...] | None = None
    while True:
        page_query = ordered if after is None else ordered.where(tuple_(*key) > tuple_(*after))
        async with engine.connect() as connection:
            page = (await connection.execute(page_query)).mappings().all()
        if page:
            yield page
        if len(page) < limit:
            return
        after = tuple(page[-1][name] for name in names)
