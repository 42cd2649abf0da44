"""Kafka behind the runner's ports: the transactional producer, the changelog's reader, the plain producer.

The one rule: nothing of aiokafka waits without a limit and none of its exceptions leaves this package; `consequence`
says what each one means for the partition.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors

from services.runtime.broker import ChangelogPage, Delivery, Offsets, Row
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.kafka_client import Producer
from services.runtime.logs import explain, log
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings
from services.runtime.wall_clock import now_ms

Result = TypeVar("Result")

RETRY_BACKOFF_MS = 10
"""The default of 100 turns a benign ConcurrentTransactions answer into a stall of 100 ms."""
BATCH_BYTES_MAX = 512 * 1024
"""Well below the 1 MB a topic takes by default; a single larger record still makes a batch of its own."""
TRANSACTION_LIMIT_MS = 60_000
RESTORE_FETCH_BYTES = 1024 * 1024
RESTORE_PAGE_RECORDS_MAX = 5_000
RESTORE_WAIT_MS = 10

_FENCED = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.TransactionCoordinatorFenced,
    # aiokafka does not know PRODUCER_FENCED (90) and its kin: whoever can't tell stands back.
    kafka_errors.UnknownError,
)
_HOPELESS = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.UnsupportedCodecError,
    kafka_errors.UnsupportedVersionError,
)
_TOO_LARGE = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.RecordTooLargeError,
)

_log = log(__name__)


def record_of(record: Any) -> InputRecord:
    """A record of the client as ours."""
    return InputRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def consequence(error: BaseException, *, doing: str) -> Exception:
    """What has to follow from an error of the client library or of ours."""
    causes = list(_chain(error))
    kind = " from ".join(type(cause).__name__ for cause in causes)
    if any(isinstance(cause, _TOO_LARGE) for cause in causes):
        return WorkerFailed(
            f"{doing}: a record is larger than the topic takes; raise the topic's max.message.bytes, or see what writes so much."
        )
    if any(isinstance(cause, _HOPELESS) for cause in causes):
        return WorkerFailed(f"{doing}: Kafka refuses ({kind}).")
    if any(isinstance(cause, _FENCED) for cause in causes):
        return TaskMigrated(f"{doing}: {kind}")
    if isinstance(error, TimeoutError):
        return TaskCorrupted(f"{doing}: no answer in time")
    return TaskCorrupted(f"{doing}: {kind}")


async def bounded(work: Awaitable[Result], *, limit_s: float, doing: str) -> Result:
    """The result of `work`. Raises TaskMigrated, TaskCorrupted or WorkerFailed, at the latest after `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except (
        TimeoutError,
        AssertionError,
        OSError,
        kafka_errors.IllegalOperation,
        kafka_errors.KafkaError,
    ) as error:
        raise consequence(error, doing=doing) from error


async def close_or_fail(client: Any, *, limit_s: float, what: str) -> None:
    """Stops a client. Raises WorkerFailed if that does not end: half-dead, it could still write."""
    try:
        async with asyncio.timeout(limit_s):
            await client.stop()
    except TimeoutError as error:
        raise WorkerFailed(
            f"{what} could not be closed within {limit_s:g} s: the process ends, so that nothing of it lives on."
        ) from error
    except (kafka_errors.KafkaError, AssertionError, OSError) as error:
        # It was dead already: its tasks have ended and say so once more.
        _log.debug("closed_dead", client=what, error=explain(error))


class _Sent:
    """A batch on its way. Its error is marked as seen, so that a batch dropped with its producer is not reported twice."""

    def __init__(self, future: "asyncio.Future[Any]", *, limit_s: float, doing: str) -> None:
        self._future = future
        self._limit_s = limit_s
        self._doing = doing
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        await bounded(self._future, limit_s=self._limit_s, doing=self._doing)


def transactional(settings: RuntimeSettings, transactional_id: str) -> dict[str, Any]:
    """The arguments of a transactional producer, but for how long a transaction may stay open."""
    return {
        **settings.client(),
        "client_id": transactional_id,
        "transactional_id": transactional_id,
        "max_batch_size": BATCH_BYTES_MAX,
        "request_timeout_ms": int(settings.io_limit_s * 1000),
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }


def _append(batch: Any, row: Row) -> bool:
    """Whether the batch had room. The client stamps the record with the present time."""
    added = batch.append(timestamp=None, key=row.key, value=row.value, headers=list(row.headers))
    return added is not None


class KafkaWriter:
    """The transactional producer of one (group, partition); its id is `<group>-<partition>`.

    `partitions` gives how many there are, which its commits say.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        partition: int,
        *,
        partitions: Callable[[], int | str] = str,
        transaction_limit_ms: int = TRANSACTION_LIMIT_MS,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._partitions = partitions
        self._transaction_limit_ms = transaction_limit_ms
        self._id = f"{settings.group}-{partition}"
        self._producer: Any = None

    async def _bounded(self, work: Awaitable[Result], doing: str) -> Result:
        doing = f"{self._id}: {doing}"
        try:
            return await bounded(work, limit_s=self._settings.io_limit_s, doing=doing)
        except TaskCorrupted as error:
            if self._producer.failure is None:
                raise
            raise consequence(self._producer.failure, doing=doing) from error

    async def start(self) -> None:
        """Fences every earlier producer of this id."""
        self._producer = Producer(
            **transactional(self._settings, self._id), transaction_timeout_ms=self._transaction_limit_ms
        )
        await bounded(
            self._producer.start(), limit_s=self._settings.start_limit_s, doing=f"{self._id}: fencing"
        )

    async def begin(self) -> None:
        """Begins a transaction."""
        await self._bounded(self._producer.begin_transaction(), "begin")

    async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
        """Hands rows over, in as many batches as they need."""
        return await self.send_to(TopicPartition(topic, self._partition), rows)

    async def send_to(self, at: TopicPartition, rows: Sequence[Row]) -> Sequence[Delivery]:
        """Hands rows over for any partition, in as many batches as they need."""
        sent: list[Delivery] = []
        batch = self._producer.create_batch()
        for row in rows:
            if not _append(batch, row):
                sent.append(await self._send_batch(at, batch))
                batch = self._producer.create_batch()
                taken = _append(batch, row)
                assert taken, "an empty batch takes a record of any size"
        sent.append(await self._send_batch(at, batch))
        return sent

    async def _send_batch(self, at: TopicPartition, batch: Any) -> Delivery:
        doing = f"writing to {at.topic}/{at.partition}"
        future = await self._bounded(
            self._producer.send_batch(batch, at.topic, partition=at.partition), doing
        )
        return _Sent(future, limit_s=self._settings.io_limit_s, doing=f"{self._id}: {doing}")

    async def send_offsets(self, offsets: Offsets) -> None:
        """Adds input offsets to the transaction."""
        said = str(self._partitions())
        by_partition = {TopicPartition(topic, self._partition): (at, said) for topic, at in offsets.items()}
        await self._bounded(
            self._producer.send_offsets_to_transaction(by_partition, self._settings.group), "offsets"
        )

    async def commit(self) -> None:
        """Commits; when it does not answer in time, it may still be committed later."""
        await self._bounded(self._producer.commit_transaction(), "commit")

    async def close(self) -> None:
        """Lets go of the connection; an open transaction is ended by the next writer, or by its time-out."""
        if self._producer is not None:
            await close_or_fail(
                self._producer, limit_s=self._settings.stop_limit_s, what=f"The producer {self._id}"
            )


class KafkaChangelog:
    """Reads a changelog partition from its beginning, committed records only."""

    def __init__(self, settings: RuntimeSettings, topic: str, partition: int) -> None:
        self._settings = settings
        self._at = TopicPartition(topic, partition)
        self._doing = f"reading {topic}/{partition}"
        self._consumer: Any = None
        self._position = 0
        self._moved_s = 0.0

    async def start(self) -> tuple[int, int]:
        """Where it begins and ends now."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.client(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=RESTORE_FETCH_BYTES,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        return await bounded(self._start(), limit_s=self._settings.start_limit_s, doing=self._doing)

    async def _start(self) -> tuple[int, int]:
        self._consumer.assign([self._at])
        await self._consumer.start()
        begin: int = (await self._consumer.beginning_offsets([self._at]))[self._at]
        end: int = (await self._consumer.end_offsets([self._at]))[self._at]
        self._consumer.seek(self._at, begin)
        self._position, self._moved_s = begin, time.monotonic()
        return begin, end

    async def poll(self) -> ChangelogPage:
        """The next records. Raises TaskCorrupted when the position stands still for the I/O limit."""
        page, position = await bounded(self._poll(), limit_s=self._settings.io_limit_s, doing=self._doing)
        now_s = time.monotonic()
        if position != self._position:
            self._position, self._moved_s = position, now_s
        elif now_s - self._moved_s > self._settings.io_limit_s:
            raise TaskCorrupted(f"{self._doing}: no progress at offset {position}")
        return ChangelogPage([(record.key, record.value) for record in page], position)

    async def _poll(self) -> tuple[list[Any], int]:
        pages = await self._consumer.getmany(timeout_ms=RESTORE_WAIT_MS, max_records=RESTORE_PAGE_RECORDS_MAX)
        return pages.get(self._at, []), await self._consumer.position(self._at)

    async def close(self) -> None:
        """Lets go of the connection."""
        if self._consumer is not None:
            await close_or_fail(self._consumer, limit_s=self._settings.stop_limit_s, what=self._doing)


class KafkaAppender:
    """A plain idempotent producer that is made when it is needed, and made anew after a failure."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._lock = asyncio.Lock()

    async def append(self, topic: str, partition: int, row: Row) -> int | None:
        """The offset of the record, or None when it may not have been written."""
        doing = f"writing to {topic}/{partition}"
        producer = self._producer
        try:
            producer = await self._started()
            sent = await bounded(
                producer.send_and_wait(topic, row.value, row.key, partition),
                limit_s=self._settings.io_limit_s,
                doing=doing,
            )
        except (TaskCorrupted, TaskMigrated) as error:
            _log.warning("append_failed", topic=topic, partition=partition, error=explain(error))
            await self._drop(producer)
            return None
        offset: int = sent.offset
        return offset

    async def _started(self) -> Any:
        async with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    **self._settings.client(),
                    client_id=f"{self._settings.group}-ticks",
                    enable_idempotence=True,
                    request_timeout_ms=int(self._settings.io_limit_s * 1000),
                    retry_backoff_ms=RETRY_BACKOFF_MS,
                )
                await bounded(
                    self._producer.start(), limit_s=self._settings.start_limit_s, doing="starting a producer"
                )
            return self._producer

    async def _drop(self, producer: Any) -> None:
        """Closes a producer that failed, unless another caller has done so."""
        async with self._lock:
            if producer is not None and producer is not self._producer:
                return
            await self.close()

    async def close(self) -> None:
        """Lets go of the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_or_fail(
                producer, limit_s=self._settings.stop_limit_s, what="The producer of the ticks"
            )


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """The wall clock."""
        return now_ms()

    def monotonic_s(self) -> float:
        """A clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)
