"""A router that keeps its books badly, as no router should: `python -m tests.ops.wrong_router`.

The one rule: what is wrong is what its figures are told; its decisions are right.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from schemas.decisions import ChatOffered, ChatQueued
from schemas.topics import EVENTS, ROUTER_STATE
from services.router.core.figures import Figures
from services.router.core.names import Names
from services.router.core.partition import Emitted, Entry, Partition
from services.router.observing import Observer
from services.router.processor import RouterProcessor
from services.router.records import SOURCE
from services.router.worker import RouterSettings
from services.runtime.process import main_of
from services.runtime.runner import run_worker
from services.runtime.ticks import TickSettings

EARLY_MS = 5_000


class Forgetful:
    """Takes no arrival into its books, and believes that whoever enters a queue has been there for a while."""

    def __init__(self, partition: Partition, **settings: Any) -> None:
        self._figures = Figures(partition, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._figures, name)

    def hear(self, entry: Entry, emitted: Sequence[Emitted]) -> None:
        early = [
            Emitted(item.data, item.id, item.at_ms - EARLY_MS, item.workspace_id, item.cause)
            if isinstance(item.data, ChatOffered | ChatQueued)
            else item
            for item in emitted
        ]
        self._figures.hear(Entry(entry.envelope, entry.partition, -1, entry.at_ms), early)


async def run(settings: RouterSettings, stop: asyncio.Event) -> None:
    names = Names(
        workspaces_max=settings.metrics_workspaces_max,
        departments_max=settings.metrics_departments_max,
        first=(),
    )
    figures: Any = partial(Forgetful, names=names, within_ms=round(settings.service_level_s * 1000))
    await run_worker(
        settings=settings,
        inputs=(EVENTS,),
        changelog=ROUTER_STATE,
        factory=partial(RouterProcessor, figures=figures),
        stop=stop,
        ticks=TickSettings(topic=EVENTS, interval_ms=settings.tick_interval_ms, source=SOURCE),
        observe=Observer(),
    )


if __name__ == "__main__":
    main_of(RouterSettings, run)
