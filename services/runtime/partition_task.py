"""The life of one partition: fence, restore, then batch after batch, each in one transaction.

The one rule: this is the only consume → decide → commit loop. It awaits nothing but its ports, so a simulator can step it
by hand and crash it between any two awaits.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from schemas.codec import Poison, UnknownType
from schemas.stored import Damaged
from services.runtime import tracing
from services.runtime.broker import Batch, Changelog, Clock, Delivery, Inputs, Offsets, Row, Writer
from services.runtime.deadletter import DeadLetterLimit, dead_letter
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.logs import explain, log, reason_of
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord, Processor, ProcessorFactory
from services.runtime.restore import Progress, restore
from services.runtime.throughput import Throughput

Observe: TypeAlias = Callable[[int, Processor, Metrics], None]
"""Called with partition, processor and metrics after a batch, to set gauges that only the core knows."""

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
FENCE_WINDOW_SESSIONS = 20
IDLE_WAIT_MS = 500
BUG_FAILURES_MAX = 3
"""A processor that raises may have a damaged state, which a restore repairs; three times in a row it is a bug."""

_log = log(__name__)


class Phase(Enum):
    """Where a partition stands.

        TAKING_OVER ──▶ RESTORING ──▶ RUNNING
             ▲ │             │           │
             │ ▼             ▼           ▼
           STANDING_BACK ◀───┴───────────┘ ──▶ STOPPED

    The value names the phases that may follow. Whatever ends a life, its producer is closed while standing back.
    """

    TAKING_OVER = ("RESTORING", "STANDING_BACK")
    RESTORING = ("RUNNING", "STANDING_BACK")
    RUNNING = ("STANDING_BACK",)
    STANDING_BACK = ("TAKING_OVER", "STOPPED")
    STOPPED = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """The runner's limits, as far as a partition needs them."""

    batch_records_max: int
    commit_interval_s: float
    session_timeout_ms: int
    failures_max: int
    fences_max: int


@dataclass(frozen=True, slots=True)
class Ports:
    """What a partition's task is given. `writer` and `changelog` make a fresh one for every life of the partition."""

    inputs: Inputs
    writer: Callable[[], Writer]
    changelog: Callable[[], Changelog]
    clock: Clock


