"""Exports: finished chats as a file, for whoever sees them in the list.

The one rule: an export holds the chats the list shows, by the same conditions; whispers and notes are in it only if they are asked for,
since such a file is given on more easily than a page of the console.
"""

from pydantic import Field
from sqlalchemy import ColumnElement, and_, select, true

from services.runtime.openapi import Asked
from services.runtime.problems import NotFound
from services.transcript.api import visibility
from services.transcript.api.chat import ChatAsked
from services.transcript.api.chats import Filters, fitting
from services.transcript.api.downloads import Download
from services.transcript.api.reader import Reader, YesNo
from services.transcript.archive import tables
from services.transcript.pages.export import MEDIA_TYPES, Format, export

FILES = tuple(media_type.partition(";")[0] for media_type in MEDIA_TYPES.values())
"""What an export may be, without the particulars."""


class FileAsked(Asked):
    """How a file is wanted."""

    format: Format = Field(
        default="jsonl",
        description="jsonl: a chat a line; csv: an entry a row, safe in spreadsheets; html: a page to read or print",
    )
    internal: YesNo = Field(
        default=False,
        description="with whispers and notes, which no visitor may see; `text` looks in whispers then",
    )


class ExportAsked(FileAsked, Filters):
    """Which chats, as of the list."""


class ChatExportAsked(FileAsked, ChatAsked):
    """Which chat."""


async def export_chats(reader: Reader, asked: ExportAsked) -> Download:
    """All chats of the list that fit the filters as a file, oldest end first, however many."""
    chosen = await fitting(reader, asked, whispers=asked.internal)
    return _download(reader, asked, and_(*chosen), name="chats")


async def export_chat(reader: Reader, asked: ChatExportAsked) -> Download:
    """A chat that has ended as a file, each of its revisions."""
    c = tables.chats.c
    mine = and_(c.chat_id == asked.chat_id, visibility.ended_chats(reader.caller))
    ended = select(c.chat_id).where(c.workspace_id == reader.workspace_id, c.ended_at_ms.is_not(None), mine)
    if await reader.connection.scalar(ended.limit(1)) is None:
        raise NotFound
    return _download(reader, asked, mine, name=asked.chat_id)


def _download(reader: Reader, asked: FileAsked, chosen: ColumnElement[bool], *, name: str) -> Download:
    """`internal` shows notes as well, so the chats are those whose notes the reader sees, too."""
    seen = visibility.ended_chats(reader.caller, "notes") if asked.internal else true()
    pieces = export(
        reader.connection.engine,
        workspace_id=reader.workspace_id,
        chosen=and_(chosen, seen),
        form=asked.format,
        internal=asked.internal,
    )
    return Download(f"{reader.workspace_id}-{name}.{asked.format}", MEDIA_TYPES[asked.format], pieces)
