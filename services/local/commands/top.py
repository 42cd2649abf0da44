"""`chat-routing top` and `chat-routing status`: how the running service stands, live or once."""

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from services.local.addresses import addresses_of
from services.local.errors import LocalError
from services.local.settings import LocalSettings
from services.local.standing.answers import ask
from services.local.standing.lag import lags
from services.local.standing.look import Look, service_of
from services.local.standing.model import Lags, Standing, standing, unowned
from services.local.standing.view import WIDTH, lines, record
from services.runtime.wall_clock import now_ms

_Workers = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        metavar="NAME=URL",
        envvar="CHAT_TOP_WORKERS",
        help="A worker's pages, such as chat-router-0=http://10.0.0.7:9101; once for each. By default those of `up` on this machine.",
    ),
]
_Data = Annotated[
    Path | None, typer.Option(help="Folder of the installation on this machine; by default the user's own.")
]
_Bootstrap = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Kafka that says how far behind a silent worker is; by default that of `up`.",
    ),
]
_Interval = Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")]


def top(
    worker: _Workers = None, data: _Data = None, bootstrap: _Bootstrap = None, interval: _Interval = 2.0
) -> None:
    """Show how the running service stands, anew every two seconds, until Ctrl-C."""
    watched = _Watched.chosen(worker, data, bootstrap)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    look = asyncio.run(watched.look())
    try:
        with Live(console=console, screen=sys.stdout.isatty(), auto_refresh=False) as live:
            while True:
                found, look = asyncio.run(watched.next(look, interval_s=interval))
                live.update(Text("\n".join(lines(found, at_ms=now_ms()))), refresh=True)
    except KeyboardInterrupt:
        console.print("Stopped looking; the service runs on.")


def status(
    worker: _Workers = None,
    data: _Data = None,
    bootstrap: _Bootstrap = None,
    interval: _Interval = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show once how the running service stands. Exits with 0 when all is well, with 1 when something needs attention."""
    watched = _Watched.chosen(worker, data, bootstrap)

    async def looked() -> Standing:
        found, _ = await watched.next(await watched.look(), interval_s=interval)
        return found

    found = asyncio.run(looked())
    if as_json:
        sys.stdout.buffer.write(
            orjson.dumps(record(found, at_ms=now_ms()), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
            + b"\n"
        )
    else:
        print("\n".join(lines(found, at_ms=now_ms())))
    if not found.well:
        raise typer.Exit(1)


class _Watched:
    """Whom to ask."""

    def __init__(self, workers: Mapping[str, str], bootstrap: str | None) -> None:
        self._workers = workers
        self._bootstrap = bootstrap

    @classmethod
    def chosen(cls, workers: list[str] | None, data: Path | None, bootstrap: str | None) -> "_Watched":
        """Return those that were named, or those of the installation on this machine. Raises LocalError."""
        if workers:
            return cls(_named(workers), bootstrap)
        found = addresses_of(data or LocalSettings().data_folder)
        return cls(found.workers, bootstrap or found.bootstrap)

    async def look(self) -> Look:
        """Ask all workers."""
        return Look.at(await ask(self._workers))

    async def next(self, before: Look, *, interval_s: float) -> tuple[Standing, Look]:
        """Ask again after the interval, and return how things stand."""
        due_s = max((answer.at_s for answer in before.answers.values()), default=0.0) + interval_s
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        now = await self.look()
        return standing(now, before, await self._lags(now)), now

    async def _lags(self, now: Look) -> Lags | None:
        """Ask Kafka where the workers can't tell."""
        if self._bootstrap is None or not unowned(now):
            return {}
        services = {service for name in self._workers if (service := service_of(name)) is not None}
        return await lags(self._bootstrap, services)


def _named(workers: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in workers:
        name, separator, url = each.partition("=")
        if not separator or service_of(name) is None or not url.startswith(("http://", "https://")):
            raise LocalError(
                "--worker: NAME=URL was expected, where NAME begins with chat-router, chat-transcript, chat-notifier or "
                "chat-crm-sync, such as chat-router-0=http://10.0.0.7:9101."
            )
        found[name] = url
    return found
