"""What the tests on a real Kafka need: topics of their own, publishing, reading back, and worker processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import EVENT_BYTES_MAX, OWN_BYTES_MAX, Topic, dead_letters
from services.local.topics import ensure_topics

LIMIT_S = 40.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Topics and a group nobody else uses."""

    bootstrap: str
    name: str
    partitions: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return (f"{self.name}.in1", f"{self.name}.in2")

    @property
    def output(self) -> str:
        return f"{self.name}.out"

    @property
    def state(self) -> str:
        return f"{self.name}.state"

    def environment(self, inputs: int = 1) -> dict[str, str]:
        return {
            "CHAT_BOOTSTRAP": self.bootstrap,
            "CHAT_GROUP": self.name,
            "CHAT_INPUTS": json.dumps(self.inputs[:inputs]),
            "CHAT_OUTPUT": self.output,
            "CHAT_STATE": self.state,
            "CHAT_HTTP_PORT": "0",
        }


async def scene(bootstrap: str, *, partitions: int = 3, output_bytes_max: int = EVENT_BYTES_MAX) -> Scene:
    made = Scene(bootstrap, f"t{uuid.uuid4().hex[:8]}", partitions)
    large = {"max.message.bytes": str(OWN_BYTES_MAX)}
    log_time = {"message.timestamp.type": "LogAppendTime"}
    topics = (
        *(Topic(name, log_time) for name in made.inputs),
        *(Topic(dead_letters(name), large) for name in made.inputs),
        Topic(made.output, {"max.message.bytes": str(output_bytes_max)}),
        Topic(made.state, {"cleanup.policy": "compact", **large}),
    )
    await ensure_topics(bootstrap, partitions=partitions, replicas=1, topics=topics)
    return made


async def publish(
    of: Scene,
    records: Sequence[tuple[int, bytes, bytes]],
    *,
    topic: str = "",
    compression: str | None = None,
    request_bytes_max: int = 2**20,
) -> None:
    """Publishes (partition, key, value) records in order."""
    producer = AIOKafkaProducer(
        bootstrap_servers=of.bootstrap,
        compression_type=compression,
        linger_ms=2,
        max_request_size=request_bytes_max,
    )
    await producer.start()
    try:
        sent = [
            await producer.send(topic or of.inputs[0], value, key, partition)
            for partition, key, value in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read_all(of: Scene, topic: str, *, count: int | None = None) -> dict[int, list[Any]]:
    """The committed records of a topic by partition: up to its end, or until there are `count`."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=of.bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    tps = [TopicPartition(topic, partition) for partition in range(of.partitions)]
    consumer.assign(tps)
    await consumer.start()
    found: dict[int, list[Any]] = {tp.partition: [] for tp in tps}
    try:
        async with asyncio.timeout(LIMIT_S):
            await consumer.seek_to_beginning(*tps)
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=50)).items():
                    found[tp.partition].extend(records)
                if count is not None:
                    if sum(map(len, found.values())) >= count:
                        return found
                    continue
                ends = await consumer.end_offsets(tps)
                if all([await consumer.position(tp) >= end for tp, end in ends.items()]):
                    return found
    finally:
        await consumer.stop()


class Program:
    """A worker process."""

    def __init__(
        self, environment: dict[str, str], log: Path, *, module: str = "tests.runtime.counting"
    ) -> None:
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**os.environ, **environment},
                stdout=sink,
                stderr=sink,
            )

    def entries(self, event: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [entry for line in lines if (entry := json.loads(line)).get("event") == event]

    async def wait_for(self, event: str, *, times: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            while len(self.entries(event)) < times:
                assert self._process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)
        return self.entries(event)[-1]

    async def get(self, path: str) -> httpx.Response:
        port = (await self.wait_for("pages"))["port"]
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{port}{path}")

    async def ready(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while (answer := await self.get("/readyz")).status_code != 200:
                assert answer.status_code == 503
                await asyncio.sleep(0.05)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def arguments(self) -> str:
        """Its command line, as anybody on this machine sees it."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text("utf-8")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        return await asyncio.to_thread(self._process.wait, LIMIT_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
