"""Lets a new partition's offsets go on where its old one's end, so that a workspace's records keep one order everywhere.

The archive, the transcripts and whoever reads a topic compare offsets of one workspace's records. A new partition counts from 0, so it is
led up to the old one's end by records nobody sees: they stand in a transaction that is aborted, and are deleted at once.

One rule: what others have put into a new partition is never lost: it is put behind these once more, before it is deleted there. Events are
the only ones, and the same event again changes nothing.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS
from services.local.growing.layout import committed_reader
from services.local.progress import Progress
from services.local.topic_log import start
from services.runtime.kafka_client import Producer

COUNTED = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES)
"""Topics that hold workspaces' records in their order; dead letters and changelogs are not read by offset."""
BATCHES_MAX = 32
"""In one transaction: some two million records of no content, a few seconds."""
_FETCH_WAIT_MS = 200


async def gaps_of(consumer: Any, *, before: int, wanted: int) -> dict[TopicPartition, int]:
    """Return where each new partition's offsets have to begin: at the end of the old one its workspaces come from."""
    old = [TopicPartition(topic, number) for topic in COUNTED for number in range(before)]
    ends = await consumer.end_offsets(old)
    return {
        TopicPartition(topic, number): ends[TopicPartition(topic, number % before)]
        for topic in COUNTED
        for number in range(before, wanted)
    }


async def carry_on(
    bootstrap: str,
    admin: AIOKafkaAdminClient,
    producer: Producer,
    *,
    before: int,
    wanted: int,
    progress: Progress,
) -> None:
    """Lead all new partitions up to where their old ones end. Run again, it does what is left."""
    consumer = committed_reader(bootstrap)
    await start(consumer, bootstrap)
    try:
        gaps = await gaps_of(consumer, before=before, wanted=wanted)
        for done, (part, begin) in enumerate(gaps.items(), start=1):
            there = await _records(consumer, part)
            await _pass(producer, consumer, part, begin=begin)
            if part.topic == EVENTS and any(record.offset < begin for record in there):
                # Those that were behind the beginning too: they came later, and follow once more.
                gone = await _end(consumer, part)
                await _put_again(producer, part, there)
            else:
                gone = begin
            await admin.delete_records({part: RecordsToDelete(gone)})
            progress("offsets", done=done, total=len(gaps))
    finally:
        await consumer.stop()


async def _end(consumer: Any, part: TopicPartition) -> int:
    end: int = (await consumer.end_offsets([part]))[part]
    return end


async def _records(consumer: Any, part: TopicPartition) -> list[Any]:
    """What somebody has put there."""
    consumer.assign([part])
    await consumer.seek_to_beginning(part)
    found: list[Any] = []
    end = await _end(consumer, part)
    while await consumer.position(part) < end:
        found += (await consumer.getmany(part, timeout_ms=_FETCH_WAIT_MS)).get(part, [])
    return found


async def _pass(producer: Producer, consumer: Any, part: TopicPartition, *, begin: int) -> None:
    """Use up the offsets before `begin`."""
    while (left := begin - await _end(consumer, part)) > 0:
        await producer.begin_transaction()
        sent: list[Any] = []
        while left > 0 and len(sent) < BATCHES_MAX:
            batch = producer.create_batch()
            while left > 0 and batch.append(timestamp=None, key=None, value=None) is not None:
                left -= 1
            sent.append(await producer.send_batch(batch, part.topic, partition=part.partition))
        for delivery in sent:
            await delivery
        await producer.abort_transaction()


async def _put_again(producer: Producer, part: TopicPartition, records: list[Any]) -> None:
    """In one transaction, so that all of it is there or nothing."""
    async with producer.transaction():
        for record in records:
            await producer.send_and_wait(
                part.topic, record.value, record.key, part.partition, headers=list(record.headers)
            )


def offsets_to_pass(gaps: Mapping[TopicPartition, int]) -> int:
    """Return how many offsets that is, for who plans it."""
    return sum(gaps.values())
