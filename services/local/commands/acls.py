"""`chat-routing acls`: who may do what on Kafka, as lines for its own tool, or put onto a broker at once."""

import asyncio
from typing import Annotated

import typer

from services.local.acls import allow, commands
from services.local.principals import PRINCIPALS


def acls(
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Put them onto this Kafka; without it they are printed."),
    ] = None,
) -> None:
    """Say, or set, the least that each service and a frontend must be allowed on Kafka. What is allowed otherwise stays so."""
    if bootstrap is None:
        for line in commands():
            typer.echo(f"kafka-acls {line}")
        return
    wanted = [(principal.name, line) for principal in PRINCIPALS for line in principal.permissions()]
    asyncio.run(allow(bootstrap, wanted))
    typer.echo(f"{len(wanted)} permissions of {len(PRINCIPALS)} users stand.")
