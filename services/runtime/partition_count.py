"""How many partitions there are, and with how many a group's state was made: each commit says so, in the metadata of its offsets.

The one rule: a workspace's state lies where its records went when it was made. With another number of partitions they go elsewhere, so
nobody may go on from that state before `chat-routing grow` has moved it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from services.runtime.failures import WorkerFailed
from services.runtime.settings import RuntimeSettings


async def missing(settings: RuntimeSettings, topics: Sequence[str]) -> str:
    """What is not there yet, or nothing. Asking about all topics creates none, unlike subscribing."""
    admin = AIOKafkaAdminClient(**settings.client(), request_timeout_ms=int(settings.io_limit_s * 1000))
    try:
        async with asyncio.timeout(settings.io_limit_s):
            await admin.start()
            described = await admin.describe_topics()
    except (TimeoutError, OSError, kafka_errors.KafkaError):
        return f"No Kafka answers at {settings.bootstrap}: check CHAT_BOOTSTRAP."
    finally:
        await admin.close()
    known = {each["topic"]: len(each["partitions"]) for each in described}
    counts = {topic: known.get(topic, 0) for topic in topics}
    absent = [topic for topic, count in counts.items() if not count]
    if absent:
        return f"Kafka at {settings.bootstrap} has no topic {', '.join(absent)}: run `chat-routing topics`."
    if len(set(counts.values())) > 1 and not settings.drain_partitions:
        return (
            f"The topics {', '.join(counts)} must have the same number of partitions: {counts}. "
            "If partitions were added, `chat-routing grow` says how to go on (docs/partitions.md)."
        )
    return ""


def counts_of(metadata: Iterable[str]) -> frozenset[int]:
    """The numbers of partitions that commits name. Those of versions that named none say nothing."""
    return frozenset(int(each) for each in metadata if each.isdecimal())


async def commits_of(
    consumer: Any, *, group: str, topics: Sequence[str], partitions: int
) -> dict[TopicPartition, int]:
    """The offsets a consumer's group has committed. Raises WorkerFailed when any was with another number of partitions."""
    asked = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
    # `committed` asks for one partition, and keeps to itself what its commit says beside the offset.
    found = await consumer._coordinator.fetch_committed_offsets(asked)  # noqa: SLF001
    others = sorted(counts_of(each.metadata for each in found.values()) - {partitions})
    if others:
        raise WorkerFailed(
            f"The state of {group} was made with {', '.join(map(str, others))} partitions, and {topics[0]} has {partitions}: a "
            "workspace's next records lie elsewhere than its state. Stop whoever publishes and all workers, then run "
            "`chat-routing grow`, which says what is still to be done, and moves the state; docs/partitions.md has the whole way."
        )
    return {at: each.offset for at, each in found.items() if each.offset >= 0}
