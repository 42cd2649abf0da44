"""A broker in memory behind the runner's ports: transactions, fencing, markers that take offsets, and faults on demand.

One rule: it is as unforgiving as Kafka: a commit leaves out a batch that failed, and a fenced writer's commit has no effect.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.runtime.broker import Batch, ChangelogPage, Delivery, Offsets, Row
from services.runtime.deadletter import DeadLetterLimit
from services.runtime.failures import TaskMigrated
from services.runtime.metrics import Metrics
from services.runtime.partition_task import Limits, PartitionTask, Ports
from services.runtime.ports import InputRecord, Processor, ProcessorFactory
from tests.runtime.counting import Counting

INPUT, OUTPUT, STATE = "in", "out", "state"
PARTITION = 3
LIMITS = Limits(
    batch_records_max=4, commit_interval_s=5.0, session_timeout_ms=6_000, failures_max=6, fences_max=2
)


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
class FakeBroker:
    """The logs (None is a marker), the committed offsets, and who the present writer is.

    `fault` is asked before (`"commit"`) and after (`"committed"`) each operation has its effect, and may raise.
    """

    logs: dict[str, list[Row | None]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    writer: object | None = None
    calls: list[str] = field(default_factory=list)
    fault: Callable[[str], None] = lambda _step: None

    def step(self, name: str) -> None:
        self.calls.append(name)
        self.fault(name)

    def values(self, topic: str) -> list[bytes | None]:
        return [row.value for row in self.logs.get(topic, []) if row is not None]


class _FakeDelivery:
    def __init__(self, broker: FakeBroker, rows: list[Row], topic: str, into: list[tuple[str, Row]]) -> None:
        self._broker = broker
        self._topic = topic
        self._failure: BaseException | None = None
        try:
            broker.fault(f"deliver {topic}")
        except Exception as error:  # noqa: BLE001 - told to whoever awaits, and to nobody else
            self._failure = error
        else:
            into.extend((topic, row) for row in rows)

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0).__await__()
        self._broker.step(f"delivered {self._topic}")
        if self._failure is not None:
            raise self._failure


class FakeWriter:
    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._rows: list[tuple[str, Row]] = []
        self._offsets: Offsets = {}

    async def start(self) -> None:
        self._broker.step("start")
        self._broker.writer = self

    async def begin(self) -> None:
        self._broker.step("begin")
        self._rows, self._offsets = [], {}

    async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
        self._broker.step(f"send {topic}")
        return [_FakeDelivery(self._broker, [row], topic, self._rows) for row in rows]

    async def send_offsets(self, offsets: Offsets) -> None:
        self._broker.step("offsets")
        self._offsets = offsets

    async def commit(self) -> None:
        self._broker.step("commit")
        if self._broker.writer is not self:
            raise TaskMigrated("commit: fenced")
        for topic, row in self._rows:
            self._broker.logs.setdefault(topic, []).append(row)
        for topic in {topic for topic, _ in self._rows}:
            self._broker.logs[topic].append(None)
        self._broker.offsets.update(self._offsets)
        self._broker.step("committed")

    async def close(self) -> None:
        self._broker.step("close")


class FakeInputs:
    """Delivers what stands in the input topics, then nothing; stops after `idle_max` empty batches."""

    def __init__(
        self, broker: FakeBroker, clock: FakeClock, *, topics: tuple[str, ...], idle_max: int
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._topics = topics
        self._idle_max = idle_max
        self._idle = 0
        self._next: dict[str, int] | None = None
        self.waited_ms: list[int] = []

    async def committed(self) -> Offsets:
        self._broker.step("committed?")
        return {topic: self._broker.offsets.get(topic, 0) for topic in self._topics}

    def open(self, offsets: Offsets) -> None:
        self._next = dict(offsets)

    def close(self) -> None:
        self._next = None

    async def take(self, *, records_max: int, wait_ms: int) -> Batch | None:
        self._broker.step("take")
        assert self._next is not None, "taken before it was opened"
        records: list[InputRecord] = []
        for topic in self._topics:
            log = self._broker.logs.get(topic, [])
            while self._next[topic] < len(log) and len(records) < records_max:
                row = log[self._next[topic]]
                if row is not None:
                    records.append(
                        InputRecord(topic, PARTITION, self._next[topic], 900_000, row.key, row.value)
                    )
                self._next[topic] += 1
        if not records:
            self._clock.now_s += wait_ms / 1000
            self._idle += 1
            if self._idle > self._idle_max:
                return None
        return Batch(records, dict(self._next))

    def at_end(self, offsets: Offsets) -> bool:
        return all(at >= len(self._broker.logs.get(topic, [])) for topic, at in offsets.items())

    async def reassigned(self, *, wait_ms: int) -> None:
        self._broker.step("reassigned")
        self.waited_ms.append(wait_ms)
        self._clock.now_s += wait_ms / 1000


class FakeChangelog:
    """Two records a page; markers and holes move the position only."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._position = 0

    async def start(self) -> tuple[int, int]:
        self._broker.step("changelog")
        return 0, len(self._broker.logs.get(STATE, []))

    async def poll(self) -> ChangelogPage:
        self._broker.step("poll")
        rows = self._broker.logs[STATE][self._position : self._position + 2]
        self._position += len(rows)
        return ChangelogPage(
            [(row.key, row.value) for row in rows if row is not None and row.key is not None],
            self._position,
        )

    async def close(self) -> None:
        self._broker.step("changelog closed")


@dataclass
class Stage:
    """A task over fakes."""

    broker: FakeBroker = field(default_factory=FakeBroker)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)
    topics: tuple[str, ...] = (INPUT,)
    limits: Limits = LIMITS
    dead_letters_max: int = 100
    idle_max: int = 0
    processors: list[Processor] = field(default_factory=list)
    inputs: FakeInputs | None = None

    def publish(self, *values: bytes, topic: str = INPUT) -> None:
        log = self.broker.logs.setdefault(topic, [])
        log.extend(Row(b"key%d" % (number % 3), value) for number, value in enumerate(values, len(log)))

    def task(self, factory: ProcessorFactory | None = None) -> PartitionTask:
        def counting(_partition: int) -> Processor:
            self.processors.append(Counting(OUTPUT))
            return self.processors[-1]

        self.inputs = FakeInputs(self.broker, self.clock, topics=self.topics, idle_max=self.idle_max)
        return PartitionTask(
            PARTITION,
            ports=Ports(
                inputs=self.inputs,
                writer=lambda: FakeWriter(self.broker),
                changelog=lambda: FakeChangelog(self.broker),
                clock=self.clock,
            ),
            factory=factory or counting,
            changelog=STATE,
            limits=self.limits,
            dead_letters=DeadLetterLimit(self.dead_letters_max),
            metrics=self.metrics,
        )

    def fail(self, step: str, error: BaseException, *, times: int = 1) -> None:
        """Makes the next `times` of a step raise."""
        left = times

        def fault(name: str) -> None:
            nonlocal left
            if name == step and left:
                left -= 1
                raise error

        self.broker.fault = fault


def plain_run(values: Sequence[bytes]) -> list[bytes]:
    """What the outputs are when nothing goes wrong."""
    processor = Counting(OUTPUT)
    outputs: list[bytes] = []
    for offset, value in enumerate(values):
        record = InputRecord(INPUT, PARTITION, offset, 0, b"key%d" % (offset % 3), value)
        outputs.extend(output.value or b"" for output in processor.process(record))
    return outputs
