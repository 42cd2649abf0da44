"""How long a workspace waits for its decisions while routers die, move and are restarted.

One rule: a gap is seen from outside: from the acknowledgement of an event to its decision at a `read_committed` reader, the longest of
all events of all partitions, while a small stream of events goes to each.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.processes import router
from bench.rows import Row
from schemas import codec
from schemas.events import OfferAccepted
from schemas.topics import EVENTS, PARTITIONS_DEFAULT, ROUTING
from services.local.partitions import partition_of
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor

KILLED_MAX_S, ROLLING_MAX_S = 15.0, 5.0
EVENT_INTERVAL_S = 0.1
"""Each partition gets an event so often."""
QUIET_S = 3.0
SETTLED_S = 1.0
SETTLE_LIMIT_S = 90.0
SESSION_S = 6.0
"""The workers' session time-out, after which a dead member's partitions go to the other."""
_FETCH_WAIT_MS = 50
_POLL_INTERVAL_S = 0.02
_NAMES = ("router-1", "router-2")


def measure(bootstrap: str, report: Callable[[str], None]) -> list[Row]:
    """Return the longest gap of each kind of outage. `report` is told what is going on."""
    report("starting two routers")
    workers = [router(name, bootstrap) for name in _NAMES]
    with (
        tempfile.TemporaryDirectory() as logs,
        Supervisor(workers, logs=Path(logs), settings=LocalSettings()) as supervisor,
    ):
        return asyncio.run(_act(bootstrap, supervisor, report))


async def _act(bootstrap: str, supervisor: Supervisor, report: Callable[[str], None]) -> list[Row]:
    victim = _NAMES[0]
    async with _stream(bootstrap, supervisor) as stream:
        report("nothing happens to two routers")
        await asyncio.sleep(QUIET_S)
        quiet_s = await stream.settled()

        report("killing a router, and starting it again")
        supervisor.kill_worker(victim)
        supervisor.launch_worker(victim)
        await asyncio.to_thread(supervisor.await_ready, victim)
        back_s = await stream.settled()

        report("restarting both, one after the other")
        rolling_s = 0.0
        for name in _NAMES:
            await asyncio.to_thread(supervisor.stop_worker, name)
            supervisor.launch_worker(name)
            await asyncio.to_thread(supervisor.await_ready, name)
            rolling_s = max(rolling_s, await stream.settled())

        report("killing a router for good")
        supervisor.kill_worker(victim)
        await asyncio.sleep(SESSION_S)
        taken_s = await stream.settled()
    return [
        Row("longest wait for a decision, two routers", quiet_s, "s"),
        Row("the same, one killed and started again", back_s, "s", KILLED_MAX_S),
        Row("the same, one killed, the other takes over", taken_s, "s", KILLED_MAX_S),
        Row("the same, both restarted in turn", rolling_s, "s", ROLLING_MAX_S),
    ]


class _Stream:
    """Events that are refused, each with exactly one decision: the router's state stays as it is."""

    def __init__(
        self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, check: Callable[[], None]
    ) -> None:
        self._producer = producer
        self._consumer = consumer
        self._check = check
        self._appended_s: dict[str, float] = {}
        """When each event was acknowledged that has no decision yet."""
        self._early: set[str] = set()
        """Decisions that were read before their event's acknowledgement was."""
        self._longest_s = 0.0

    async def publish(self) -> None:
        """Publish until cancelled."""
        names = [f"desk-{number}" for number in range(100 * PARTITIONS_DEFAULT)]
        by_partition = {partition_of(name, partitions=PARTITIONS_DEFAULT): name for name in names}
        assert len(by_partition) == PARTITIONS_DEFAULT
        for number in count():
            due_s = time.monotonic() + EVENT_INTERVAL_S
            await asyncio.gather(
                *(
                    self._send(workspace_id, f"{number}-{partition}")
                    for partition, workspace_id in by_partition.items()
                )
            )
            await asyncio.sleep(due_s - time.monotonic())

    async def _send(self, workspace_id: str, event_id: str) -> None:
        value = codec.encode(
            OfferAccepted(offer_id="none", chat_id="none", agent_id="nobody"),
            event_id=event_id,
            source="/bench",
            at_ms=time.time_ns() // 1_000_000,
            workspace_id=workspace_id,
        )
        await self._producer.send_and_wait(EVENTS, value, key=workspace_id.encode())
        if event_id in self._early:
            self._early.remove(event_id)
        else:
            self._appended_s[event_id] = time.monotonic()

    async def read(self) -> None:
        """Read decisions until cancelled."""
        while True:
            pages = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
            now_s = time.monotonic()
            for record in (record for page in pages.values() for record in page):
                event_id = orjson.loads(record.value)["data"]["cause"]["event_id"]
                if event_id in self._appended_s:
                    self._longest_s = max(self._longest_s, now_s - self._appended_s.pop(event_id))
                else:
                    self._early.add(event_id)

    async def settled(self) -> float:
        """Return the longest wait since the last call, once decisions come quickly again."""
        limit_s = time.monotonic() + SETTLE_LIMIT_S
        while self._appended_s and time.monotonic() - min(self._appended_s.values()) > SETTLED_S:
            self._check()
            if time.monotonic() > limit_s:
                raise TimeoutError(f"events wait for their decisions for more than {SETTLE_LIMIT_S:g} s")
            await asyncio.sleep(_POLL_INTERVAL_S)
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s


@asynccontextmanager
async def _stream(bootstrap: str, supervisor: Supervisor) -> AsyncIterator[_Stream]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="latest"
    )
    async with producer, consumer:
        consumer.assign([TopicPartition(ROUTING, number) for number in range(PARTITIONS_DEFAULT)])
        await consumer.seek_to_end()
        stream = _Stream(producer, consumer, supervisor.check)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(stream.publish()), tasks.create_task(stream.read())]
            try:
                yield stream
            finally:
                for task in running:
                    task.cancel()
