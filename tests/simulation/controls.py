"""Workers with one thing wrong each, which the simulator must find: if it does not, it would not find the like in the product.

One rule: each is the product with another port or a subclass; nothing is patched.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from services.router.processor import RouterProcessor
from services.runtime.broker import ChangelogPage, Delivery, Offsets, Row, Writer
from services.runtime.failures import TaskCorrupted
from services.runtime.ports import InputRecord, OutputRecord, Processor, ProcessorFactory
from tests.runtime.fakes import MemoryChangelog, MemoryWriter
from tests.simulation.group import GROUP
from tests.simulation.judge import TICK
from tests.simulation.workers import Host
from tests.simulation.world import LossyWire, WorldClock


class IdPerWorker(Host):
    """One transactional id per worker: nobody fences a worker that has lost a partition and does not know it."""

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        owner = f"{GROUP}-host-{self.number}-{partition}"
        return MemoryWriter(self.broker, wire, owner=owner, partition=partition)


class UnawaitedBatch(Host):
    """The futures of batches are dropped: a commit succeeds although a batch was not written."""

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        class Forgetful(MemoryWriter):
            async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
                await super().send(topic, rows)
                return ()

        return Forgetful(self.broker, wire, owner=f"{GROUP}-{partition}", partition=partition)


class CountingRestore(Host):
    """A restore that stops at a count: one record for each two offsets, as if every record had a marker of its own."""

    def changelog(self, wire: LossyWire, partition: int) -> MemoryChangelog:
        class Counted(MemoryChangelog):
            async def start(self) -> tuple[int, int]:
                begin, end = await super().start()
                self.left, self.counted = (end - begin) // 2, 0
                return 0, self.left

            async def poll(self) -> ChangelogPage:
                counted = (await super().poll()).records[: self.left]
                self.left -= len(counted)
                self.counted += len(counted)
                return ChangelogPage(counted, self.counted)

        return Counted(self.broker, wire, (self.job.changelog, partition))


class OwnClock(Host):
    """Deadlines by the worker's own clock: a tick's time is when it is processed, not when it was appended."""

    def factory(self, _clock: WorldClock) -> ProcessorFactory:
        return lambda partition: OwnClockRouter(partition, _clock.now_ms)


class OwnClockRouter(RouterProcessor):
    """The router, looking at its watch."""

    def __init__(self, number: int, now_ms: Callable[[], int]) -> None:
        super().__init__(number)
        self._now_ms = now_ms

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        if TICK in (record.value or b""):
            record = replace(record, timestamp_ms=self._now_ms())
        return super().process(record)


class OffsetsBeforeFencing(Host):
    """The committed offsets are asked before the writer is started: an earlier commit may still land in between."""

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        return _LateFencing(self.broker, wire, owner=f"{GROUP}-{partition}", partition=partition)


class _LateFencing(MemoryWriter):
    """It fences with the first transaction, which is after offsets and changelog were read."""

    fenced = False

    async def start(self) -> None:
        """Not yet."""

    async def begin(self) -> None:
        if not self.fenced:
            await super().start()
            self.fenced = True
        await super().begin()


class HopefulCommit(Host):
    """A commit without an answer is taken for a success, and the state is kept."""

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        class Hopeful(MemoryWriter):
            async def commit(self) -> None:
                try:
                    await super().commit()
                except TaskCorrupted:
                    return

        return Hopeful(self.broker, wire, owner=f"{GROUP}-{partition}", partition=partition)


class OffsetsOfTheBatchBefore(Host):
    """Each transaction commits the offsets of the batch before it."""

    def writer(self, wire: LossyWire, partition: int) -> Writer:
        class Lagging(MemoryWriter):
            before: Offsets | None = None

            async def send_offsets(self, offsets: Offsets) -> None:
                before, self.before = self.before, offsets
                if before is not None:
                    await super().send_offsets(before)

        return Lagging(self.broker, wire, owner=f"{GROUP}-{partition}", partition=partition)


class StateOfTheLifeBefore(Host):
    """A partition that comes back gets its old processor, whatever was committed in between."""

    def factory(self, _clock: WorldClock) -> ProcessorFactory:
        kept: dict[int, Processor] = {}

        def keep(partition: int) -> Processor:
            return kept.setdefault(partition, self.job.factory(partition))

        return keep


BY_COUNTING: tuple[type[Host], ...] = (
    IdPerWorker,
    UnawaitedBatch,
    CountingRestore,
    OffsetsBeforeFencing,
    HopefulCommit,
    OffsetsOfTheBatchBefore,
    StateOfTheLifeBefore,
)
BY_ROUTING: tuple[type[Host], ...] = (OwnClock, IdPerWorker, UnawaitedBatch, CountingRestore)