@dataclass(slots=True)
class _Decided:
    """What a batch says, before it is written."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    refused: list[tuple[InputRecord, Poison]] = field(default_factory=list)
    unknown: int = 0

    def refuse(self, record: InputRecord, error: Poison) -> None:
        topic, row = dead_letter(record, error)
        self.rows.setdefault(topic, []).append(row)
        self.refused.append((record, error))

    def dead(self) -> Counter[str]:
        """How many records of each topic were refused."""
        return Counter(record.topic for record, _ in self.refused)


class PartitionTask:
    """Runs one partition number of all input topics until it is stopped, cancelled or can't go on."""

    def __init__(
        self,
        partition: int,
        *,
        ports: Ports,
        factory: ProcessorFactory,
        changelog: str,
        limits: Limits,
        dead_letters: DeadLetterLimit,
        metrics: Metrics,
        throughput: Throughput,
        observe: Observe | None = None,
    ) -> None:
        self.partition = partition
        self.phase = Phase.STANDING_BACK
        self._ports = ports
        self._factory = factory
        self._changelog = changelog
        self._limits = limits
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._throughput = throughput
        self._observe = observe
        self._stopping = False
        self._failures = 0
        self._bugs = 0
        self._fences: deque[float] = deque()
        self._next: Offsets = {}
        self._committed: Offsets = {}
        self._uncommitted_since_s: float | None = None
        self._last_record_ms = 0
        self._progress: Progress | None = None

    # ---------------------------------------------------------------- what others may ask

    @property
    def running(self) -> bool:
        """Whether the partition is restored and processes what comes."""
        return self.phase is Phase.RUNNING

    @property
    def standing(self) -> str:
        """Where the partition stands, for people; while it is restored, how far that is."""
        name = self.phase.name.lower().replace("_", " ")
        return f"{name}, {self._progress}" if self.phase is Phase.RESTORING else name

    def next_offset(self, topic: str) -> int:
        """The offset after the last record processed (0 before a start)."""
        return self._next.get(topic, 0)

    def caught_up(self, *, fresh_ms: int) -> bool:
        """Whether everything there is has been processed, or the last record was younger than `fresh_ms`."""
        if not self.running:
            return False
        return (self._ports.clock.now_ms() - self._last_record_ms < fresh_ms) or self._ports.inputs.at_end(
            self._next
        )

    def stop(self) -> None:
        """No new life begins. The inputs, stopped by their owner, end the present one after its batch."""
        self._stopping = True

    # ---------------------------------------------------------------- life

    async def run(self) -> None:
        """Returns when stopped; raises WorkerFailed when no restart of the partition can help."""
        while not self._stopping:
            self._enter(Phase.TAKING_OVER)
            writer = self._ports.writer()
            wait_ms: int | None = None
            try:
                await self._live(writer)
                break
            except TaskMigrated as error:
                wait_ms = self._fenced(error)
            except WorkerFailed:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the state can't be trusted any more
                self._failed(error)
            finally:
                self._ports.inputs.close()
                self._enter(Phase.STANDING_BACK)
                await writer.close()
            if self._stopping:
                break
            if wait_ms is None:
                await self._ports.clock.sleep(self._backoff_s())
            else:
                await self._ports.inputs.reassigned(wait_ms=wait_ms)
        self._enter(Phase.STOPPED)

    async def _live(self, writer: Writer) -> None:
        """One life: returns when the worker stops, raises at the first failure."""
        ports = self._ports
        started_s = ports.clock.monotonic_s()
        await writer.start()  # first of all: from here on no earlier owner can commit
        self._next = self._committed = await ports.inputs.committed()
        self._uncommitted_since_s = None
        self._progress = Progress(partition=self.partition, clock=ports.clock, metrics=self._metrics)
        self._enter(Phase.RESTORING)
        processor = self._factory(self.partition)
        changelog = ports.changelog()
        try:
            keys = await restore(changelog, processor, progress=self._progress, clock=ports.clock)
        except Damaged as error:
            raise WorkerFailed(
                f"{self._changelog} partition {self.partition} can't be read ({error}): it was written by a newer "
                "version, or is damaged."
            ) from error
        finally:
            await changelog.close()
        seconds = ports.clock.monotonic_s() - started_s
        self._metrics.observe("restore_seconds", seconds)
        _log.info("restored", partition=self.partition, keys=keys, seconds=round(seconds, 3))
        ports.inputs.open(self._next)
        self._enter(Phase.RUNNING)
        while True:
            batch = await ports.inputs.take(records_max=self._limits.batch_records_max, wait_ms=IDLE_WAIT_MS)
            if batch is None:
                await self._commit_offsets(writer)
                return
            await self._step(writer, processor, batch)

    async def _step(self, writer: Writer, processor: Processor, batch: Batch) -> None:
        if batch.records:
            await self._process(writer, processor, batch)
            if self._observe is not None:
                self._observe(self.partition, processor, self._metrics)
        self._next = batch.next_offsets
        await self._commit_offsets_in_time(writer)

    async def _process(self, writer: Writer, processor: Processor, batch: Batch) -> None:
        clock, records = self._ports.clock, batch.records
        self._throughput.read(records)
        with tracing.deciding(records):
            started_s = clock.monotonic_s()
            decided = self._decide(processor, records)
            decided_s = clock.monotonic_s()
            if decided.rows:
                with self._dead_letters.room(decided.dead(), now_ms=clock.now_ms()):
                    await self._commit(writer, decided.rows, batch.next_offsets)
        self._last_record_ms = records[-1].timestamp_ms
        self._throughput.stands(
            decided.rows,
            now_ms=clock.now_ms(),
            decide_s=decided_s - started_s,
            commit_s=clock.monotonic_s() - decided_s,
        )
        self._tell_left_out(decided)

    def _decide(self, processor: Processor, records: Sequence[InputRecord]) -> _Decided:
        decided = _Decided()
        rows = decided.rows
        for record in records:
            try:
                context = tracing.carried(record.headers) if record.headers else ()
                for output in processor.process(record):
                    row = Row(output.key, output.value, context if output.headers is None else output.headers)
                    if (known := rows.get(output.topic)) is None:
                        rows[output.topic] = [row]
                    else:
                        known.append(row)
            except Poison as error:
                decided.refuse(record, error)
            except UnknownType:
                decided.unknown += 1
            except Exception as error:
                self._bugs += 1
                _log.warning("processing_failed", **tracing.about(record), error=explain(error))
                where = f"{record.topic}/{record.partition} at offset {record.offset}"
                if self._bugs >= BUG_FAILURES_MAX:
                    raise WorkerFailed(
                        f"The record of {where} makes the processor fail with {type(error).__name__}, again after "
                        "each restore: this is a bug; the log says where."
                    ) from error
                raise TaskCorrupted(f"the processor failed on {where}") from error
        changes = [Row(key, value) for key, value in processor.changes()]
        if changes:
            rows[self._changelog] = changes
        return decided

    # ---------------------------------------------------------------- transactions

    async def _commit(self, writer: Writer, rows: dict[str, list[Row]], offsets: Offsets) -> None:
        """One transaction. Every delivery is awaited: a commit does not fail when a batch did."""
        await writer.begin()
        deliveries: list[Delivery] = []
        for topic, of_topic in rows.items():
            deliveries.extend(await writer.send(topic, of_topic))
        moved = {topic: at for topic, at in offsets.items() if self._committed.get(topic) != at}
        if moved:
            await writer.send_offsets(moved)
        for delivery in deliveries:
            await delivery
        await writer.commit()
        self._committed = offsets
        self._uncommitted_since_s = None
        self._failures = self._bugs = 0

    async def _commit_offsets(self, writer: Writer) -> None:
        if self._next != self._committed:
            await self._commit(writer, {}, self._next)

    async def _commit_offsets_in_time(self, writer: Writer) -> None:
        """Offsets of records without effect go with the next transaction, or alone when none comes for long."""
        if self._next == self._committed:
            return
        now_s = self._ports.clock.monotonic_s()
        if self._uncommitted_since_s is None:
            self._uncommitted_since_s = now_s
        elif now_s - self._uncommitted_since_s >= self._limits.commit_interval_s:
            await self._commit_offsets(writer)

    def _tell_left_out(self, decided: _Decided) -> None:
        """Records that were refused, or of a type nobody knows here."""
        for topic, count in decided.dead().items():
            self._metrics.add("dead_letters", count, topic=topic)
        for record, poison in decided.refused:
            _log.warning("dead_letter", **tracing.about(record), reason=str(poison))
        if decided.unknown:
            self._metrics.add("unknown_types", decided.unknown)

    # ---------------------------------------------------------------- failures

    def _fenced(self, error: TaskMigrated) -> int:
        """How long to stand back, in ms; raises WorkerFailed when it happens again and again."""
        self._metrics.add("fences")
        now_s = self._ports.clock.monotonic_s()
        window_s = FENCE_WINDOW_SESSIONS * self._limits.session_timeout_ms / 1000
        self._fences.append(now_s)
        while self._fences[0] < now_s - window_s:
            self._fences.popleft()
        _log.warning("fenced", partition=self.partition, times=len(self._fences), error=explain(error))
        if len(self._fences) > self._limits.fences_max:
            raise WorkerFailed(
                f"Partition {self.partition} was taken from this worker {len(self._fences)} times within {window_s:g} s: "
                "look for a second process with the same CHAT_INSTANCE_ID or CHAT_GROUP, or one that is often suspended."
            ) from error
        return self._limits.session_timeout_ms

    def _failed(self, error: Exception) -> None:
        self._metrics.add("task_failures")
        self._failures += 1
        _log.warning("task_failed", partition=self.partition, in_a_row=self._failures, error=explain(error))
        if self._failures >= self._limits.failures_max:
            raise WorkerFailed(
                f"Partition {self.partition} failed {self._failures} times in a row; the last time: {reason_of(error)}."
            ) from error

    def _backoff_s(self) -> float:
        """Doubles with each failure; spread over the partitions, so that they do not come back all at once."""
        backoff_s: float = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** (self._failures - 1))
        return backoff_s * (1 + self.partition % 8 / 8)

    def _enter(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        assert phase.name in self.phase.value, f"{self.phase.name} → {phase.name}"
        change = (phase is Phase.RUNNING) - (self.phase is Phase.RUNNING)
        if change:
            self._metrics.add("partitions_running", change)
        if change < 0:
            self._metrics.leave(self.partition)
        self.phase = phase
