"""`chat-routing link`: links to transcripts that open nothing any more, though they are genuine and in time."""

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.envelope import from_ms
from services.local.archives import ArchiveUrl, opened
from services.local.commands.replay import moment_ms
from services.local.display import visible
from services.runtime.wall_clock import now_ms
from services.transcript.pages import revocation
from services.transcript.pages.revocation import WHENEVER_MS, Revocation

_PIPE_COLUMNS = 160

app = typer.Typer(
    no_args_is_help=True,
    help="Links to transcripts: revoke them before they expire, list what is revoked, take it back.",
)

_Workspace = Annotated[str, typer.Option(metavar="ID", help="The workspace whose links are meant.")]
_Chat = Annotated[str | None, typer.Option(metavar="ID", help="Those of this chat.")]
_Revision = Annotated[
    int | None, typer.Option(min=1, help="Only this revision of the chat; by default all, later ones too.")
]


@app.command()
def revoke(
    workspace: _Workspace,
    chat: _Chat = None,
    revision: _Revision = None,
    made_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Those of chats that ended before then (RFC 3339, with its zone)."),
    ] = None,
    archive: ArchiveUrl = None,
) -> None:
    """Revoke links: whoever opens one is told so. Doing it again changes nothing."""
    if not chat and made_before is None:
        raise typer.BadParameter("say which links", param_hint="--chat, --made-before or both")
    before_ms = WHENEVER_MS if made_before is None else moment_ms(made_before, option="--made-before")
    links = _named(workspace, chat, revision, before_ms=before_ms)
    known, changed = asyncio.run(_revoke(links, archive))
    print("Revoked." if changed else "They were revoked before: nothing is done.")
    if not known:
        print("The archive knows no such chat, not yet at least: look at the ids again.")


@app.command()
def restore(
    workspace: _Workspace, chat: _Chat = None, revision: _Revision = None, archive: ArchiveUrl = None
) -> None:
    """Take a revocation back: of the workspace, a chat or a revision, as it was made."""
    if asyncio.run(_restore(_named(workspace, chat, revision), archive)):
        print("Taken back: the links open their pages again, unless a wider revocation stands.")
    else:
        print("No such revocation stands: `link list` shows those that do.")


@app.command("list")
def list_revocations(
    workspace: _Workspace,
    archive: ArchiveUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List what is revoked in a workspace, the latest first."""
    found = asyncio.run(_told(workspace, archive))
    if as_json:
        sys.stdout.buffer.writelines(orjson.dumps(each) + b"\n" for each in found)
    elif found:
        table = Table(*found[0], box=SIMPLE_HEAD)
        for each in found:
            table.add_row(*(Text(visible(str(cell or "all"))) for cell in each.values()))
        Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
    else:
        print("No links are revoked.")


def _named(
    workspace: str, chat: str | None, revision: int | None, *, before_ms: int = WHENEVER_MS
) -> Revocation:
    if revision is not None and not chat:
        raise typer.BadParameter("say of which chat (--chat)", param_hint="--revision")
    return Revocation(
        workspace_id=workspace, chat_id=chat or "", revision=revision or 0, made_before_ms=before_ms
    )


async def _revoke(links: Revocation, url: str | None) -> tuple[bool, bool]:
    async with opened(url) as archive:
        changed = await revocation.revoke(archive.engine, links, at_ms=now_ms())
        return await revocation.is_known(archive.engine, links), changed


async def _restore(links: Revocation, url: str | None) -> bool:
    async with opened(url) as archive:
        return await revocation.restore(archive.engine, links)


async def _told(workspace: str, url: str | None) -> list[dict[str, str | int | None]]:
    async with opened(url) as archive:
        found = await revocation.revocations(archive.engine, workspace)
    return [
        {
            "chat": links.chat_id or None,
            "revision": links.revision or None,
            "made_before": None if links.made_before_ms == WHENEVER_MS else from_ms(links.made_before_ms),
            "revoked_at": from_ms(at_ms),
        }
        for links, at_ms in found
    ]
