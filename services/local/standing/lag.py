"""How far the consumer groups are behind, asked from Kafka: for partitions no worker speaks for.

One rule: it is only a look; a Kafka that does not answer in time costs the picture its lags, nothing more.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.local.standing.look import READ
from services.local.standing.model import Lags
from services.local.topic_log import reached

LOOK_LIMIT_S = 4.0
"""A group's coordinator, its offsets and the ends of six topics are asked for; each takes milliseconds."""


async def lags(bootstrap: str, services: Iterable[str]) -> Lags | None:
    """Return each group's lag by partition, over all that it reads, or None where Kafka does not tell."""
    client = reached(bootstrap).client()
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            admin, consumer = AIOKafkaAdminClient(**client), AIOKafkaConsumer(**client, group_id=None)
            try:
                await admin.start()
                await consumer.start()
                return {service: await _lag(admin, consumer, service) for service in services}
            finally:
                await consumer.stop()
                await admin.close()
    except (TimeoutError, OSError, KafkaError):
        return None


async def _lag(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, service: str) -> dict[int, int]:
    described = await admin.describe_topics(list(READ[service]))
    parts = [
        TopicPartition(topic["topic"], part["partition"])
        for topic in described
        for part in topic["partitions"]
    ]
    committed = await admin.list_consumer_group_offsets(service, partitions=parts)
    begins, ends = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
    behind: dict[int, int] = defaultdict(int)
    for part in parts:
        at = committed[part].offset if part in committed else -1
        # Nothing committed: it would begin at the oldest there is.
        behind[part.partition] += max(0, ends[part] - max(at, begins[part]))
    return dict(behind)
