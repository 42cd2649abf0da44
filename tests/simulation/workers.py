"""The simulated workers: hosts that start the real runner over ports in memory, again and again.

One rule: all that is faked stands behind a port or the consumer; runner, group, inbox, assignment, tasks, ticks and restore
are the product's.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from services.runtime.broker import Writer
from services.runtime.failures import WorkerFailed
from services.runtime.metrics import Metrics
from services.runtime.partition_task import Ports
from services.runtime.ports import ProcessorFactory
from services.runtime.runner import Context, Runner
from services.runtime.ticks import TickSettings
from tests.runtime.fakes import MemoryAppender, MemoryChangelog, MemoryWriter
from tests.runtime.memory import Broker
from tests.simulation.group import GROUP, SESSION_S, SETTINGS, Consumer, Coordinator, SimulatedGroup
from tests.simulation.world import LossyWire, Process, World, WorldClock


@dataclass(frozen=True, slots=True)
class Job:
    """What the workers of a simulation run."""

    inputs: tuple[str, ...]
    changelog: str
    partitions: int
    factory: ProcessorFactory


class SimulatedRunner(Runner):
    """The product's runner over ports in memory."""

    def __init__(
        self, host: "Host", process: Process, consumer: Consumer, context: Context, clock: WorldClock
    ) -> None:
        job = host.job
        super().__init__(
            context,
            settings=SETTINGS,
            inputs=job.inputs,
            changelog=job.changelog,
            factory=host.factory(clock),
            ticks=TickSettings(job.inputs[0], 1_000, "/services/router"),
        )
        self._host = host
        self._wire = LossyWire(host.world, process)
        self._clock = clock  # type: ignore[assignment]  # a clock in all that matters
        self._appender = MemoryAppender(host.broker, self._wire)  # type: ignore[assignment]  # the same port
        self._group = SimulatedGroup(
            consumer,
            lambda: host.coordinator.join(host.number, consumer),
            topics=job.inputs,
            changelog=job.changelog,
            metrics=context.metrics,
            assigned=self._assignment.assigned,
        )

    def _ports(self, partition: int) -> Ports:
        host = self._host
        return Ports(
            inputs=self._group.inputs(partition),
            writer=lambda: host.writer(self._wire, partition),
            changelog=lambda: host.changelog(self._wire, partition),
            clock=self._clock,
        )


Alive: TypeAlias = tuple[Process, Consumer, asyncio.Event]


@dataclass
class Host:
    """A place where a worker process runs, and is started again when it is gone. Mutants are hosts with other ports."""

    number: int
    world: World
    broker: Broker
    coordinator: Coordinator
    job: Job
    metrics: Metrics
    wanted: bool = False
    alive: Alive | None = None
    lives: int = field(default=0)

    # ------------------------------------------------------------ what a mutant changes

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        return MemoryWriter(self.broker, wire, owner=f"{GROUP}-{partition}", partition=partition)

    def changelog(self, wire: LossyWire, partition: int) -> MemoryChangelog:
        return MemoryChangelog(self.broker, wire, (self.job.changelog, partition))

    def factory(self, _clock: WorldClock) -> ProcessorFactory:
        return self.job.factory

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Starts a process if none runs."""
        self.wanted = True
        if self.alive is not None:
            return
        self.lives += 1
        process = self.world.process(f"host-{self.number}.{self.lives}")
        consumer = Consumer(self.world, process, self.broker, partitions=self.job.partitions)
        stop = asyncio.Event()
        clock = WorldClock(self.world, off_ms=self.world.rng.randint(-50, 50))
        self.alive = (process, consumer, stop)
        self.world.note(process.name, "starts")

        async def main() -> None:
            try:
                await SimulatedRunner(self, process, consumer, Context(stop, self.metrics), clock).run()
            except WorkerFailed as error:
                self.world.note(process.name, str(error), "worker_failed")
            except Exception as error:  # noqa: BLE001 - a worker ends by WorkerFailed, or not at all
                self.world.report(f"{process.name} ended with {error!r}")
            process.die()

        process.on_death = lambda: self.gone(process)
        process.create_task(main())

    def gone(self, process: Process) -> None:
        """The process has ended or vanished: another one follows unless the host is to be empty."""
        if self.alive is not None and self.alive[0] is process:
            self.alive = None
            self.coordinator.watch(self.number)
            longest_s = 2 * SESSION_S if self.world.faults.rate else 0.5
            self.world.after(self.world.rng.uniform(0, longest_s), self.start_again)

    def start_again(self) -> None:
        if self.wanted:
            self.start()

    def stop(self) -> None:
        """Asks the process to finish."""
        self.wanted = False
        if self.alive is not None:
            process, _, stop = self.alive
            self.world.note(process.name, "stop")
            process.call_soon(stop.set)

    def suspend(self, seconds: float) -> None:
        """Nothing of the process runs for so long; then it goes on as if nothing had been."""
        if self.alive is not None:
            process, consumer, _ = self.alive
            self.world.note(process.name, "host", "suspended")
            process.asleep_until_s = self.world.now_s + seconds
            self._silence(consumer, seconds)

    def deafen(self, seconds: float) -> None:
        """The process runs, but it and the group hear nothing of each other."""
        if self.alive is not None:
            process, consumer, _ = self.alive
            self.world.note(process.name, "host", "deaf")
            consumer.deaf_until_s = self.world.now_s + seconds
            self._silence(consumer, seconds)

    def _silence(self, consumer: Consumer, seconds: float) -> None:
        self.coordinator.watch(self.number)
        self.world.after(seconds + 0.001, lambda: self.coordinator.heard(self.number, consumer))

    def crash(self) -> None:
        if self.alive is not None:
            process = self.alive[0]
            self.world.note(process.name, "host", "killed")
            process.die()
