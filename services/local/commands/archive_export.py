"""`chat-routing archive export`: finished chats as JSON lines, CSV or HTML."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from sqlalchemy import ColumnElement, and_, exists, true

from schemas.types import MissedTag, Outcome
from services.local.archives import ArchiveUrl, opened
from services.local.commands.replay import moment_ms
from services.local.display import Bars
from services.local.errors import LocalError
from services.local.progress import Progress
from services.transcript.api import visibility
from services.transcript.archive import search, standing, tables
from services.transcript.pages.export import Format, export

FILE_MODE = 0o600
"""A file of conversations is its owner's alone."""


def export_chats(
    workspace: Annotated[str, typer.Option(metavar="ID", help="The workspace whose chats are meant.")],
    form: Annotated[
        Format, typer.Option("--format", help="JSON lines, CSV for spreadsheets, or a page of HTML.")
    ] = "jsonl",
    chat: Annotated[str | None, typer.Option(metavar="ID", help="This chat, all its revisions.")] = None,
    visitor: Annotated[str | None, typer.Option(metavar="ID", help="Of this visitor.")] = None,
    department: Annotated[str | None, typer.Option(metavar="ID", help="Of this department.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="With this outcome.")] = None,
    missed: Annotated[MissedTag | None, typer.Option(help="Missed ones with this tag.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="In which this agent took part.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag, as of now.")] = None,
    text: Annotated[
        str | None, typer.Option(help="In whose question or messages all these words stand.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Ended then or later (RFC 3339, with its zone).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Ended before then.")] = None,
    internal: Annotated[
        bool,
        typer.Option(
            "--internal",
            help="With whispers and notes, which are for colleagues: no visitor may see this file.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write here instead of to standard output."),
    ] = None,
    archive: ArchiveUrl = None,
) -> None:
    """Export finished chats, oldest first, however many there are. A file appears when it is complete, and not before."""
    c, t = tables.chats.c, standing.tags.c
    asked: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (c.chat_id, chat),
            (c.visitor_id, visitor),
            (c.department_id, department),
            (c.outcome, outcome),
            (c.missed_tag, missed),
        )
        if value is not None
    ]
    if since is not None:
        asked.append(c.ended_at_ms >= moment_ms(since, option="--since"))
    if until is not None:
        asked.append(c.ended_at_ms < moment_ms(until, option="--until"))
    if agent is not None:
        asked.append(visibility.had_by(agent))
    if tag is not None:
        asked.append(exists().where(t.workspace_id == c.workspace_id, t.chat_id == c.chat_id, t.tag == tag))
    if text is not None:
        asked += [search.held_by_chat(term, whispers=internal) for term in _terms(text)]
    chosen = and_(true(), *asked)
    with Bars(Console(stderr=True)) as progress:
        asyncio.run(
            _export(archive, workspace, chosen, form=form, internal=internal, out=out, progress=progress)
        )


def _terms(text: str) -> list[str]:
    try:
        return search.terms(text)
    except search.Unsearchable as error:
        raise typer.BadParameter(str(error), param_hint="--text") from None


async def _export(
    url: str | None,
    workspace_id: str,
    chosen: ColumnElement[bool],
    *,
    form: Format,
    internal: bool,
    out: Path | None,
    progress: Progress,
) -> None:
    async with opened(url) as archive:
        pieces = export(
            archive.engine,
            workspace_id=workspace_id,
            chosen=chosen,
            form=form,
            internal=internal,
            progress=lambda done, total: progress("chats", done=done, total=total),
        )
        async with aclosing(pieces):
            if out is None:
                await _write(pieces, sys.stdout.buffer)
            else:
                await _write_whole(pieces, out)


async def _write(pieces: AsyncIterator[bytes], to: BinaryIO) -> None:
    async for piece in pieces:
        to.write(piece)
    to.flush()


async def _write_whole(pieces: AsyncIterator[bytes], out: Path) -> None:
    """Write beside the file, and give it its name when it is complete. What stood there before stands until then."""
    draft = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            await _write(pieces, file)
            os.fsync(file.fileno())
        draft.replace(out)
    except OSError as error:
        raise LocalError(f"{out} cannot be written ({error.strerror}): choose another file.") from error
    finally:
        draft.unlink(missing_ok=True)
