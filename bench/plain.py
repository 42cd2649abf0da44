"""The plain exactly-once loop: what somebody writes who has nothing to decide and nothing to remember.

One rule: the same client, settings and limits as our runner, and no more: JSON in, one field touched, one record out, a transaction
for each batch of a partition. It knows no restore, no ticks, no dead letters, no metrics and no failures.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic import Field

from services.runtime.kafka import TRANSACTION_LIMIT_MS, transactional
from services.runtime.kafka_group import FETCH_WAIT_MS, membership
from services.runtime.settings import RuntimeSettings

SOURCE = "/bench/plain"


class PlainSettings(RuntimeSettings):
    """What the loop is told besides what every worker is: from where to where."""

    inputs: tuple[str, ...] = Field(description="topics that are read")
    output: str = Field(description="topic that is written; it has as many partitions")


async def run(settings: PlainSettings) -> None:
    """Run until SIGTERM."""
    consumer = AIOKafkaConsumer(*settings.inputs, **membership(settings))
    async with consumer:
        lanes: dict[int, list[TopicPartition]] = {}
        for at in consumer.assignment():
            lanes.setdefault(at.partition, []).append(at)
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_lane(consumer, ats, settings)) for ats in lanes.values()]
                asyncio.get_running_loop().add_signal_handler(
                    signal.SIGTERM, lambda: [task.cancel() for task in tasks]
                )


async def _lane(consumer: AIOKafkaConsumer, ats: Sequence[TopicPartition], settings: PlainSettings) -> None:
    """Run one partition number, on a transactional producer of its own."""
    name = f"{settings.group}-{ats[0].partition}"
    producer = AIOKafkaProducer(**transactional(settings, name), transaction_timeout_ms=TRANSACTION_LIMIT_MS)
    async with producer:
        while True:
            pages = await consumer.getmany(
                *ats, timeout_ms=FETCH_WAIT_MS, max_records=settings.batch_records_max
            )
            if pages:
                await _transaction(producer, pages, settings)


async def _transaction(
    producer: AIOKafkaProducer,
    pages: Mapping[TopicPartition, Sequence[ConsumerRecord]],
    settings: PlainSettings,
) -> None:
    async with producer.transaction():
        deliveries = []
        offsets = {}
        for at, records in pages.items():
            batch = producer.create_batch()
            for record in records:
                event = orjson.loads(record.value)
                event["source"] = SOURCE
                value = orjson.dumps(event)
                if batch.append(key=record.key, value=value, timestamp=None) is None:
                    deliveries.append(
                        await producer.send_batch(batch, settings.output, partition=at.partition)
                    )
                    batch = producer.create_batch()
                    batch.append(key=record.key, value=value, timestamp=None)
            deliveries.append(await producer.send_batch(batch, settings.output, partition=at.partition))
            offsets[at] = records[-1].offset + 1
        await producer.send_offsets_to_transaction(offsets, settings.group)
        for delivery in deliveries:
            await delivery


if __name__ == "__main__":
    uvloop.run(run(PlainSettings()))
