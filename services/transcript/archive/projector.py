"""Feeds the archive: reads the six topics from the offsets the archive holds, and writes batch after batch.

The one rule: nothing is remembered between batches but the offsets and the time there; after any failure they are read from the
database again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from services.runtime.logs import explain, log
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.transcript.archive.batch import Batch, Partition
from services.transcript.archive.clocks import Clock
from services.transcript.archive.database import Archive, Overtaken

BATCH_RECORDS_MAX = 2_000
"""Records written in one transaction."""
READ_WAIT_MS = 500
"""How long a read waits for the first record."""
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 30.0

_log = log(__name__)


class Log(Protocol):
    """Where records come from: Kafka, or lists in a test."""

    async def partitions(self) -> Mapping[Partition, int]:
        """All partitions of the topics with their ends as of now; waits until the topics exist."""

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Reads go on from these offsets, or from the oldest record still there."""

    async def read(self, *, records_max: int, wait_ms: int) -> Sequence[InputRecord]:
        """The next committed records, in order within each partition; none after `wait_ms`."""

    async def position(self, partition: Partition) -> int:
        """Where the next read of a partition begins, past what holds no record."""

    def end(self, partition: Partition) -> int:
        """The end of a partition that was read from, as far as it is known."""


class Projector:
    """Runs until it is told to stop. Killed at any moment, it leaves the archive whole."""

    def __init__(
        self,
        archive: Archive,
        source: Log,
        *,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._archive = archive
        self._source = source
        self._metrics = metrics
        self._sleep = sleep
        self._offsets: dict[Partition, int] = {}
        self._clocks: dict[Partition, Clock] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Archives until `stop` is set. A database or broker that fails is tried again, with growing waits; nothing is passed over."""
        backoff_s = BACKOFF_MIN_S
        placed = False
        while not stop.is_set():
            try:
                if not placed:
                    await self.place()
                    placed = True
                await self.step()
                backoff_s = BACKOFF_MIN_S
            except (Overtaken, SQLAlchemyError, KafkaError, OSError) as error:
                placed = False
                self._metrics.add("archive_failures")
                _log.warning("archive_failed", error=explain(error), wait_s=backoff_s)
                await self._wait(backoff_s, stop)
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)

    async def _wait(self, seconds: float, stop: asyncio.Event) -> None:
        """Waits, until `stop` at most: the longest wait is longer than the grace time."""
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.create_task(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def place(self) -> None:
        """Prepares the database if need be, reads the offsets from it and goes there."""
        ends = await self._source.partitions()
        # Before the database is asked: one that refuses everything is more behind each time.
        for partition, at in self._offsets.items():
            self._show_lag(partition, at=at, end=ends[partition])
        await self._archive.prepare()
        self._offsets = await self._archive.offsets(list(ends))
        self._clocks = await self._archive.clocks()
        await self._source.seek(self._offsets)

    async def step(self) -> int:
        """Writes one batch; returns how many records it held."""
        records = await self._source.read(records_max=BATCH_RECORDS_MAX, wait_ms=READ_WAIT_MS)
        if not records:
            await self._pass_markers()
            return 0
        batch = Batch(clocks=dict(self._clocks))
        following: dict[Partition, int] = {}
        for record in records:
            partition = (record.topic, record.partition)
            if record.offset >= following.get(partition, self._offsets[partition]):
                following[partition] = record.offset + 1
                batch.take(record)
        batch.moved = {partition: (self._offsets[partition], to) for partition, to in following.items()}
        await self._archive.write(batch)
        self._offsets.update(following)
        self._clocks.update(batch.clocks)
        self._metrics.add("archive_records", len(records))
        self._metrics.add("archive_unreadable", batch.unreadable)
        for partition, at in following.items():
            self._show_lag(partition, at=at, end=self._source.end(partition))
        return len(records)

    async def _pass_markers(self) -> None:
        """Shows the lag when all that was read is written: between the last record and the end stand only transactions' markers."""
        for partition in self._offsets:
            at = await self._source.position(partition)
            self._show_lag(partition, at=at, end=self._source.end(partition))

    def _show_lag(self, partition: Partition, *, at: int, end: int) -> None:
        topic, number = partition
        self._metrics.set("archive_lag_records", max(0, end - at), topic=topic, partition=str(number))
