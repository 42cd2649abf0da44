"""Reads a conversation again where it stands in its topic: one that had no match when it ended, and has a lead now.

The one rule: what stands at a place may be gone, or be something else; then there is no conversation.
"""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import codec
from schemas.envelope import Envelope
from schemas.transcripts import TranscriptCompleted
from services.runtime.connection import KafkaSettings
from services.runtime.failures import WorkerFailed
from services.runtime.parking import Place

READ_LIMIT_S = 60.0
POLL_WAIT_MS = 200


class Transcripts:
    """Reads single records. Each time with a consumer of its own: that happens when an agent asks for a lead after a chat."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def at(self, place: Place) -> Envelope[str, TranscriptCompleted] | None:
        """Return the conversation at a place, None if none stands there any more. Raises WorkerFailed when Kafka does not say."""
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                value = await self._value(place)
        except (KafkaError, TimeoutError) as error:
            raise WorkerFailed(
                f"A conversation could not be read again from {place[0]} ({type(error).__name__}): look at the brokers."
            ) from error
        if value is None:
            return None
        try:
            envelope: Envelope[str, TranscriptCompleted] = codec.transcripts.decode(value)
        except (codec.Poison, codec.UnknownType):
            return None
        return envelope

    async def _value(self, place: Place) -> bytes | None:
        topic, partition, offset = place
        there = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(
            **self._kafka.client(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
            consumer.assign([there])
            first = (await consumer.beginning_offsets([there]))[there]
            end = (await consumer.end_offsets([there]))[there]
            if not first <= offset < end:
                return None
            consumer.seek(there, offset)
            # What is no record, such as the end of a transaction, moves the position only.
            while await consumer.position(there) <= offset:
                batches = await consumer.getmany(there, timeout_ms=POLL_WAIT_MS, max_records=1)
                if there in batches:
                    (record,) = batches[there]
                    return record.value if record.offset == offset else None
            return None
        finally:
            await consumer.stop()
