"""The runner's ports over the broker in memory, and a stage where one task runs over them with faults on demand.

One rule: a port reaches the broker only through its wire, which may raise before or after the effect, or lose either.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from services.runtime.broker import Batch, ChangelogPage, Delivery, Offsets, Row
from services.runtime.deadletter import DeadLetterLimit
from services.runtime.failures import TaskCorrupted, TaskMigrated
from services.runtime.metrics import Metrics
from services.runtime.partition_task import Limits, Observe, PartitionTask, Ports
from services.runtime.ports import InputRecord, Processor, ProcessorFactory
from services.runtime.throughput import Throughput
from tests.runtime.counting import Counting
from tests.runtime.memory import At, Broker

INPUT, OUTPUT, STATE = "in", "out", "state"
PARTITION = 3
OWNER = "group-3"
LIMITS = Limits(
    batch_records_max=4, commit_interval_s=5.0, session_timeout_ms=6_000, failures_max=6, fences_max=2
)
PAGE_RECORDS_MAX = 5
POLLS_MAX = 50
"""Polls of a changelog without any progress before it gives up."""

Result = TypeVar("Result")


def nothing() -> None:
    """The effect of what only happens in the client."""


class Wire(Protocol):
    """What stands between a port and the broker."""

    def call(self, what: str, effect: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Asks at once; the future ends with the answer, within a limit. A failed one may have had its effect, or have it later."""


class MemoryWriter:
    def __init__(self, broker: Broker, wire: Wire, *, owner: str, partition: int) -> None:
        self._broker = broker
        self._wire = wire
        self._owner = owner
        self._partition = partition
        self._epoch = 0
        self._sent: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        self._epoch = await self._wire.call("start", partial(self._broker.init, self._owner))

    async def begin(self) -> None:
        await self._wire.call("begin", nothing)
        self._sent.clear()

    async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
        await self._wire.call(f"send {topic}", nothing)
        produce = partial(
            self._broker.produce, self._owner, self._epoch, (topic, self._partition), list(rows)
        )
        self._sent.append(self._wire.call(f"deliver {topic}", produce))
        return self._sent[-1:]

    async def send_offsets(self, offsets: Offsets) -> None:
        by_partition = {(topic, self._partition): at for topic, at in offsets.items()}
        await self._wire.call(
            "offsets", partial(self._broker.add_offsets, self._owner, self._epoch, by_partition)
        )

    async def commit(self) -> None:
        if self._sent:
            await asyncio.wait(self._sent)  # as the client does: until they are done, well or badly
        await self._wire.call(
            "commit", partial(self._broker.finish, self._owner, self._epoch, committed=True)
        )

    async def close(self) -> None:
        await self._wire.call("close", nothing)


class MemoryChangelog:
    """A few records a page; markers and holes move the position only."""

    def __init__(self, broker: Broker, wire: Wire, at: At) -> None:
        self._broker = broker
        self._wire = wire
        self._at = at
        self._position = 0
        self._silent = 0

    async def start(self) -> tuple[int, int]:
        return await self._wire.call("changelog", lambda: (0, self._broker.stable_end(self._at)))

    async def poll(self) -> ChangelogPage:
        entries, position = await self._wire.call(
            "poll", lambda: self._broker.read(self._at, self._position, records_max=PAGE_RECORDS_MAX)
        )
        self._silent = 0 if position > self._position else self._silent + 1
        if self._silent > POLLS_MAX:
            raise TaskCorrupted(f"no progress at offset {position}")
        self._position = position
        rows = [entry.row for entry in entries if entry.row is not None]
        return ChangelogPage([(row.key, row.value) for row in rows if row.key is not None], position)

    async def close(self) -> None:
        await self._wire.call("changelog closed", nothing)


class MemoryAppender:
    def __init__(self, broker: Broker, wire: Wire) -> None:
        self._broker = broker
        self._wire = wire

    async def append(self, topic: str, partition: int, row: Row) -> int | None:
        try:
            return await self._wire.call("append", partial(self._broker.append, (topic, partition), row))
        except (TaskCorrupted, TaskMigrated):
            return None

    async def close(self) -> None:
        """Nothing is held."""


# ---------------------------------------------------------------- one task on a stage


class Crash(BaseException):
    """The process is gone: nothing handles this."""


@dataclass
class FakeClock:
    now_s: float = 1_000.0
    slept_s: list[float] = field(default_factory=list)

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@dataclass
class FaultyWire:
    """Answers at once. `fault` is asked before (`"commit"`) and after (`"commit done"`) each effect, and may raise."""

    calls: list[str] = field(default_factory=list)
    fault: Callable[[str], None] = lambda _step: None

    def step(self, name: str) -> None:
        self.calls.append(name)
        self.fault(name)

    def call(self, what: str, effect: Callable[[], Result]) -> "asyncio.Future[Result]":
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self.step(what)
            result = effect()
            self.step(f"{what} done")
        except Exception as error:  # noqa: BLE001 - told to whoever awaits, and to nobody else
            answer.set_exception(error)
            answer.exception()  # seen
        else:
            answer.set_result(result)
        return answer


