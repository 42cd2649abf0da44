"""`chat-routing grow`: more partitions, with every workspace's order and state kept."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from services.local.display import Bars
from services.local.growing.way import grow as go
from services.local.growing.way import planned


def grow(
    bootstrap: Annotated[str, typer.Option(metavar="HOST:PORT", help="The Kafka of the stopped service.")],
    partitions: Annotated[
        int, typer.Option(min=2, help="How many each topic shall have: a multiple of what it has.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look, and say what would be done.")
    ] = False,
) -> None:
    """Add partitions to all topics and move the state of the workspaces whose records lie elsewhere from then on.

    Stop whoever publishes, let the workers process what there is, stop them, run this, start them, then those who publish. Broken off
    anywhere, run it again: until it is done, no worker starts.
    """
    if dry_run:
        plan = asyncio.run(planned(bootstrap, wanted=partitions))
        if plan.before == plan.wanted:
            print(f"There is nothing to do: there are {plan.wanted} partitions.")
        else:
            print(
                f"From {plan.before} to {plan.wanted} partitions: {plan.records:,} records of state would move, and the new partitions' "
                f"offsets pass {plan.offsets:,}. Nothing was changed."
            )
        return
    with Bars(Console(stderr=True)) as bars:
        plan = asyncio.run(
            go(bootstrap, wanted=partitions, told=lambda sentence: print(sentence, flush=True), progress=bars)
        )
    if plan.before == plan.wanted:
        print(f"There is nothing to do: there are {plan.wanted} partitions.")
    else:
        print(f"Done: {plan.records:,} records of state moved. Start the workers, then whoever publishes.")
