"""Moves the state of workspaces to where their next records lie, and says so in the groups' commits: all of it, or nothing.

One rule: one transaction for both services. Until it is committed no worker goes on, and nothing has moved.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiokafka import TopicPartition

from schemas.topics import ROUTER_STATE, TRANSCRIPT_STATE
from services.local.errors import LocalError
from services.local.growing.layout import Layout, committed_reader
from services.local.partitions import partition_of
from services.local.standing.look import EXACTLY_ONCE, READ, ROUTER, TRANSCRIPT
from services.local.topic_log import TopicLog, start
from services.router import changelog as router
from services.runtime.kafka_client import Producer
from services.transcript import processor as transcript

MOVED_IN_FLIGHT_MAX = 500


@dataclass(frozen=True, slots=True)
class Store:
    """A service's changelog: whose each key is, and those that are a partition's own and that a new one begins with."""

    topic: str
    workspace_of: Callable[[bytes], str | None]
    own: frozenset[bytes]


STORES = {
    ROUTER: Store(ROUTER_STATE, router.workspace_of, frozenset([router.CLOCK])),
    TRANSCRIPT: Store(TRANSCRIPT_STATE, transcript.workspace_of, frozenset([transcript.PROGRESS])),
}


@dataclass(frozen=True, slots=True)
class Move:
    """A record for a partition of a changelog; without a value it deletes."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


def moves(store: Store, live: dict[bytes, bytes], *, number: int, before: int, wanted: int) -> Iterator[Move]:
    """Give what has to be written, in the order it was stored: to new partitions what is theirs, and its deletion here.

    Raises LocalError where a record is neither a workspace's nor one that every partition has: it waits for another one.
    """
    for key, value in live.items():
        workspace_id = store.workspace_of(key)
        if key in store.own:
            for new in range(number + before, wanted, before):
                yield Move(store.topic, new, key, value)
        elif workspace_id is None:
            raise LocalError(
                f"{store.topic}, partition {number}, still waits for records: start the workers again until all is processed."
            )
        elif (new := partition_of(workspace_id, partitions=wanted)) != number:
            if new % before != number:
                raise LocalError(
                    f"{store.topic}, partition {number}, holds a workspace whose records go to partition {new % before} of {before}: its "
                    "publisher does not use the partitioner for keys (murmur2). Mend that first; this can't be moved."
                )
            yield Move(store.topic, new, key, value)
            yield Move(store.topic, number, key, None)


async def stored(bootstrap: str, store: Store, number: int) -> dict[bytes, bytes]:
    """Return the live records of a changelog's partition, in the order they were last written."""
    live: dict[bytes, bytes] = {}
    async with TopicLog(bootstrap, (store.topic,), partition=number) as log:
        async for record in log.stream():
            assert record.key is not None, "a compacted topic takes no record without a key"
            live.pop(record.key, None)
            if record.value is not None:
                live[record.key] = record.value
    return live


async def move(
    bootstrap: str, producer: Producer, layout: Layout, *, before: int, wanted: int, told: Callable[[], None]
) -> int:
    """Move the state of both services; return how many records. `told` is called before the commit."""
    begins = await _begins(bootstrap, before=before, wanted=wanted)
    moved = 0
    await producer.begin_transaction()
    for group, store in STORES.items():
        for number in range(before):
            live = await stored(bootstrap, store, number)
            moved += await _write(producer, moves(store, live, number=number, before=before, wanted=wanted))
        offsets = {**layout.committed[group], **begins[group]}
        # The client can add one group to a transaction; made to forget it, it adds the next one too.
        producer._txn_manager._txn_consumer_group = None  # noqa: SLF001
        await producer.send_offsets_to_transaction(
            {at: (offset, str(wanted)) for at, offset in offsets.items()}, group
        )
    told()
    await producer.commit_transaction()
    return moved


async def _begins(bootstrap: str, *, before: int, wanted: int) -> dict[str, dict[TopicPartition, int]]:
    """Where each group begins in the new partitions: at their oldest record."""
    consumer = committed_reader(bootstrap)
    await start(consumer, bootstrap)
    try:
        return {
            group: await consumer.beginning_offsets(
                [TopicPartition(topic, number) for topic in READ[group] for number in range(before, wanted)]
            )
            for group in EXACTLY_ONCE
        }
    finally:
        await consumer.stop()


async def _write(producer: Producer, moves: Iterator[Move]) -> int:
    sent = []
    written = 0
    for each in moves:
        sent.append(await producer.send(each.topic, each.value, each.key, each.partition))
        written += each.value is not None
        if len(sent) >= MOVED_IN_FLIGHT_MAX:
            for delivery in sent:
                await delivery
            sent.clear()
    for delivery in sent:
        await delivery
    return written
