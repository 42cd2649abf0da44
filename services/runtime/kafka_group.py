"""The worker's membership in its consumer group: one fetch loop that fills an inbox for each partition number.

The one rule: the rebalance listener only pauses, seeks and tells who owns what; it never waits, since aiokafka sends no
heartbeat until it returns.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from services.runtime.broker import Batch, Offsets
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.inbox import Inbox
from services.runtime.kafka import RETRY_BACKOFF_MS, bounded, close_or_fail, record_of
from services.runtime.logs import explain, log, reason_of
from services.runtime.metrics import Metrics
from services.runtime.partition_count import commits_of, missing
from services.runtime.settings import RuntimeSettings

FETCH_WAIT_MS = 200
POSITIONS_INTERVAL_S = 0.5
TURN_WAIT_S = 0.25
"""Turns keep batches large and commits quick under load; no partition waits longer than this for one."""
TOPICS_INTERVAL_S = 0.25

_log = log(__name__)


def membership(settings: RuntimeSettings) -> dict[str, Any]:
    """The consumer's arguments: `read_committed`, and nothing commits but transactions."""
    return {
        **settings.client(),
        "client_id": settings.instance_id or settings.group,
        "group_id": settings.group,
        "group_instance_id": settings.instance_id,
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": settings.heartbeat_interval_ms,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_wait_ms": settings.fetch_max_wait_ms,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }


def membership_failed(group: str, error: Exception) -> WorkerFailed:
    """What an operator is told. aiokafka does not know FENCED_INSTANCE_ID (82), and answers UnknownError."""
    reason = reason_of(error)
    twins = "; if another process has the same CHAT_INSTANCE_ID, stop one of them"
    return WorkerFailed(
        f"The membership in group {group} has failed ({reason}){twins if 'UnknownError' in reason else ''}."
    )


class KafkaInputs:
    """The input topics of one partition number: an inbox, and the group's say about offsets."""

    def __init__(self, group: "KafkaGroup", partition: int, *, bytes_max: int) -> None:
        self.inbox = Inbox(bytes_max=bytes_max)
        self.reassigned_event = asyncio.Event()
        self.partitions = 0
        """With how many partitions the present life was begun: what its commits say."""
        self._group = group
        self._partition = partition
        self._holds_turn = False

    async def committed(self) -> Offsets:
        """Where to begin in each topic."""
        offsets = await self._group.committed(self._partition)
        self.partitions = self._group.partitions
        return offsets

    def open(self, offsets: Offsets) -> None:
        """Delivers records from here on."""
        self.inbox.open(offsets)
        self._group.follow(self._partition)

    def close(self) -> None:
        """Delivers nothing until it is opened again."""
        self._end_turn()
        self.inbox.close()
        self._group.follow(self._partition)

    async def take(self, *, records_max: int, wait_ms: int) -> Batch | None:
        """What has arrived when it is this partition's turn; the turn lasts until the next `take`, or `close`."""
        self._end_turn()
        await self.inbox.wait(wait_ms=wait_ms)
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._group.turns.acquire()
            self._holds_turn = True
        except TimeoutError:
            pass  # others hang, perhaps on a broker of theirs: that must not hold this one up
        batch = self.inbox.take(records_max=records_max)
        if batch is None or not batch.records:
            self._end_turn()
        self._group.make_room(self._partition)
        return batch

    def _end_turn(self) -> None:
        if self._holds_turn:
            self._holds_turn = False
            self._group.turns.release()

    def at_end(self, offsets: Offsets) -> bool:
        """Whether these offsets have reached the end of every topic."""
        return all(
            (end := self._group.end(topic, self._partition)) is not None and at >= end
            for topic, at in offsets.items()
        )

    async def reassigned(self, *, wait_ms: int) -> None:
        """Ends with the next assignment, when the group stops, or after `wait_ms`."""
        if self._group.stopping:
            return
        self.reassigned_event.clear()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self.reassigned_event.wait()
        except TimeoutError:
            return


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped for mypy
    """Passes assignments on. aiokafka logs and forgets a listener's exception, so it is kept for the fetch loop."""

    def __init__(self, group: "KafkaGroup") -> None:
        self._group = group

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing to do: who owns a partition next fences us, and until then we may go on."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            self._group.take_assignment(assigned)
        except Exception as error:  # noqa: BLE001 - kept, and raised by the fetch loop
            self._group.listener_error = error


