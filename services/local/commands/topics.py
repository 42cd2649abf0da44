"""`chat-routing topics`: creates the topics of the contract, or says how existing ones differ from it."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.topics import PARTITIONS_DEFAULT
from services.local.topics import Report, ensure_topics


def topics(
    bootstrap: Annotated[str, typer.Option(metavar="HOST:PORT", help="The Kafka to look at.")],
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of every topic.")] = PARTITIONS_DEFAULT,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of every partition; by default 3, or the number of brokers."),
    ] = None,
) -> None:
    """Create the topics that are missing; existing ones are compared, never changed. Exits with 1 on a difference."""
    console = Console()
    report = asyncio.run(ensure_topics(bootstrap, partitions=partitions, replicas=replicas))
    for name in report.created:
        console.print(f"created {name}")
    if report.differences:
        console.print(differences_table(report))
        raise typer.Exit(1)
    console.print("All topics are as they should be.")


def differences_table(report: Report) -> Table:
    """Return how existing topics differ from the contract, ready to print."""
    table = Table(
        "topic",
        "setting",
        "wanted",
        "found",
        title="Topics that differ (left as they are)",
        title_justify="left",
    )
    for difference in report.differences:
        table.add_row(difference.topic, difference.setting, difference.wanted, difference.found)
    return table
