"""`chat-routing play` and `chat-routing publish`: put records into a running service."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.local import scenario
from services.local.display import Bars
from services.local.errors import LocalError
from services.local.play import play as act_out
from services.local.publishing import publish_file

_BOOTSTRAP = Annotated[str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")]


def play(
    path: Annotated[Path, typer.Argument(metavar="SCENARIO", exists=True, dir_okay=False)],
    bootstrap: _BOOTSTRAP = "127.0.0.1:9092",
    speed: Annotated[
        float, typer.Option(min=0.01, help="So many times faster: people, time-outs and the day alike.")
    ] = 1.0,
) -> None:
    """Act a scenario out against the running service: publish, read offers, answer them. Exits with 1 if chats stay open."""
    console = Console()
    day = scenario.faster(scenario.read(path), speed)
    with Bars(console) as bars:
        played = asyncio.run(act_out(day, bootstrap=bootstrap, progress=bars))
    console.print(
        f"{played.published} records published, {day.head.chats - played.open_chats} chats have an outcome."
    )
    if played.open_chats:
        raise LocalError(f"{played.open_chats} chats have no outcome: is the router running?")


def publish(
    path: Annotated[Path, typer.Argument(metavar="FILE.jsonl", exists=True, dir_okay=False)],
    bootstrap: _BOOTSTRAP = "127.0.0.1:9092",
) -> None:
    """Publish ready envelopes, one a line, as they stand; an export's snapshot and ticks are left out."""
    count = asyncio.run(publish_file(path, bootstrap=bootstrap))
    Console().print(f"{count} records published.")
