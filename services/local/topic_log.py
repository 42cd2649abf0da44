"""Reads whole topics. One rule: committed records only, up to the end that stood when `catch_up` was called."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from pydantic import ValidationError

from services.local.errors import LocalError
from services.runtime.connection import KafkaSettings
from services.runtime.kafka import record_of
from services.runtime.ports import InputRecord

_FETCH_WAIT_MS = 200
_EMPTY_FETCHES_MAX = 100
"""20 s without a record before the end: the broker has stopped answering."""
_PARTITION_BYTES_MAX = 8 * 1024 * 1024


class TopicLog:
    """All committed records of some topics so far, in order per partition. A context manager; raises LocalError."""

    def __init__(self, bootstrap: str, topics: Iterable[str], *, partition: int | None = None) -> None:
        """`partition`: this one of every topic; by default all."""
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._only = partition
        self._consumer: Any = None
        self._partitions: list[TopicPartition] = []
        self.begins: dict[tuple[str, int], int] = {}
        self._records: dict[str, dict[int, list[InputRecord]]] = {}

    async def __aenter__(self) -> Self:
        found = await partitions_of(self._bootstrap, self._topics)
        self._partitions = [part for part in found if self._only in (None, part.partition)]
        self._consumer = AIOKafkaConsumer(
            **reached(self._bootstrap).client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_PARTITION_BYTES_MAX,
        )
        self._consumer.assign(self._partitions)
        await start(self._consumer, self._bootstrap)
        try:
            begins = await self._consumer.beginning_offsets(self._partitions)
        except BaseException:
            await self._consumer.stop()
            raise
        self.begins = {(part.topic, part.partition): offset for part, offset in begins.items()}
        self._records = {topic: defaultdict(list) for topic in self._topics}
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def catch_up(self) -> list[InputRecord]:
        """Read up to the ends as they are now, and return what is new."""
        new: list[InputRecord] = []
        async for record in self.stream():
            self._records[record.topic][record.partition].append(record)
            new.append(record)
        return new

    async def stream(self) -> AsyncIterator[InputRecord]:
        """Give what is new up to the ends as they are now, and keep none of it: for logs that are longer than memory."""
        ends = await self._consumer.end_offsets(self._partitions)
        behind = [part for part in self._partitions if await self._consumer.position(part) < ends[part]]
        empty_fetches = 0
        while behind:
            fetched = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
            for records in fetched.values():
                for record in records:
                    yield record_of(record)
            empty_fetches = 0 if fetched else empty_fetches + 1
            if empty_fetches > _EMPTY_FETCHES_MAX:
                raise LocalError(
                    f"Kafka at {self._bootstrap} stopped delivering {behind[0].topic}: look at its health."
                )
            behind = [part for part in behind if await self._consumer.position(part) < ends[part]]

    def of(self, topic: str, partition: int) -> list[InputRecord]:
        """Return what has been read of one partition."""
        return self._records[topic].get(partition, [])

    def all_of(self, topic: str) -> list[InputRecord]:
        """Return what has been read of a topic, partition by partition."""
        return [
            record for partition in sorted(self._records[topic]) for record in self._records[topic][partition]
        ]

    def partitions_of(self, topic: str) -> list[int]:
        """Return the partition numbers of a topic."""
        return [part.partition for part in self._partitions if part.topic == topic]


def reached(bootstrap: str) -> KafkaSettings:
    """Return how the Kafka at an address is reached: the settings `CHAT_KAFKA_…` hold for commands too. Raises LocalError."""
    try:
        return KafkaSettings(bootstrap=bootstrap)
    except ValidationError as error:
        raise LocalError("; ".join(str(each["msg"]) for each in error.errors(include_input=False))) from None


async def partitions_of(bootstrap: str, topics: Iterable[str]) -> list[TopicPartition]:
    """Return all partitions of some topics. Raises LocalError when one is absent, for which a consumer would wait 40 s."""
    admin = AIOKafkaAdminClient(**reached(bootstrap).client())
    try:
        await admin.start()
        found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    except KafkaConnectionError as error:
        raise LocalError(no_kafka(bootstrap)) from error
    finally:
        await admin.close()
    for topic in topics:
        if topic not in found:
            raise LocalError(f"Kafka at {bootstrap} has no topic {topic}: run `chat-routing topics` first.")
    return sorted(TopicPartition(topic, part["partition"]) for topic in topics for part in found[topic])


async def start(client: AIOKafkaConsumer, bootstrap: str) -> None:
    """Start a Kafka client (a consumer or a producer). Raises LocalError when nothing answers."""
    try:
        await client.start()
    except KafkaConnectionError as error:
        await client.stop()
        raise LocalError(no_kafka(bootstrap)) from error


def no_kafka(bootstrap: str) -> str:
    """Return the sentence for an address where nothing answers."""
    return f"No Kafka answers at {bootstrap}: check the address given with --bootstrap."
