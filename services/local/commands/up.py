"""`chat-routing up`: a whole installation on this machine, until it is stopped."""

import asyncio
import time
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.local.commands.topics import differences_table
from services.local.display import Bars
from services.local.installation import CRM_SYNC, TRANSCRIPT, Installation
from services.local.ports import LOOPBACK
from services.local.settings import LocalSettings
from services.local.tryton import trial
from services.runtime.openapi import DOCUMENT_PATH, PREFIX

_WATCH_INTERVAL_S = 0.5


class Crm(StrEnum):
    """A CRM that runs on this machine."""

    EMBEDDED = "embedded"
    TRYTON = "tryton"


def up(
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps everything; by default one of the user's own.")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of the embedded one.")
    ] = None,
    crm: Annotated[
        Crm,
        typer.Option(
            help="With tryton, a Tryton runs too, with some customers and a chat with three of them."
        ),
    ] = Crm.EMBEDDED,
) -> None:
    """Run Kafka, the topics, the four workers and a mail sink on this machine until Ctrl-C."""
    console = Console()
    settings = LocalSettings()
    try:
        with ExitStack() as parts:
            with Bars(console) as bars:
                installation = parts.enter_context(
                    Installation(
                        data or settings.data_folder,
                        bootstrap=bootstrap,
                        with_tryton=crm is Crm.TRYTON,
                        settings=settings,
                        progress=bars,
                    )
                )
            console.print(_addresses(installation))
            if installation.topics.differences:
                console.print(differences_table(installation.topics))
            if installation.tryton is not None:
                asyncio.run(trial.act(installation.bootstrap))
                console.print(_look_into(installation.tryton, data), soft_wrap=True, highlight=False)
            console.print("Ctrl-C stops everything; the data stays.")
            while True:
                installation.check()
                time.sleep(_WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        console.print("Stopped.")


def _addresses(installation: Installation) -> Table:
    table = Table("what", "where", title="chat-routing is up", title_justify="left")
    table.add_row("Kafka", installation.bootstrap)
    table.add_row("archive pages", installation.http_url(TRANSCRIPT))
    table.add_row("archive API", f"{installation.http_url(TRANSCRIPT)}{PREFIX}{DOCUMENT_PATH}")
    table.add_row("CRM feed", installation.http_url(CRM_SYNC))
    table.add_row("CRM cards API", f"{installation.http_url(CRM_SYNC)}{PREFIX}{DOCUMENT_PATH}")
    table.add_row("mail sink (SMTP)", f"{LOOPBACK}:{installation.mailbox.port}")
    table.add_row("mails", str(installation.mailbox.folder))
    table.add_row("archive database", installation.archive_url)
    table.add_row("CRM database", installation.crm_url)
    table.add_row("logs", str(installation.data / "logs"))
    for worker in installation.http_ports:
        table.add_row(f"{worker} health", f"{installation.http_url(worker)}/readyz")
    return table


def _look_into(tryton: trial.Trial, data: Path | None) -> str:
    """Say how to see what the workers have put there: Tryton itself serves no pages."""
    where = "" if data is None else f" --data {data}"
    return (
        f"Tryton answers at {tryton.served.url}, database {trial.DATABASE}, user {tryton.user}, password {tryton.password}.\n"
        f"`chat-routing crm feed{where}` shows its feed here. Tryton's own desktop client (tryton.org, version 8.2) shows the same:\n"
        "log in there, open Sales, Opportunities or Party, Parties, choose somebody, and press Notes."
    )
