"""Dead letters for an operator: found by filters, and put back where they came from, each at most once.

The one rule: what was put back is marked in the dead-letter topic, in the same transaction. So a letter has been put back
if, and only if, its mark stands; and a mark outlives its letter, which retention deletes first. Why this is exactly once:

- Killed in between: the transaction is aborted, record and mark alike; the next run sees no mark and does it.
- Two at once: the transactional id is fixed for each partition number, so the later one fences the earlier, whose
  transaction ends before the later one starts to read; it then sees either all marks of it or no record.
- Marks are looked for up to the high watermark after fencing, not up to the last stable offset, which another's open
  transaction (a worker's, with dead letters of its own) may hold below marks that are committed.
- A mark names the offset of the *refused record*: two workers that refused the same record, or one that wrote its letter
  twice, put it back once.
- A mark stands in its letter's partition, also where the record goes to another one: partitions were added since, and its
  workspace has moved there.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import TOPICS, dead_letters
from services.local.errors import LocalError
from services.local.partitions import present_partition
from services.local.topic_log import partitions_of, reached, start
from services.runtime.broker import Delivery, Row
from services.runtime.deadletter import Letter, marked_offset, put_back, read_letter
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.kafka import KafkaWriter, record_of
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings

GROUP = "chat-routing-redrive"
TRANSACTION_LIMIT_MS = 5_000
"""A killed redrive's transaction keeps the readers of that partition waiting until the broker ends it."""
TRANSACTION_RECORDS_MAX = 100
TRANSACTION_BYTES_MAX = 4 * 1024 * 1024
_FETCH_WAIT_MS = 200
_EMPTY_FETCHES_MAX = 450
"""90 s: longer than a worker's transaction may stay open."""
_PARTITION_BYTES_MAX = 8 * 1024 * 1024
DEAD_LETTER_TOPICS = tuple(topic.name for topic in TOPICS if topic.name.endswith(dead_letters("")))

Writers: TypeAlias = Callable[[int], KafkaWriter]
"""Makes the transactional writer of a partition number."""


