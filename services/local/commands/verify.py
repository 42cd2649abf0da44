"""`chat-routing verify`: the invariant checker over the topics of a running service."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from services.local import verify as verifying

_SHOWN_MAX = 20


def verify(
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Kafka of the service.")
    ] = "127.0.0.1:9092",
    group: Annotated[str, typer.Option(help="The router's consumer group.")] = "chat-router",
) -> None:
    """Check the invariants over what was read and decided. Exits with 1 if one is broken."""
    console = Console()
    verified = asyncio.run(verifying.verify(bootstrap, group=group))
    for violation in verified.violations[:_SHOWN_MAX]:
        console.print(f"invariant {violation.invariant}: {violation.subject}: {violation.what}", markup=False)
    console.print(
        f"verify: records={verified.records} decisions={verified.decisions} violations={len(verified.violations)}"
    )
    if verified.violations:
        raise typer.Exit(1)