class KafkaGroup:
    """One consumer, `read_committed`, that never commits by itself.

    `assigned` is called, without waiting, with the partition numbers of each new assignment, and whether assignments may
    have been missed in between (then nothing that was kept can be trusted).
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        topics: tuple[str, ...],
        changelog: str,
        metrics: Metrics,
        assigned: Callable[[frozenset[int], bool], None],
    ) -> None:
        self.listener_error: Exception | None = None
        self.stopping = False
        self.partitions = 0
        """How many there were when a partition's offsets were last asked for."""
        self.turns = asyncio.Semaphore(settings.transactions_max)
        self._settings = settings
        self._topics = topics
        self._changelog = changelog
        self._metrics = metrics
        self._assigned = assigned
        self._inputs: dict[int, KafkaInputs] = {}
        self._owned: frozenset[int] = frozenset()
        self._paused: set[int] = set()
        self._generation = -1
        self._positions_s = 0.0
        self._consumer: Any = None

    # ---------------------------------------------------------------- start and stop

    async def _start(self) -> None:
        """Finds Kafka and the topics, and joins the group. Raises WorkerFailed when either is not there in time."""
        settings = self._settings
        deadline_s = time.monotonic() + settings.start_limit_s
        while lacking := await missing(settings, (*self._topics, self._changelog)):
            if time.monotonic() > deadline_s:
                raise WorkerFailed(lacking)
            await asyncio.sleep(TOPICS_INTERVAL_S)
        self._consumer = AIOKafkaConsumer(**membership(settings))
        try:
            await bounded(self._consumer.start(), limit_s=settings.start_limit_s, doing="joining the group")
        except (TaskCorrupted, TaskMigrated) as error:
            raise WorkerFailed(f"Kafka at {settings.bootstrap} has gone away: {error}.") from error
        self._consumer.subscribe(list(self._topics), listener=_Listener(self))

    def stop(self) -> None:
        """Ends the fetch loop soon, and tells everybody who waits for records."""
        self.stopping = True
        for inputs in self._inputs.values():
            inputs.inbox.stop()
            inputs.reassigned_event.set()

    async def close(self) -> None:
        """Leaves the group (a static member's place is kept for a session time-out)."""
        if self._consumer is not None:
            await close_or_fail(
                self._consumer, limit_s=self._settings.stop_limit_s, what="The consumer of the group"
            )

    # ---------------------------------------------------------------- the fetch loop

    async def run(self) -> None:
        """Joins and fetches until stopped. Raises WorkerFailed: membership can't be repaired from inside."""
        await self._start()
        try:
            while not self.stopping:
                pages = await self._consumer.getmany(timeout_ms=FETCH_WAIT_MS)
                if self.listener_error is not None:
                    raise WorkerFailed(
                        f"An assignment failed: {reason_of(self.listener_error)}."
                    ) from self.listener_error
                for at, records in pages.items():
                    self._deliver(at, records)
                if asyncio.get_running_loop().time() - self._positions_s > POSITIONS_INTERVAL_S:
                    await self._pass_markers()
        except kafka_errors.ConsumerStoppedError:
            return
        except (kafka_errors.KafkaError, AssertionError) as error:
            raise membership_failed(self._settings.group, error) from error

    def _deliver(self, at: TopicPartition, records: list[Any]) -> None:
        inputs = self._inputs.get(at.partition)
        if inputs is None or not inputs.inbox.is_open:
            return
        inputs.inbox.put(at.topic, [record_of(record) for record in records])
        if inputs.inbox.full:
            self._paused.add(at.partition)
            self._consumer.pause(*self._tps(at.partition))

    async def _pass_markers(self) -> None:
        """Tells the inboxes about positions that moved without a record, and the metrics about the lag."""
        self._positions_s = asyncio.get_running_loop().time()
        for partition in self._owned:
            inbox = self._inputs[partition].inbox
            if not inbox.is_open:
                continue
            for at in self._tps(partition):
                try:
                    async with asyncio.timeout(POSITIONS_INTERVAL_S):
                        position = await self._consumer.position(at)
                except (TimeoutError, kafka_errors.IllegalStateError):
                    return  # a rebalance has begun: the next round knows more
                inbox.advance(at.topic, position)
                end = self.end(at.topic, partition)
                if end is not None:
                    lag = max(0, end - inbox.taken[at.topic])  # what waits in the inbox is not done
                    self._metrics.set("lag_records", lag, topic=at.topic, partition=str(partition))

    # ---------------------------------------------------------------- assignments

    def take_assignment(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the listener: every rebalance has reset all positions, and resumed everything."""
        by_number: dict[int, set[str]] = {}
        for at in assigned:
            by_number.setdefault(at.partition, set()).add(at.topic)
        for number in [each for each in by_number if each >= (self._settings.drain_partitions or each + 1)]:
            self._consumer.pause(*self._tps(number))
            del by_number[number]
        for number, topics in by_number.items():
            if topics != set(self._topics):
                raise WorkerFailed(f"partition {number} was assigned of {sorted(topics)} only")
        # The only trace of an expulsion that others have used meanwhile is a generation that was missed.
        generation: int = self._consumer._coordinator.generation  # noqa: SLF001
        missed = self._generation >= 0 and generation > self._generation + 1
        self._generation = generation
        for number in self._owned - set(by_number):
            for topic in self._topics:
                self._metrics.forget("lag_records", topic=topic, partition=str(number))
        self._owned = frozenset(by_number)
        self._paused.clear()
        for number in sorted(self._owned):
            inputs = self.inputs(number)
            if missed:
                inputs.inbox.close()
            self.follow(number)
            inputs.reassigned_event.set()
        self._metrics.add("rebalances")
        self._metrics.set("partitions_assigned", len(self._owned))
        _log.info("assigned", partitions=sorted(self._owned), generation=generation, missed=missed)
        self._assigned(self._owned, missed)

    def inputs(self, partition: int) -> KafkaInputs:
        """The inputs of a partition number; the same object for as long as the process runs."""
        inputs = self._inputs.get(partition)
        if inputs is None:
            bytes_max = self._settings.inbox_bytes_max
            inputs = self._inputs[partition] = KafkaInputs(self, partition, bytes_max=bytes_max)
        return inputs

    def follow(self, partition: int) -> None:
        """Makes the consumer fetch what the inbox wants next, or nothing."""
        if partition not in self._owned:
            return
        inbox = self._inputs[partition].inbox
        tps = self._tps(partition)
        try:
            if not inbox.is_open:
                self._consumer.pause(*tps)
                return
            for at in tps:
                self._consumer.seek(at, inbox.accepted[at.topic])
            self._paused.discard(partition)
            self._consumer.resume(*tps)
        except kafka_errors.IllegalStateError as error:
            # Not assigned any more: the listener is about to say so, and then follows again.
            _log.debug("not_assigned", partition=partition, error=explain(error))

    def make_room(self, partition: int) -> None:
        """Fetches again if the inbox has room."""
        if partition in self._paused and partition in self._owned and self._inputs[partition].inbox.roomy:
            self._paused.discard(partition)
            try:
                self._consumer.resume(*self._tps(partition))
            except kafka_errors.IllegalStateError as error:
                _log.debug("not_assigned", partition=partition, error=explain(error))

    # ---------------------------------------------------------------- offsets

    async def committed(self, partition: int) -> Offsets:
        """The committed offsets of a partition number, the oldest ones where there are none."""
        return await bounded(
            self._committed(partition),
            limit_s=self._settings.start_limit_s,
            doing=f"asking for the offsets of partition {partition}",
        )

    async def _committed(self, partition: int) -> Offsets:
        offsets: dict[str, int] = {}
        oldest = await self._consumer.beginning_offsets(self._tps(partition))
        self.partitions = self._settings.drain_partitions or len(
            self._consumer.partitions_for_topic(self._topics[0])
        )
        commits = await commits_of(
            self._consumer, group=self._settings.group, topics=self._topics, partitions=self.partitions
        )
        for at in self._tps(partition):
            committed = commits.get(at)
            offsets[at.topic] = oldest[at] if committed is None else max(committed, oldest[at])
            if committed is not None and committed < oldest[at]:
                lost = oldest[at] - committed
                self._metrics.add("records_expired", lost, topic=at.topic)
                _log.error("records_expired", topic=at.topic, partition=partition, offsets=lost)
        return offsets

    def end(self, topic: str, partition: int) -> int | None:
        """The high watermark as of the last fetch."""
        at = TopicPartition(topic, partition)
        if partition not in self._owned or at not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(at)
        return end

    async def ends(self) -> dict[int, Offsets]:
        """The ends of all owned partitions as the brokers know them now."""
        tps = [at for partition in self._owned for at in self._tps(partition)]
        if not tps:
            return {}
        found = await bounded(
            self._consumer.end_offsets(tps), limit_s=self._settings.io_limit_s, doing="asking for the ends"
        )
        ends: dict[int, dict[str, int]] = {}
        for at, end in found.items():
            ends.setdefault(at.partition, {})[at.topic] = end
        return dict(ends)

    def _tps(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in self._topics]
