"""The router worker: the pure core on the exactly-once runner, with ticks.

The one rule: nothing is decided here; this file only puts the parts together.
"""

import asyncio

from pydantic import Field

from schemas.topics import EVENTS, ROUTER_STATE
from services.router.processor import RouterProcessor
from services.router.records import SOURCE
from services.runtime.metrics import Metrics
from services.runtime.ports import Processor
from services.runtime.process import main_of
from services.runtime.runner import run_worker
from services.runtime.settings import RuntimeSettings
from services.runtime.ticks import TickSettings
from services.runtime.wall_clock import now_ms


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


def observe(partition: int, processor: Processor, metrics: Metrics) -> None:
    """After a batch: how long the oldest due deadline has waited to fire, and how far announced waiting times were off."""
    assert isinstance(processor, RouterProcessor), "the router's partitions run the router's processor"
    late_ms = processor.partition.deadline_lag_ms(now_ms())
    metrics.set("deadline_lag_seconds", late_ms / 1000, partition=str(partition))
    for error_s in processor.estimates.errors():
        metrics.observe("estimated_wait_error_seconds", error_s)


async def run(settings: RouterSettings, stop: asyncio.Event) -> None:
    """Runs the worker until `stop` is set. Raises WorkerFailed."""
    await run_worker(
        settings=settings,
        inputs=(EVENTS,),
        changelog=ROUTER_STATE,
        factory=RouterProcessor,
        stop=stop,
        ticks=TickSettings(topic=EVENTS, interval_ms=settings.tick_interval_ms, source=SOURCE),
        observe=observe,
    )


def main() -> None:
    """Runs the worker as a process."""
    main_of(RouterSettings, run)


if __name__ == "__main__":
    main()
