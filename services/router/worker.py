"""The router worker: the pure core on the exactly-once runner, with ticks.

The one rule: nothing is decided here; this file only puts the parts together.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from pydantic import Field

from schemas.topics import EVENTS, ROUTER_STATE
from services.router.core.figures import Figures
from services.router.core.names import Names
from services.router.observing import Observer
from services.router.processor import RouterProcessor
from services.router.records import SOURCE
from services.runtime.process import main_of
from services.runtime.runner import run_worker
from services.runtime.settings import RuntimeSettings
from services.runtime.ticks import TickSettings


class RouterSettings(RuntimeSettings):
    """What the router can be told besides what every worker can."""

    group: str = Field(
        default="chat-router", min_length=1, description="consumer group, and stem of the transactional ids"
    )
    http_port: int = Field(default=9101, ge=0, le=65_535, description="port of the pages (0: any free one)")
    tick_interval_ms: int = Field(
        default=1_000,
        ge=10,
        le=20_000,
        description="how often a partition's deadlines are looked at; a tick moves their clock by at most three intervals",
    )
    service_level_s: float = Field(
        default=30.0,
        gt=0,
        description="within how long a chat should be answered: what counts as within the service level in the metrics",
    )
    metrics_workspaces_max: int = Field(
        default=20, ge=0, description="workspaces that have a name in the metrics; all others are `other`"
    )
    metrics_departments_max: int = Field(
        default=10, ge=0, description="departments of a workspace that have a name there"
    )
    metrics_workspaces: str = Field(
        default="",
        description="workspaces that have a name there before all others, separated by commas; the rest as they come",
    )


async def run(
    settings: RouterSettings, stop: asyncio.Event, *, figures: Callable[..., Figures] = Figures
) -> None:
    """Runs the worker until `stop` is set; `figures` makes what counts for the metrics. Raises WorkerFailed."""
    names = Names(
        workspaces_max=settings.metrics_workspaces_max,
        departments_max=settings.metrics_departments_max,
        first=settings.metrics_workspaces.split(","),
    )
    counting = partial(figures, names=names, within_ms=round(settings.service_level_s * 1000))
    await run_worker(
        settings=settings,
        inputs=(EVENTS,),
        changelog=ROUTER_STATE,
        factory=partial(RouterProcessor, figures=counting),
        stop=stop,
        ticks=TickSettings(topic=EVENTS, interval_ms=settings.tick_interval_ms, source=SOURCE),
        observe=Observer(),
    )


def main() -> None:
    """Runs the worker as a process."""
    main_of(RouterSettings, run)


if __name__ == "__main__":
    main()
