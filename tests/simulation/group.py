"""The consumer group without Kafka: a coordinator, and a consumer on which the product's group, inboxes and fetch loop run.

One rule: it is as inconvenient as aiokafka: every assignment resets all positions, and some members learn of it late.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from services.runtime.kafka_group import KafkaGroup, _Listener
from services.runtime.settings import RuntimeSettings
from tests.runtime.memory import Broker
from tests.simulation.world import LossyWire, Process, World

GROUP = "group"
SETTINGS = RuntimeSettings(
    group=GROUP,
    batch_records_max=4,
    transactions_max=2,
    session_timeout_ms=3_000,
    commit_interval_ms=2_000,
    inbox_bytes_max=4_000,
)
"""Small, so that every limit is met within a short run."""
SESSION_S = SETTINGS.session_timeout_ms / 1000
FETCH_RECORDS_MAX = 6


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A record as the client library gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Consumer:
    """What the product uses of `AIOKafkaConsumer`: every assignment resets all positions and resumes everything."""

    def __init__(self, world: World, process: Process, broker: Broker, *, partitions: int) -> None:
        self.process = process
        self._partitions = partitions
        self.generation = -1
        self.deaf_until_s = 0.0
        self.tell: Callable[[frozenset[int], int], None] = lambda _share, _generation: None
        self._world = world
        self._broker = broker
        self._wire = LossyWire(world, process)
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    @property
    def _coordinator(self) -> "Consumer":
        """The product reads the generation there, and what the group has committed."""
        return self

    @property
    def silent(self) -> bool:
        """Whether the coordinator hears nothing of it."""
        now_s = self._world.now_s
        return self.process.dead or self.process.asleep_until_s > now_s or self.deaf_until_s > now_s

    def listen(self, listener: Any, topics: Iterable[str]) -> None:
        """Each share it is told is passed on as an assignment."""

        def tell(share: frozenset[int], generation: int) -> None:
            listener.on_partitions_revoked(list(self._positions))
            self.generation = generation
            tps = [TopicPartition(topic, number) for number in sorted(share) for topic in topics]
            self._positions = {at: self._broker.offsets.get(at, 0) for at in tps}
            self._ends.clear()
            self._paused.clear()
            listener.on_partitions_assigned(tps)

        self.tell = tell

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def _assigned(self, *tps: TopicPartition) -> None:
        if any(at not in self._positions for at in tps):
            raise IllegalStateError("not assigned")

    def pause(self, *tps: TopicPartition) -> None:
        self._assigned(*tps)
        self._paused.update(tps)

    def resume(self, *tps: TopicPartition) -> None:
        self._assigned(*tps)
        self._paused.difference_update(tps)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._assigned(at)
        self._positions[at] = offset

    async def position(self, at: TopicPartition) -> int:
        self._assigned(at)
        return self._positions[at]

    def highwater(self, at: TopicPartition) -> int | None:
        return self._ends.get(at)

    def partitions_for_topic(self, _topic: str) -> range:
        return range(self._partitions)

    async def fetch_committed_offsets(
        self, tps: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets = self._broker.offsets
        return await self._wire.call(
            "committed?",
            lambda: {
                at: OffsetAndMetadata(offsets[at], str(self._partitions)) for at in tps if at in offsets
            },
        )

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._wire.call("begin?", lambda: dict.fromkeys(tps, 0))

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._wire.call("ends?", lambda: {at: self._broker.stable_end(at) for at in tps})

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[_Fetched]]:
        """What is there after a moment, or when the time is over; sometimes again what was fetched before."""
        world, rng = self._world, self._world.rng
        if world.faults.rate and self._positions and rng.random() < world.faults.rate / 2:
            at = rng.choice(list(self._positions))
            self._positions[at] = rng.randint(0, self._positions[at])
            world.note(self.process.name, "fetch", "position_reset")
        waits = any(
            position < self._broker.stable_end(at)
            for at, position in self._positions.items()
            if at not in self._paused
        )
        await asyncio.sleep(rng.uniform(0, 0.05) if waits else timeout_ms / 1000)
        return {at: page for at in self._positions if (page := self._page(at))}

    def _page(self, at: TopicPartition) -> list[_Fetched]:
        if at in self._paused:
            return []
        most = self._world.rng.randint(1, FETCH_RECORDS_MAX)
        entries, self._positions[at] = self._broker.read(at, self._positions[at], records_max=most)
        self._ends[at] = self._broker.end(at)
        return [
            _Fetched(
                at.topic,
                at.partition,
                each.offset,
                each.at_ms,
                each.row.key,
                each.row.value,
                each.row.headers,
            )
            for each in entries
            if each.row is not None
        ]

    async def stop(self) -> None:
        """It says nothing to the group, as a static member does not."""


class Coordinator:
    """The group: who is a member, by host (static membership), and who has which partitions. Some learn it late."""

    def __init__(self, world: World, partitions: int) -> None:
        self._world = world
        self._partitions = partitions
        self._members: dict[int, Consumer] = {}
        self._generation = 0

    def join(self, host: int, consumer: Consumer) -> None:
        known = host in self._members
        self._members[host] = consumer
        if known:
            self._tell(host)
        else:
            self._rebalance()

    def watch(self, host: int) -> None:
        """A host has fallen silent: after a session time-out it is no member any more, unless it was heard of again."""
        self._world.after(SESSION_S, lambda: self._expire(host))

    def heard(self, host: int, consumer: Consumer) -> None:
        """It speaks again, and joins again if it was expelled."""
        if not consumer.silent:
            self.join(host, consumer)

    def _expire(self, host: int) -> None:
        consumer = self._members.get(host)
        if consumer is not None and consumer.silent:
            self._world.note(consumer.process.name, "group", "expelled")
            del self._members[host]
            self._rebalance()

    def _rebalance(self) -> None:
        self._generation += 1
        for host in sorted(self._members):
            self._tell(host)

    def _share(self, host: int) -> frozenset[int]:
        """The range assignor's."""
        hosts = sorted(self._members)
        each, more = divmod(self._partitions, len(hosts))
        place = hosts.index(host)
        start = place * each + min(place, more)
        return frozenset(range(start, start + each + (place < more)))

    def _tell(self, host: int) -> None:
        consumer, rng = self._members[host], self._world.rng
        delay_s = rng.uniform(0, 0.2)
        if self._world.faults.rate and rng.random() < 0.15:
            self._world.note(consumer.process.name, "group", "learns_late")
            delay_s = rng.uniform(1, 3 * SESSION_S)

        def learn() -> None:
            if self._members.get(host) is not consumer or consumer.silent:
                return
            if consumer.generation != self._generation:
                self._world.note(consumer.process.name, f"generation {self._generation}")
                consumer.tell(self._share(host), self._generation)

        consumer.process.call_later(delay_s, learn)


class SimulatedGroup(KafkaGroup):
    """The product's group over a consumer without Kafka."""

    def __init__(self, consumer: Consumer, join: Callable[[], None], **given: Any) -> None:
        super().__init__(SETTINGS, **given)
        self._without_kafka = consumer
        self._join = join

    async def _start(self) -> None:
        self._consumer = self._without_kafka
        self._without_kafka.listen(_Listener(self), self._topics)
        self._join()
