"""The broker with the day in it, and the watch over whoever reads it.

One rule: speed is what lies between two committed positions, so that starting up and joining the group count for nobody.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from bench.contender import COUNTS_OUT, PLAIN_OUT, Contender, Running, started
from bench.day import PARTITIONS
from schemas.topics import EVENTS, TOPICS, Topic
from services.local.kafka import EmbeddedKafka
from services.local.topics import ensure_topics
from services.runtime.ports import InputRecord

DONE = 0.98
"""Of the input: after so much some partitions come to their end before the others."""
ROUND_LIMIT_S = 120.0
POLL_INTERVAL_S = 0.02
EMPTY_POLLS_MAX = 500
FILL_BATCH_BYTES = 512 * 1024
AGO_MS = 24 * 3600 * 1000
"""The input is stamped so long before now, a little more than it lasts: no record may be of the future."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What lies between two committed positions of a group."""

    records: int
    seconds: float
    cpu_s: tuple[float, ...]
    """Of each process."""

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the contender's processes for each record."""
        return sum(self.cpu_s) / self.records * 1e6


@dataclass(frozen=True, slots=True)
class _Seen:
    at_s: float
    records: int
    cpu_s: tuple[float, ...]


class TooSlow(Exception):
    """A contender has committed too little in a round to say anything."""


class Stage:
    """A broker that holds the input; entered, it is filled."""

    def __init__(self, log: Sequence[InputRecord], folder: Path) -> None:
        self._log = log
        self._folder = folder
        self._kafka = EmbeddedKafka()
        self._rounds = 0

    def __enter__(self) -> Self:
        self._kafka.start()
        try:
            asyncio.run(self._fill())
        except BaseException:
            self._kafka.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kafka.stop()

    # ---------------------------------------------------------------- input

    async def _fill(self) -> None:
        await _create(self._kafka.bootstrap)
        # Whole batches, without a gap in the offsets: the names of offers are made of them.
        later_ms = int(time.time() * 1000) - AGO_MS - min(record.timestamp_ms for record in self._log)
        async with AIOKafkaProducer(
            bootstrap_servers=self._kafka.bootstrap,
            max_batch_size=FILL_BATCH_BYTES,
            enable_idempotence=True,
        ) as producer:
            deliveries = []
            batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
            for record in self._log:
                row = {
                    "key": record.key,
                    "value": record.value,
                    "timestamp": record.timestamp_ms + later_ms,
                }
                if batches[record.partition].append(**row) is None:
                    full = batches[record.partition]
                    deliveries.append(await producer.send_batch(full, EVENTS, partition=record.partition))
                    batches[record.partition] = producer.create_batch()
                    batches[record.partition].append(**row)
            for partition, batch in batches.items():
                deliveries.append(await producer.send_batch(batch, EVENTS, partition=partition))
            await asyncio.gather(*deliveries)

    # ---------------------------------------------------------------- rounds

    def run(self, contender: Contender, *, window_s: float = ROUND_LIMIT_S) -> Measured:
        """Run a contender from the input's beginning to its end, or for `window_s` once it is warm. Raises Ended or TooSlow."""
        self._rounds += 1
        bootstrap, group = self._kafka.bootstrap, f"bench-{self._rounds}"
        asyncio.run(_empty(bootstrap, contender.empty))
        with started(contender, bootstrap=bootstrap, group=group, folder=self._folder) as running:
            return asyncio.run(self._watch(running, window_s=window_s))

    async def _watch(self, running: Running, *, window_s: float) -> Measured:
        bootstrap, topics = self._kafka.bootstrap, running.contender.inputs
        total = await _ends(bootstrap, topics)
        async with _admin(bootstrap) as admin:
            began_s = time.monotonic()
            first = last = _Seen(began_s, 0, running.cpu_s())
            while last.records < DONE * total and last.at_s - first.at_s < window_s:
                if time.monotonic() - began_s > ROUND_LIMIT_S:
                    break
                cpu_s = running.cpu_s()
                records = await _committed(admin, running.group, topics)
                if records > last.records:
                    last = _Seen(time.monotonic(), records, cpu_s)
                    if first.records < running.contender.warm_up * total:
                        first = last
                await asyncio.sleep(POLL_INTERVAL_S)
        if last.records == first.records:
            raise TooSlow(
                f"{running.contender.name} committed {last.records} of {total} records, too few to tell"
            )
        cpu_s = tuple(after - before for before, after in zip(first.cpu_s, last.cpu_s, strict=True))
        return Measured(last.records - first.records, last.at_s - first.at_s, cpu_s)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _committed(admin: AIOKafkaAdminClient, group: str, topics: Sequence[str]) -> int:
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        return 0  # the first group of this broker: its topic is being made
    return sum(max(found.offset, 0) for at, found in offsets.items() if at.topic in topics)


async def _ends(bootstrap: str, topics: Sequence[str]) -> int:
    ats = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    async with consumer:
        return sum((await consumer.end_offsets(ats)).values())


async def _create(bootstrap: str) -> None:
    # The publisher's stamps instead of the broker's, so that each day takes its hour in the log.
    topics = tuple(
        replace(topic, config={**topic.config, "message.timestamp.type": "CreateTime"})
        if topic.name == EVENTS
        else topic
        for topic in TOPICS
    )
    await ensure_topics(
        bootstrap, partitions=PARTITIONS, topics=(*topics, Topic(PLAIN_OUT), Topic(COUNTS_OUT))
    )


async def _empty(bootstrap: str, topics: Sequence[str]) -> None:
    """Delete topics and make them anew: what an earlier round left behind would be restored."""
    if not topics:
        return
    async with _admin(bootstrap) as admin:
        await admin.delete_topics(list(topics))
        for _ in range(EMPTY_POLLS_MAX):
            if not {topic["topic"] for topic in await admin.describe_topics()} & set(topics):
                break
            await asyncio.sleep(POLL_INTERVAL_S)
    await _create(bootstrap)
