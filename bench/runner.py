"""The exactly-once runner on the sample day: a real Kafka, the router as a process, measured from outside.

One rule: the whole log is in the topic before the router starts, stamped as it was, so that it decides what the plain loop decides.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from bench.core import as_input
from bench.day import DAY_MS, PARTITIONS, Record
from bench.rows import Row
from schemas.topics import EVENTS, TOPICS
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topics import ensure_topics

GROUP = "bench-router"
LIMIT_S = 120.0
POLL_INTERVAL_S = 0.02


def measure(day: list[Record], report: Callable[[str], None]) -> list[Row]:
    """Return the runner's speed from when it says it is ready to its last commit. `report` is told what is going on."""
    report("starting Kafka")
    with EmbeddedKafka() as broker, tempfile.TemporaryDirectory() as logs:
        report("filling the topic")
        asyncio.run(_fill(broker.bootstrap, day))
        (port,) = free_ports(1)
        environment = {
            "CHAT_BOOTSTRAP": broker.bootstrap,
            "CHAT_GROUP": GROUP,
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_HTTP_PORT": str(port),
        }
        worker = Worker("router", "services.router.worker", port, environment)
        report("running the router")
        with Supervisor([worker], logs=Path(logs), settings=LocalSettings()) as supervisor:
            speed = asyncio.run(_watch(broker.bootstrap, day, supervisor))
    return [Row("exactly-once runner on a real Kafka", speed, "records/s")]


async def _fill(bootstrap: str, day: list[Record]) -> None:
    # The publisher's stamps, so that the day takes its hour in the log; they must not lie in the future.
    topics = tuple(
        replace(topic, config={**topic.config, "message.timestamp.type": "CreateTime"})
        if topic.name == EVENTS
        else topic
        for topic in TOPICS
    )
    await ensure_topics(bootstrap, partitions=PARTITIONS, topics=topics)
    shift_ms = int(time.time() * 1000) - 2 * DAY_MS - day[0].entry.at_ms
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=262_144, enable_idempotence=True
    ) as producer:
        sent = []
        for record in map(as_input, day):
            at_ms = record.timestamp_ms + shift_ms
            sent.append(
                await producer.send(
                    EVENTS, record.value, key=record.key, partition=record.partition, timestamp_ms=at_ms
                )
            )
        await asyncio.gather(*sent)


async def _watch(bootstrap: str, day: list[Record], supervisor: Supervisor) -> float:
    """Return the records a second between two looks at what is committed, the last one at the end of the day."""
    loaded = Counter(record.entry.partition for record in day)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        began_s = time.monotonic()
        first = await _committed(admin, loaded)
        while (now := await _committed(admin, loaded)) < loaded.total():
            supervisor.check()
            if time.monotonic() - began_s > LIMIT_S:
                raise TimeoutError(f"{now} of {loaded.total()} records within {LIMIT_S:g} s")
            await asyncio.sleep(POLL_INTERVAL_S)
        return (loaded.total() - first) / (time.monotonic() - began_s)
    finally:
        await admin.close()


async def _committed(admin: AIOKafkaAdminClient, loaded: Counter[int]) -> int:
    offsets = await admin.list_consumer_group_offsets(GROUP)
    return sum(
        min(max(found.offset, 0), loaded[part.partition])
        for part, found in offsets.items()
        if part.topic == EVENTS
    )
