"""Summaries of finished chats, made beside the projector: the archive says which are wanted, and keeps what comes out.

The one rule: whispers (internal messages) are left out in the database, before any method sees the text.

A method is anything that fits `Method`. The one that ships chooses sentences; a language model can be plugged in by a setting.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import RowMapping, and_, false, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.types import SenderKind
from services.runtime.logs import explain, log
from services.runtime.metrics import Metrics
from services.transcript.archive import tables
from services.transcript.archive.database import Archive
from services.transcript.extract import extract

CHATS_MAX = 20
"""Chats looked up at a time."""
MESSAGES_MAX = 200
"""Messages a summary is made of at either end of a long chat: what is wanted stands at its beginning, what came of it at its end."""
METHOD_LIMIT_S = 60
"""How long a method may take over one chat before it goes without a summary."""
IDLE_S = 1.0
"""How often the archive is asked when nothing was to be done."""
BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 60.0

_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """One message."""

    kind: SenderKind
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a method gets: one revision of a chat without its whispers. `language` is its department's."""

    workspace_id: str
    chat_id: str
    revision: int
    ended_at_ms: int
    language: str
    question: str
    messages: tuple[Said, ...]


class Unavailable(Exception):
    """The method can do nothing now, whatever the chat: it is asked again later. The message is safe to log."""


@runtime_checkable
class Method(Protocol):
    """How summaries are made."""

    name: str
    """Kept with each summary."""

    async def summarize(self, conversation: Conversation) -> str | None:
        """The summary in the conversation's language, or None where there is nothing to sum up.

        Must not hold up the event loop. Raises Unavailable; any other exception means that this chat gets none.
        """


class Extractive:
    """The method that ships: sentences of the conversation itself, chosen by how much of it they stand for."""

    name = "extractive"

    async def summarize(self, conversation: Conversation) -> str | None:
        """The sentences, one a line."""
        people = [said.text for said in conversation.messages if said.kind in ("visitor", "agent")]
        return await asyncio.to_thread(extract, conversation.question, people)


def method_named(name: str) -> Method | None:
    """The method of a setting: `extractive`, `off` (None), or `MODULE:FUNCTION`, called without arguments.

    Raises ValueError when there is no such thing.
    """
    if name == "off":
        return None
    if name == Extractive.name:
        return Extractive()
    if ":" not in name:
        raise ValueError("extractive, off or MODULE:FUNCTION was expected")
    try:
        made = resolve_name(name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{name} can't be called: {error}") from error
    if not isinstance(made, Method):
        raise ValueError(f"{name} returns no method of summaries: it needs `name` and `summarize`")  # noqa: TRY004 - of a setting
    return made


class Summarizer:
    """Makes the summaries that are wanted until it is told to stop. Several may run: the same one is written twice at worst."""

    def __init__(
        self, archive: Archive, method: Method, *, now_ms: Callable[[], int], metrics: Metrics
    ) -> None:
        self._archive = archive
        self._method = method
        self._now_ms = now_ms
        self._metrics = metrics

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. A database or method that fails is tried again, with growing waits."""
        backoff_s = BACKOFF_MIN_S
        while not stop.is_set():
            try:
                await self._archive.prepare()
                wait_s = 0.0 if await self.step() else IDLE_S
                backoff_s = BACKOFF_MIN_S
            except (SQLAlchemyError, OSError, Unavailable) as error:
                _log.warning("summaries_wait", error=explain(error), wait_s=backoff_s)
                wait_s, backoff_s = backoff_s, min(BACKOFF_MAX_S, backoff_s * 2)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stop.wait()

    async def step(self) -> int:
        """Makes some of the summaries that are wanted; returns how many. Raises Unavailable."""
        wanted = await _wanted(self._archive.engine)
        made: list[tuple[Conversation, str | None]] = []
        try:
            for conversation in wanted:
                made.append((conversation, await self._made(conversation)))  # noqa: PERF401 - kept if the next one raises
        finally:
            await self._keep(made)
        return len(wanted)

    async def _made(self, conversation: Conversation) -> str | None:
        try:
            async with asyncio.timeout(METHOD_LIMIT_S):
                text = await self._method.summarize(conversation)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a text a method can't take must not hold up the others
            self._metrics.add("summaries", result="failed")
            _log.warning("summary_failed", error=type(error).__name__)
            return None
        self._metrics.add("summaries", result="made")
        return text

    async def _keep(self, made: Sequence[tuple[Conversation, str | None]]) -> None:
        """Updates, never inserts: a chat that was erased meanwhile stays so, and one whose id was taken over gets no other's."""
        s = tables.summaries.c
        now_ms = self._now_ms()
        async with self._archive.engine.begin() as connection:
            for conversation, text in made:
                statement = update(tables.summaries).where(
                    s.workspace_id == conversation.workspace_id,
                    s.chat_id == conversation.chat_id,
                    s.revision == conversation.revision,
                    s.ended_at_ms == conversation.ended_at_ms,
                )
                await connection.execute(statement.values(text=text, method=self._method.name, at_ms=now_ms))


async def _wanted(engine: AsyncEngine) -> list[Conversation]:
    """Some of the conversations whose summary is still to be made."""
    s, c = tables.summaries.c, tables.chats.c
    same = and_(s.workspace_id == c.workspace_id, s.chat_id == c.chat_id, s.revision == c.revision)
    query = (
        select(s.workspace_id, s.chat_id, s.revision, s.ended_at_ms, c.language, c.question)
        .select_from(tables.summaries.join(tables.chats, same))
        .where(s.at_ms.is_(None))
        .limit(CHATS_MAX)
    )
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().all()
        return [
            Conversation(
                workspace_id=row["workspace_id"],
                chat_id=row["chat_id"],
                revision=row["revision"],
                ended_at_ms=row["ended_at_ms"],
                language=row["language"] or "en",
                question=row["question"] or "",
                messages=await _messages(connection, row),
            )
            for row in found
        ]


async def _messages(connection: AsyncConnection, chat: RowMapping) -> tuple[Said, ...]:
    """The beginning and the end of what was said, each message once."""
    m = tables.messages.c
    place = (m.part, m.position)
    of_chat = (
        select(*place, m.sender_kind, m.text)
        .filter_by(**{name: chat[name] for name in ("workspace_id", "chat_id", "revision")})
        .where(m.internal == false())
        .limit(MESSAGES_MAX)
    )
    found: dict[tuple[int, int], Said] = {}
    for order in (place, tuple(column.desc() for column in place)):
        rows: Any = await connection.execute(of_chat.order_by(*order))
        found |= {(row.part, row.position): Said(row.sender_kind, row.text) for row in rows}
        if len(found) < MESSAGES_MAX:
            break  # these were all
    return tuple(found[at] for at in sorted(found))