@dataclass(frozen=True, slots=True)
class Filed:
    """A letter, and whether its record has been put back."""

    letter: Letter
    redriven: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is None does not matter. `topic` is the dead-letter topic, times are when it was refused."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    exception: str | None = None
    reason: str | None = None
    workspace_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The dead-letter topics to be read."""
        return DEAD_LETTER_TOPICS if self.topic is None else (self.topic,)

    def takes(self, letter: Letter) -> bool:
        """Whether a letter of a topic and partition that are read is meant. `until_ms` is not included."""
        record = letter.record
        return (
            self.offset in (None, record.offset)
            and self.exception in (None, letter.exception)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
            and (self.workspace_id is None or record.key == self.workspace_id.encode())
            and (self.since_ms is None or record.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or record.timestamp_ms < self.until_ms)
        )


class DeadLetterLog:
    """Reads the dead letters a filter means. A context manager; raises LocalError."""

    def __init__(self, bootstrap: str, wanted: Filter) -> None:
        self._bootstrap = bootstrap
        self._wanted = wanted
        self._reader: Any = None
        self._ends: Any = None
        self._counts: Counter[str] = Counter()
        self._opened: dict[TopicPartition, int] = {}
        """Where each partition ended when it was opened: what is put back and refused again is for another run."""
        self.places: list[TopicPartition] = []
        """The partitions to be read, by partition number first: one number's topics share a writer."""

    async def __aenter__(self) -> Self:
        found = await partitions_of(self._bootstrap, self._wanted.topics)
        self._counts.update(at.topic for at in found)
        kept = [at for at in found if self._wanted.partition in (None, at.partition)]
        if not kept:
            raise LocalError(
                f"There is no partition {self._wanted.partition} of {', '.join(self._wanted.topics)}."
            )
        self.places = sorted(kept, key=lambda at: (at.partition, at.topic))
        self._reader = AIOKafkaConsumer(
            **reached(self._bootstrap).client(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_PARTITION_BYTES_MAX,
        )
        # It sees the high watermarks, which a reader of committed records does not.
        self._ends = AIOKafkaConsumer(**reached(self._bootstrap).client(), enable_auto_commit=False)
        await start(self._ends, self._bootstrap)
        try:
            self._opened = await self._ends.end_offsets(self.places)
            await start(self._reader, self._bootstrap)
        except BaseException:
            await self._ends.stop()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        await self._ends.stop()
        await self._reader.stop()

    async def filed(self, at: TopicPartition) -> AsyncIterator[Filed]:
        """Give the letters of a partition that are meant and stood there first, oldest first. It is read twice, since marks stand behind letters."""
        begin = (await self._ends.beginning_offsets([at]))[at]
        end = (await self._ends.end_offsets([at]))[at]
        redriven = {
            offset
            async for record in self._records(at, begin, end)
            if (offset := marked_offset(record)) is not None
        }
        async for record in self._records(at, begin, self._opened[at]):
            letter = read_letter(record)
            if letter is not None and self._wanted.takes(letter):
                yield Filed(letter, letter.offset in redriven)

    def home(self, letter: Letter) -> TopicPartition:
        """Return where its record goes back to; its topic has as many partitions as the dead-letter topic."""
        at = letter.record
        number = present_partition(at.key, at.partition, partitions=self._counts[at.topic])
        return TopicPartition(letter.topic, number)

    async def _records(self, at: TopicPartition, begin: int, end: int) -> AsyncIterator[InputRecord]:
        self._reader.assign([at])
        self._reader.seek(at, begin)
        empty_fetches = 0
        while (position := await self._reader.position(at)) < end:
            fetched = (await self._reader.getmany(at, timeout_ms=_FETCH_WAIT_MS)).get(at, [])
            for record in fetched:
                yield record_of(record)
            empty_fetches = 0 if fetched else empty_fetches + 1
            if empty_fetches > _EMPTY_FETCHES_MAX:
                raise LocalError(
                    f"Kafka delivers nothing of {at.topic}/{at.partition} after offset {position}: look at its health, "
                    "and for a transaction that stays open."
                )


def kafka_writers(bootstrap: str) -> Writers:
    """Return what makes the redrive's writers."""
    settings = RuntimeSettings(bootstrap=bootstrap, group=GROUP)
    return lambda number: KafkaWriter(settings, number, transaction_limit_ms=TRANSACTION_LIMIT_MS)


async def redrive(log: DeadLetterLog, *, writers: Writers, limit: int) -> AsyncIterator[list[Letter]]:
    """Put letters back that have not been, oldest first per partition, `limit` at most; give them as they are committed.

    Raises LocalError when another redrive takes over, or Kafka fails: what was given stands, and it can be run again.
    """
    for number in sorted({at.partition for at in log.places}):
        try:
            async for letters in _redrive_number(log, number, writer=writers(number), limit=limit):
                limit -= len(letters)
                yield letters
        except TaskMigrated as error:
            raise LocalError(
                f"Another redrive has taken over partition {number}, or Kafka was slower than {TRANSACTION_LIMIT_MS // 1000} s:"
                " look at `dlq list`, or run it again; nothing is put back twice."
            ) from error
        except (TaskCorrupted, WorkerFailed) as error:
            raise LocalError(f"{str(error).rstrip('.')}. Run it again: nothing is put back twice.") from error
        if limit <= 0:
            return


async def _redrive_number(
    log: DeadLetterLog, number: int, *, writer: KafkaWriter, limit: int
) -> AsyncIterator[list[Letter]]:
    try:
        await writer.start()  # before the marks are read: from here on nobody else can set one
        for at in log.places:
            if at.partition == number and limit > 0:
                async for letters in _batches(log.filed(at), limit=limit):
                    await _write(writer, letters, home=log.home)
                    limit -= len(letters)
                    yield letters
    finally:
        await writer.close()


async def waiting(filed: AsyncIterator[Filed]) -> AsyncIterator[Filed]:
    """Give the letters of a partition that are still to be put back, each refused record once."""
    taken: set[int] = set()
    async for each in filed:
        if not each.redriven and each.letter.offset not in taken:
            taken.add(each.letter.offset)
            yield each


async def _batches(filed: AsyncIterator[Filed], *, limit: int) -> AsyncIterator[list[Letter]]:
    """Give what waits, `limit` letters at most, in batches of a transaction's size."""
    batch: list[Letter] = []
    batch_bytes = 0
    async for each in waiting(filed):
        size_bytes = len(each.letter.record.value or b"")
        if batch and (
            len(batch) == TRANSACTION_RECORDS_MAX or batch_bytes + size_bytes > TRANSACTION_BYTES_MAX
        ):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(each.letter)
        batch_bytes += size_bytes
        limit -= 1
        if limit == 0:
            break
    if batch:
        yield batch


async def _write(
    writer: KafkaWriter, letters: Iterable[Letter], *, home: Callable[[Letter], TopicPartition]
) -> None:
    """One transaction: the records and their marks. Every delivery is awaited: a commit does not fail when a batch did."""
    rows: dict[TopicPartition, list[Row]] = {}
    for letter in letters:
        record, mark = put_back(letter)
        rows.setdefault(home(letter), []).append(record)
        rows.setdefault(TopicPartition(letter.record.topic, letter.record.partition), []).append(mark)
    await writer.begin()
    deliveries: list[Delivery] = []
    for at, of_place in rows.items():
        deliveries.extend(await writer.send_to(at, of_place))
    for delivery in deliveries:
        await delivery
    await writer.commit()
