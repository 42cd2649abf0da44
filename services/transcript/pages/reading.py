"""What the pages read from the archive.

The one rule: every query names one workspace, and whispers (internal messages) are left out in the database, not in a template.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, exists, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.transcript.archive import tables
from services.transcript.archive.erasure import hash_of

MESSAGES_SHOWN_MAX = 5_000
"""Messages on one page; the topic holds all of them."""
CHARS_SHOWN_MAX = 2_000_000
"""Characters of messages on one page: some 5 MB of HTML, which a phone still opens."""
REPLIES_SHOWN_MAX = 100
"""Answers by e-mail on one page, the latest ones."""


@dataclass(frozen=True, slots=True)
class ArchivedChat:
    """One revision of a chat. `complete`: all parts of its transcript have arrived; `cut`: it has more messages than shown.

    `replies` are the answers by e-mail, whatever the revision, each with the result of its mail: sent, failed (to anybody), or None.
    """

    chat: Mapping[str, Any]
    tags: tuple[str, ...]
    messages: tuple[RowMapping, ...]
    replies: tuple[RowMapping, ...]
    summary: str | None
    complete: bool
    cut: bool


async def read_chat(
    engine: AsyncEngine, *, workspace_id: str, chat_id: str, revision: int
) -> ArchivedChat | None:
    """One revision of a chat, or None while nothing of it is in the archive, or only some parts of its transcript."""
    of_chat = {"workspace_id": workspace_id, "chat_id": chat_id}
    c, t = tables.chats.c, tables.transcripts.c
    async with engine.connect() as connection:
        found = await connection.execute(select(tables.chats).filter_by(**of_chat, revision=revision))
        chat = found.mappings().one_or_none()
        if chat is None:
            return None
        parts = await connection.execute(select(t.part).filter_by(**of_chat, revision=revision))
        arrived = len(parts.all())
        complete = chat[c.parts.name] is not None and arrived == chat[c.parts.name]
        if not complete and chat[c.missed_reason.name] is None:
            return None
        messages, cut = await _messages(connection, of_chat, revision) if complete else ((), False)
        summary = await connection.scalar(
            select(tables.summaries.c.text).filter_by(**of_chat, revision=revision)
        )
        tags = await connection.scalar(select(tables.conversations.c.tags).filter_by(**of_chat))
        replies = await replies_to(connection, of_chat)
        known = await _with_request(connection, chat)
    return ArchivedChat(
        chat=known,
        tags=tuple(tags or ()),
        messages=messages,
        replies=replies,
        summary=summary,
        complete=complete,
        cut=cut,
    )


async def is_erased(engine: AsyncEngine, *, workspace_id: str, chat_id: str) -> bool:
    """Whether a chat went with its visitor, and will not be archived again."""
    standing = exists().where(tables.erased_chats.c.chat_hash == hash_of(workspace_id, chat_id))
    async with engine.connect() as connection:
        return bool(await connection.scalar(select(standing)))


async def _messages(
    connection: AsyncConnection, of_chat: dict[str, str], revision: int
) -> tuple[tuple[RowMapping, ...], bool]:
    """What was said for everybody to read, as far as a page holds it, and whether there is more."""
    m = tables.messages.c
    said = (
        select(tables.messages)
        .filter_by(**of_chat, revision=revision)
        .where(m.internal == false())
        .order_by(m.part, m.position)
        .limit(MESSAGES_SHOWN_MAX + 1)
    )
    shown: list[RowMapping] = []
    chars = 0
    async with connection.stream(said) as found:
        async for message in found.mappings():
            chars += len(message["text"])
            if len(shown) == MESSAGES_SHOWN_MAX or chars > CHARS_SHOWN_MAX:
                return tuple(shown), True
            shown.append(message)
    return tuple(shown), False


async def replies_to(connection: AsyncConnection, of_chat: dict[str, str]) -> tuple[RowMapping, ...]:
    """The latest answers to a chat by e-mail, oldest first, with what became of each."""
    r, x = tables.replies.c, tables.deliveries.c
    result = (
        select(func.min(x.result))  # of "failed" and "sent" the first in the alphabet
        .where(x.workspace_id == r.workspace_id, x.notice_id == r.notice_id)
        .scalar_subquery()
    )
    found = await connection.execute(
        select(r.agent_name, r.at_ms, r.text, result.label("result"))
        .filter_by(**of_chat)
        .order_by(r.at_ms.desc(), r.notice_id.desc())
        .limit(REPLIES_SHOWN_MAX)
    )
    return tuple(reversed(found.mappings().all()))


async def _with_request(connection: AsyncConnection, chat: RowMapping) -> dict[str, Any]:
    """The chat; what only its end tells is filled from the latest request that was not refused while it is still open."""
    known = dict(chat)
    if known["question"] is not None and known["visitor"] is not None:
        return known
    found = await connection.execute(
        select(tables.requests)
        .filter_by(workspace_id=chat["workspace_id"], chat_id=chat["chat_id"])
        .where(~tables.refused(tables.requests))
        .order_by(tables.requests.c.at_ms.desc())
        .limit(1)
    )
    request = found.mappings().one_or_none()
    if request is None:
        return known
    asked = {
        "question": request["question"],
        "channel": request["channel"],
        "visitor": request["visitor"],
        "started_at_ms": request["at_ms"],
    }
    return known | {name: value for name, value in asked.items() if known[name] is None}
