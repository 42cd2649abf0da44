"""`chat-routing crm feed`: what stands in the feed of the Tryton that `up --crm tryton` runs, as its sales people see it.

And `crm rehearse`, which records what an account at a CRM answers.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.tryton.connector import NAME as TRYTON
from services.crm_sync.connectors.vendor import rehearsal
from services.crm_sync.connectors.vendor.tape import recording
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.worker import opened_connectors
from services.local.errors import LocalError
from services.local.settings import LocalSettings
from services.local.tryton.feed import Entry, read_feed
from services.runtime.effects import EffectFailure
from services.runtime.failures import WorkerFailed

app = typer.Typer(help="Look into the CRM.", no_args_is_help=True)


@app.callback()
def crm() -> None:
    """Look into the CRM."""


@app.command()
def feed(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the installation; by default the user's own.")
    ] = None,
    latest: Annotated[
        int, typer.Option(min=1, max=100, help="How many entries of each lead and party.")
    ] = 10,
) -> None:
    """Show what was filed in Tryton, the newest last, asked from Tryton as one of its sales people."""
    console = Console()
    entries = asyncio.run(read_feed((data or LocalSettings().data_folder) / "tryton", latest=latest))
    if not entries:
        console.print("Nothing has been filed yet.")
    for entry in entries:
        console.print(_panel(entry))


@app.command()
def rehearse(
    workspace: Annotated[str, typer.Argument(help="A workspace of the accounts file.")],
    connector: Annotated[str, typer.Option(help="Such as zendesk_sell, or zendesk_sell+zoho_desk.")],
    record: Annotated[Path, typer.Option(help="An empty folder for the exchanges, masked.")],
    word: Annotated[
        str, typer.Option(help="Letters and digits, another one each time: whom it makes up is called so.")
    ] = "w1",
) -> None:
    """Go once through all that a CRM's connector does, and record it: a lead, a note, an entry and a ticket stay in the account."""
    made = asyncio.run(rehearsed(workspace, connector, folder=record, word=word))
    for one in made:
        Console().print(f"{one.type} {one.id} {one.url or ''}".strip(), markup=False)


async def rehearsed(workspace_id: str, name: str, *, folder: Path, word: str) -> list[CrmRecord]:
    """Return what was made, recorded into `folder`. Raises LocalError."""
    settings = CrmSyncSettings()
    async with AsyncExitStack() as stack:
        try:
            opened = await opened_connectors(settings, stack)
        except WorkerFailed as failure:
            raise LocalError(str(failure)) from failure
        # A Tryton can be had by everybody, and is tested live.
        connectors = {each: one for each, one in opened.items() if not each.startswith(TRYTON)}
        if name not in connectors or settings.crm_accounts_file is None:
            raise LocalError(
                f"--connector: one of {', '.join(sorted(connectors))} was expected, and CHAT_CRM_ACCOUNTS_FILE."
            )
        try:
            with recording(folder):
                made = await rehearsal.rehearse(connectors[name], word=word, workspace_id=workspace_id)
            entries = settings.crm_accounts_file.read_bytes()
            told = rehearsal.plan(entries, workspace_id=workspace_id, connector=name, word=word)
            (folder / rehearsal.PLAN).write_bytes(told)
        except OSError as error:
            raise LocalError(f"--record: {folder} can't be used ({type(error).__name__}).") from error
        except EffectFailure as failure:
            raise LocalError(f"The CRM did not go through with it: {failure.code}.") from failure
        return made


def _panel(entry: Entry) -> Panel:
    # Text, not markup: it was written by strangers.
    return Panel(Text(entry.text), title=Text(f"{entry.what} {entry.name}"), title_align="left")
