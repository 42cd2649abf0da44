"""Kafka as the projector's `Log`.

The one rule: no consumer group and no committed offsets; the archive's database says where to read on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.frozen import dataclass
from services.runtime.connection import KafkaSettings
from services.runtime.failures import WorkerFailed
from services.runtime.ports import InputRecord
from services.transcript.archive.batch import Partition

TOPICS_POLL_S = 0.5
TOPICS_POLLS_MAX = 120
FETCH_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """What a partition holds: its oldest offset, its end, and the time of its oldest record, None without one."""

    begin: int
    end: int
    oldest_ms: int | None


class KafkaLog:
    """Reads committed records of all partitions of some topics; an async context manager.

    It connects when it is first asked for the partitions, so that a Kafka which is away can be asked again.
    """

    def __init__(
        self, kafka: KafkaSettings, *, topics: Sequence[str], request_limit_ms: int = 10_000
    ) -> None:
        self._kafka = kafka
        self._request_limit_ms = request_limit_ms
        self._topics = tuple(topics)
        self._connected = False
        self._consumer = AIOKafkaConsumer(
            **kafka.client(),
            group_id=None,
            client_id="chat-archive",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            request_timeout_ms=request_limit_ms,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def _connect(self) -> None:
        if self._connected:
            return
        await self._consumer.start()
        self._connected = True
        # A task that aiokafka made must have begun, or closing it raises CancelledError.
        await asyncio.sleep(0)

    async def partitions(self) -> dict[Partition, int]:
        """All partitions of the topics with their ends. Raises WorkerFailed when a topic does not appear in time."""
        found = await self._found()
        ends = await self._consumer.end_offsets([TopicPartition(*partition) for partition in found])
        return {(each.topic, each.partition): end for each, end in ends.items()}

    async def _found(self) -> Sequence[Partition]:
        await self._connect()
        admin = AIOKafkaAdminClient(**self._kafka.client(), request_timeout_ms=self._request_limit_ms)
        try:
            await admin.start()
            for _ in range(TOPICS_POLLS_MAX):
                known = set(await admin.list_topics())
                if known.issuperset(self._topics):
                    described = await admin.describe_topics(list(self._topics))
                    if all(each["partitions"] for each in described):
                        return sorted(
                            (each["topic"], partition["partition"])
                            for each in described
                            for partition in each["partitions"]
                        )
                await asyncio.sleep(TOPICS_POLL_S)
        finally:
            await admin.close()
        missing = ", ".join(sorted(set(self._topics) - known))
        raise WorkerFailed(
            f"The archive reads {missing}, which Kafka does not have, or does not show to this user: create the topics, or allow "
            "them (`chat-routing acls`)."
        )

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Assigns these partitions and goes to their offsets."""
        self._consumer.assign([TopicPartition(*partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(*partition), offset)

    async def read(self, *, records_max: int, wait_ms: int) -> Sequence[InputRecord]:
        """The next committed records; none after `wait_ms`."""
        fetched = await self._consumer.getmany(timeout_ms=wait_ms, max_records=records_max)
        return [
            InputRecord(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                timestamp_ms=record.timestamp,
                key=record.key,
                value=record.value,
            )
            for records in fetched.values()
            for record in records
        ]

    async def position(self, partition: Partition) -> int:
        """Where the next fetch goes on; known since `seek`, so that nothing is waited for."""
        at: int = await self._consumer.position(TopicPartition(*partition))
        return at

    def end(self, partition: Partition) -> int:
        """The high watermark as of the last fetch."""
        end: int = self._consumer.highwater(TopicPartition(*partition)) or 0
        return end

    async def held(self) -> dict[Partition, Held]:
        """What each partition holds, as of now."""
        ends = await self.partitions()
        partitions = [TopicPartition(*partition) for partition in ends]
        begins = await self._consumer.beginning_offsets(partitions)
        oldest = await self._consumer.offsets_for_times(dict.fromkeys(partitions, 0))
        return {
            (each.topic, each.partition): Held(
                begins[each], end, None if oldest[each] is None else oldest[each].timestamp
            )
            for each, end in zip(partitions, ends.values(), strict=True)
        }
