"""`chat-routing up`: a whole installation on this machine, until it is stopped."""

import time
from contextlib import ExitStack
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
from services.transcript.api.openapi import DOCUMENT_PATH
from services.transcript.api.routes import PREFIX

_WATCH_INTERVAL_S = 0.5


def up(
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps everything; by default one of the user's own.")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of the embedded one.")
    ] = None,
) -> None:
    """Run Kafka, the topics, the four workers and a mail sink on this machine until Ctrl-C."""
    console = Console()
    settings = LocalSettings()
    try:
        with ExitStack() as parts:
            with Bars(console) as bars:
                installation = parts.enter_context(
                    Installation(
                        data or settings.data_folder, bootstrap=bootstrap, settings=settings, progress=bars
                    )
                )
            console.print(_addresses(installation))
            if installation.topics.differences:
                console.print(differences_table(installation.topics))
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
    table.add_row("mail sink (SMTP)", f"{LOOPBACK}:{installation.mailbox.port}")
    table.add_row("mails", str(installation.mailbox.folder))
    table.add_row("archive database", installation.archive_url)
    table.add_row("CRM database", installation.crm_url)
    table.add_row("logs", str(installation.data / "logs"))
    for worker in installation.http_ports:
        table.add_row(f"{worker} health", f"{installation.http_url(worker)}/readyz")
    return table