class FakeInputs:
    """Delivers what stands in the input topics, then nothing; stops after `idle_max` empty batches."""

    def __init__(
        self, broker: Broker, wire: FaultyWire, clock: FakeClock, *, topics: tuple[str, ...], idle_max: int
    ) -> None:
        self._broker = broker
        self._wire = wire
        self._clock = clock
        self._topics = topics
        self._idle_max = idle_max
        self._idle = 0
        self._next: dict[str, int] | None = None
        self.waited_ms: list[int] = []

    async def committed(self) -> Offsets:
        return await self._wire.call(
            "committed?",
            lambda: {topic: self._broker.offsets.get((topic, PARTITION), 0) for topic in self._topics},
        )

    def open(self, offsets: Offsets) -> None:
        self._next = dict(offsets)

    def close(self) -> None:
        self._next = None

    async def take(self, *, records_max: int, wait_ms: int) -> Batch | None:
        await self._wire.call("take", nothing)
        assert self._next is not None, "taken before it was opened"
        records: list[InputRecord] = []
        for topic in self._topics:
            entries, self._next[topic] = self._broker.read(
                (topic, PARTITION), self._next[topic], records_max=records_max - len(records)
            )
            records.extend(
                InputRecord(
                    topic,
                    PARTITION,
                    entry.offset,
                    entry.at_ms,
                    entry.row.key,
                    entry.row.value,
                    entry.row.headers,
                )
                for entry in entries
                if entry.row is not None
            )
        if not records:
            self._clock.now_s += wait_ms / 1000
            self._idle += 1
            if self._idle > self._idle_max:
                return None
        return Batch(records, dict(self._next))

    def at_end(self, offsets: Offsets) -> bool:
        return all(at >= self._broker.end((topic, PARTITION)) for topic, at in offsets.items())

    async def reassigned(self, *, wait_ms: int) -> None:
        await self._wire.call("reassigned", nothing)
        self.waited_ms.append(wait_ms)
        self._clock.now_s += wait_ms / 1000


@dataclass
class Stage:
    """A task over fakes."""

    broker: Broker = field(default_factory=Broker)
    wire: FaultyWire = field(default_factory=FaultyWire)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)
    topics: tuple[str, ...] = (INPUT,)
    limits: Limits = LIMITS
    dead_letters_max: int = 100
    idle_max: int = 0
    processors: list[Processor] = field(default_factory=list)
    inputs: FakeInputs | None = None

    def publish(self, *values: bytes, topic: str = INPUT) -> None:
        start = self.broker.end((topic, PARTITION))
        for number, value in enumerate(values, start):
            self.broker.append((topic, PARTITION), Row(b"key%d" % (number % 3), value))

    def values(self, topic: str) -> list[bytes | None]:
        """The committed values of a topic."""
        return [row.value for row in self.broker.rows((topic, PARTITION))]

    @property
    def offsets(self) -> dict[str, int]:
        """The committed offsets by topic."""
        return {topic: offset for (topic, _), offset in self.broker.offsets.items()}

    def task(
        self, factory: ProcessorFactory | None = None, *, observe: Observe | None = None
    ) -> PartitionTask:
        def counting(_partition: int) -> Processor:
            self.processors.append(Counting(OUTPUT))
            return self.processors[-1]

        self.inputs = FakeInputs(
            self.broker, self.wire, self.clock, topics=self.topics, idle_max=self.idle_max
        )
        return PartitionTask(
            PARTITION,
            ports=Ports(
                inputs=self.inputs,
                writer=lambda: MemoryWriter(self.broker, self.wire, owner=OWNER, partition=PARTITION),
                changelog=lambda: MemoryChangelog(self.broker, self.wire, (STATE, PARTITION)),
                clock=self.clock,
            ),
            factory=factory or counting,
            changelog=STATE,
            limits=self.limits,
            dead_letters=DeadLetterLimit(self.dead_letters_max),
            metrics=self.metrics,
            throughput=Throughput(PARTITION, self.metrics, self.topics),
            observe=observe,
        )

    def fail(self, step: str, error: BaseException, *, times: int = 1) -> None:
        """Makes the next `times` of a step raise."""
        left = times

        def fault(name: str) -> None:
            nonlocal left
            if name == step and left:
                left -= 1
                raise error

        self.wire.fault = fault


def plain_run(values: Sequence[bytes]) -> list[bytes]:
    """What the outputs are when nothing goes wrong."""
    processor = Counting(OUTPUT)
    outputs: list[bytes] = []
    for offset, value in enumerate(values):
        record = InputRecord(INPUT, PARTITION, offset, 0, b"key%d" % (offset % 3), value)
        outputs.extend(output.value or b"" for output in processor.process(record))
    return outputs
