"""Puts the exactly-once runner together: group, partitions' tasks, ticks, watchdog, pages.

The one rule: the first part that fails ends the worker; nothing is restarted here, the partition's task does that itself.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

from starlette.routing import BaseRoute

from services.runtime.assignment import Assignment
from services.runtime.deadletter import DeadLetterLimit
from services.runtime.health import Health, Pages
from services.runtime.kafka import KafkaAppender, KafkaChangelog, KafkaWriter, SystemClock
from services.runtime.kafka_group import KafkaGroup
from services.runtime.logs import log
from services.runtime.metrics import Metrics
from services.runtime.partition_task import Limits, Observe, PartitionTask, Ports
from services.runtime.ports import ProcessorFactory
from services.runtime.reloading import Reloads
from services.runtime.settings import RuntimeSettings
from services.runtime.throughput import Throughput
from services.runtime.ticks import Ticker, TickSettings
from services.runtime.tracing import exporting
from services.runtime.watchdog import Watchdog

_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """What the parts of one process share: the wish to stop, what /readyz answers, and the metrics."""

    stop: asyncio.Event
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "health", Health(self.metrics))


Part: TypeAlias = Callable[[Context], Coroutine[Any, Any, None]]
"""Something that runs beside the runner, such as a projector: it returns after `stop` is set; its failure ends the worker."""


class Runner:
    """The exactly-once loop over all partitions this process is assigned."""

    def __init__(
        self,
        context: Context,
        *,
        settings: RuntimeSettings,
        inputs: tuple[str, ...],
        changelog: str,
        factory: ProcessorFactory,
        ticks: TickSettings | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._context = context
        self._settings = settings
        self._inputs = inputs
        self._changelog = changelog
        self._factory = factory
        # Time stands still while what lies in other partitions can't be read.
        self._ticks = None if settings.drain_partitions else ticks
        self._observe = observe
        self._clock = SystemClock()
        self._appender = KafkaAppender(settings)
        self._dead_letters = DeadLetterLimit(settings.dead_letters_per_minute_max)
        self._assignment = Assignment(self._make_task, None if self._ticks is None else self._make_ticker)
        self._group = KafkaGroup(
            settings,
            topics=inputs,
            changelog=changelog,
            metrics=context.metrics,
            assigned=self._assignment.assigned,
        )
        context.health.ready_when(lambda: self._assignment.unready)

    async def run(self) -> None:
        """Runs until `stop` is set, then finishes and commits what is in flight. Raises WorkerFailed."""
        group, assignment = self._group, self._assignment
        try:
            watchdog = Watchdog(
                ends=group.ends,
                tasks=assignment.tasks,
                limit_s=self._settings.stall_limit_s,
                clock=self._clock,
            )
            fetching = asyncio.create_task(group.run(), name="fetch")
            watching = asyncio.create_task(watchdog.run(), name="watchdog")
            stopping = asyncio.create_task(self._context.stop.wait(), name="stop")
            parts: set[asyncio.Future[Any]] = {fetching, watching, stopping, assignment.failed}
            try:
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    _log.info("stopping")
                    group.stop()
                    await assignment.stop()
                else:
                    self._context.stop.set()  # a part has failed: from here on the grace time runs
            finally:
                for each in (watching, stopping, fetching):
                    each.cancel()
                await asyncio.wait({watching, stopping, fetching})
            for part in (assignment.failed, fetching, watching):
                if part.done() and not part.cancelled():
                    part.result()  # raises what has failed
        finally:
            await assignment.abandon()
            await self._appender.close()
            await group.close()

    def follow(self, reloads: Reloads) -> None:
        """Takes new limits while it runs."""
        name = "dead_letters_per_minute_max"
        reloads.on(name, read=attrgetter(name), apply=self._dead_letters.limit)

    def _ports(self, partition: int) -> Ports:
        settings, inputs = self._settings, self._group.inputs(partition)
        return Ports(
            inputs=inputs,
            writer=lambda: KafkaWriter(settings, partition, partitions=lambda: inputs.partitions),
            changelog=lambda: KafkaChangelog(settings, self._changelog, partition),
            clock=self._clock,
        )

    def _make_task(self, partition: int) -> PartitionTask:
        settings = self._settings
        return PartitionTask(
            partition,
            ports=self._ports(partition),
            factory=self._factory,
            changelog=self._changelog,
            limits=Limits(
                batch_records_max=settings.batch_records_max,
                commit_interval_s=settings.commit_interval_ms / 1000,
                session_timeout_ms=settings.session_timeout_ms,
                failures_max=settings.failures_max,
                fences_max=settings.fences_max,
            ),
            dead_letters=self._dead_letters,
            metrics=self._context.metrics,
            throughput=Throughput(partition, self._context.metrics, self._inputs),
            observe=self._observe,
        )

    def _make_ticker(self, task: PartitionTask) -> Ticker:
        assert self._ticks is not None, "only workers with ticks make tickers"
        return Ticker(
            task,
            self._ticks,
            appender=self._appender,
            clock=self._clock,
            metrics=self._context.metrics,
        )


async def run_parts(context: Context, parts: Sequence[Part]) -> None:
    """Runs parts side by side until `stop`; the first failure is raised after the others have been told to stop."""
    running = [asyncio.create_task(part(context)) for part in parts]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        context.stop.set()
        await asyncio.wait(running)
    finally:
        for part in running:
            part.cancel()
        await asyncio.wait(running)
    for part in running:
        part.result()


async def run_worker(
    *,
    settings: RuntimeSettings,
    inputs: tuple[str, ...],
    changelog: str,
    factory: ProcessorFactory,
    stop: asyncio.Event,
    ticks: TickSettings | None = None,
    observe: Observe | None = None,
    routes: Sequence[BaseRoute] = (),
    beside: Sequence[Part] = (),
    reloads: Reloads | None = None,
) -> None:
    """A whole exactly-once worker with its pages: runs until `stop` is set. Raises WorkerFailed.

    `inputs` are co-partitioned topics, read in offset order each; `routes` are added to the pages; `beside` runs in the
    same process; `reloads` knows already what else may change while it runs.
    """
    context, reloads = Context(stop), reloads or Reloads(settings)

    async def exactly_once(shared: Context) -> None:
        runner = Runner(
            shared,
            settings=settings,
            inputs=inputs,
            changelog=changelog,
            factory=factory,
            ticks=ticks,
            observe=observe,
        )
        runner.follow(reloads)
        await runner.run()

    pages = Pages(
        host=settings.http_host,
        port=settings.http_port,
        health=context.health,
        metrics=context.metrics,
        metrics_token=settings.metrics_secret,
        routes=routes,
    )
    reloads.listen(context.metrics, pages)
    async with exporting(settings, context.metrics), pages:
        await run_parts(context, [exactly_once, *beside])
