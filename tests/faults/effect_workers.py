"""What the faults of notifier and crm_sync are acted on: a Kafka with their topics, their processes, and what their ledgers say.

The one rule: what was in flight when a worker was killed is read from its ledger (begun and not settled), so that whatever was done
twice can be traced to a kill, one by one.
"""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import codec
from services.local.partitions import partition_of

LIMIT_S = 240.0
"""Everything happens within that, also where all the other tests run beside."""
POLL_INTERVAL_S = 0.05
ASK_INTERVAL_S = 0.3
"""Between two questions to a broker or a page, which take time from those who are asked."""
TRANSACTION_RECORDS = 100
PARTITIONS = 6


def workspaces(count: int, *, partition: int | None = None, stem: str = "w") -> list[str]:
    """Return so many names of workspaces, all of one partition where one is given."""
    names = (f"{stem}-{number}" for number in range(100 * count))
    fitting = (
        name for name in names if partition is None or partition_of(name, partitions=PARTITIONS) == partition
    )
    return [next(fitting) for _ in range(count)]


def encoded(data: Any, workspace_id: str, event_id: str) -> bytes:
    """Return a record as router or transcript would write it."""
    return codec.encode(data, event_id=event_id, source="/tests", at_ms=1_000, workspace_id=workspace_id)


async def publish(bootstrap: str, topic: str, records: Iterable[tuple[str, bytes]]) -> None:
    """Publish records, each with its workspace, in transactions as the workers before these do."""
    records = list(records)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"tests-{topic}")
    await producer.start()
    try:
        for start in range(0, len(records), TRANSACTION_RECORDS):
            async with producer.transaction():
                sent = [
                    await producer.send(topic, value, key=workspace_id.encode())
                    for workspace_id, value in records[start : start + TRANSACTION_RECORDS]
                ]
                await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def outcomes(bootstrap: str, topic: str) -> list[Any]:
    """Return the envelopes that stand in an outcome topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(places)
    await consumer.start()
    found: list[Any] = []
    try:
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while not all([await consumer.position(place) >= end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [orjson.loads(record.value) for record in records]
    finally:
        await consumer.stop()
    return found


async def lag(bootstrap: str, topic: str, group: str, partitions: Iterable[int] = range(PARTITIONS)) -> int:
    """Return how many offsets of a topic a group has still to commit, not counting the marker at the end of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    places = [TopicPartition(topic, number) for number in partitions]
    consumer.assign(places)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(places)
        committed = {place: await consumer.committed(place) or 0 for place in places}
        return sum(max(0, end - 1 - committed[place]) for place, end in ends.items())
    finally:
        await consumer.stop()


class EffectWorker:
    """A worker process with side effects, that can be killed and started again."""

    def __init__(self, module: str, environment: Mapping[str, str], *, folder: Path, name: str) -> None:
        self._module = module
        self._environment = environment
        self.log = folder / f"{name}.log"
        self._life_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    def start(self) -> None:
        """Begin a new life."""
        self._life_bytes = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**os.environ, **self._environment},
                stdout=sink,
                stderr=sink,
            )

    def kill(self) -> None:
        """Kill -9, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Return the exit code of a worker that ends."""
        assert self._process is not None
        async with asyncio.timeout(LIMIT_S):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110  a process has no event
                await asyncio.sleep(POLL_INTERVAL_S)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def told(self) -> str:
        """Return what this life has logged."""
        with self.log.open("rb") as log:
            log.seek(self._life_bytes)
            return log.read().decode()

    async def get(self, path: str) -> httpx.Response:
        """Ask one of its pages."""
        pattern = re.compile(r'"port": ?(\d+)')
        async with asyncio.timeout(LIMIT_S):
            while True:
                pages = [line for line in self.told().splitlines() if '"pages"' in line]
                if pages and (found := pattern.search(pages[-1])):
                    async with httpx.AsyncClient() as client:
                        return await client.get(f"http://127.0.0.1:{found.group(1)}{path}", timeout=LIMIT_S)
                assert self.running, self.told()[-4_000:]
                await asyncio.sleep(POLL_INTERVAL_S)

    async def ready(self) -> bool:
        """Whether it has its partitions; it can be stopped in order then."""
        return (await self.get("/readyz")).status_code == 200

    async def metric(self, sample: str) -> float:
        """Return the value of a metric, named as the page shows it, labels included; 0 when it is not there."""
        for line in (await self.get("/metrics")).text.splitlines():
            if line.startswith(f"chat_{sample} "):
                return float(line.rpartition(" ")[2])
        return 0.0


def begun(ledger: Path) -> set[str]:
    """Return the effects that were begun and not settled."""
    with closing(sqlite3.connect(ledger)) as database:
        rows = database.execute("SELECT DISTINCT effect_id FROM effects WHERE state = 'claimed'")
        return {effect for (effect,) in rows}


async def until(condition: Callable[[], bool | Awaitable[bool]], *workers: EffectWorker) -> None:
    """Return when the condition holds, these workers running meanwhile."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer, interval_s = condition(), POLL_INTERVAL_S
            if not isinstance(answer, bool):
                answer, interval_s = await answer, ASK_INTERVAL_S
            if answer:
                return
            for worker in workers:
                assert worker.running, worker.told()[-4_000:]
            await asyncio.sleep(interval_s)
