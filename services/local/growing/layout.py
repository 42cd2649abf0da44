"""How many partitions there are, with how many each state was made, and what must be done before any can be added.

One rule: here things are looked at, never changed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from schemas.topics import EVENTS, TOPICS
from services.local.errors import LocalError
from services.local.export import is_tick
from services.local.standing.look import EXACTLY_ONCE, READ, ROUTER
from services.local.topic_log import no_kafka, reached, start
from services.runtime.kafka import record_of
from services.runtime.partition_count import counts_of

LEAVE_LIMIT_S = 30.0
"""A static member that has stopped stays in its group for a session time-out, 6 s by default."""
READ_LIMIT_S = 120.0
"""How long what is not committed may take to be read: ticks, and records without effect."""
_POLL_INTERVAL_S = 0.5
_FETCH_WAIT_MS = 200

Offsets = dict[str, dict[TopicPartition, int]]
"""Committed offsets by group."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Partitions by topic; what each group has committed; and with how many partitions the states of the exactly-once ones were made."""

    counts: dict[str, int]
    committed: Offsets
    made_with: dict[str, frozenset[int]]

    @property
    def done_with(self) -> frozenset[int]:
        """Return all numbers of partitions that any state was made with."""
        return frozenset().union(*self.made_with.values())

    @property
    def is_whole(self) -> bool:
        """Return whether the state lies where its workspaces' records go: no partitions were added that it has not followed yet."""
        return len({*self.counts.values(), *self.done_with}) == 1


@asynccontextmanager
async def administering(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Give an admin client. Raises LocalError when nothing answers."""
    admin = AIOKafkaAdminClient(**reached(bootstrap).client())
    try:
        await admin.start()
        yield admin
    except KafkaConnectionError as error:
        raise LocalError(no_kafka(bootstrap)) from error
    finally:
        await admin.close()


async def look(admin: AIOKafkaAdminClient) -> Layout:
    """Return how it is now. Raises LocalError when a topic is absent."""
    counts = {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics()}
    absent = [topic.name for topic in TOPICS if topic.name not in counts]
    if absent:
        raise LocalError(f"There is no topic {', '.join(absent)}: run `chat-routing topics` first.")
    committed: Offsets = {}
    made_with: dict[str, frozenset[int]] = {}
    for group, topics in READ.items():
        found = await admin.list_consumer_group_offsets(group)
        told = {at: each for at, each in found.items() if at.topic in topics and each.offset >= 0}
        committed[group] = {at: each.offset for at, each in told.items()}
        if group in EXACTLY_ONCE:
            made_with[group] = counts_of(each.metadata for each in told.values())
    return Layout({topic.name: counts[topic.name] for topic in TOPICS}, committed, made_with)


def count_before(layout: Layout, *, wanted: int) -> int:
    """Return the number of partitions to begin from; `wanted` itself when all is done. Raises LocalError where there is no way."""
    if not layout.committed[ROUTER]:
        raise LocalError(
            f"The group {ROUTER} has committed nothing there, so there is no state to move: to begin anew, delete the topics and run "
            "`chat-routing topics --partitions N`."
        )
    others = layout.done_with - {wanted}
    if len(others) > 1:
        raise LocalError(
            f"The states were made with {_listed(others)} partitions: this is a mistake of ours."
        )
    # States of a version that did not say so yet: nobody has added partitions since then, or they would be lost already.
    before = next(iter(others)) if others else wanted if layout.done_with else layout.counts[EVENTS]
    if wanted % before or wanted < before:
        raise LocalError(
            f"There are {before} partitions: {before * 2}, {before * 3} or another multiple of them was expected, not {wanted}. Then a new "
            "partition takes workspaces from one old partition only, and its time and its offsets go on from there."
        )
    odd = {topic: count for topic, count in layout.counts.items() if count not in (before, wanted)}
    if odd:
        raise LocalError(
            f"The states were made with {before} partitions; these topics have neither as many nor {wanted}: {odd}."
        )
    return before


def _listed(counts: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(counts)))


async def demand_whole(bootstrap: str) -> None:
    """Raise LocalError while partitions have been added and the state has not followed: what is put into them now may be lost."""
    async with administering(bootstrap) as admin:
        layout = await look(admin)
    if not layout.is_whole:
        raise LocalError(
            "Partitions were added, and the workspaces' state has not moved there yet: what is put back now may be lost, or decided "
            "without its workspace. Finish `chat-routing grow` first (docs/partitions.md), then run this again."
        )


async def demand_stopped(admin: AIOKafkaAdminClient) -> None:
    """Raise LocalError unless no worker is left in any group."""
    deadline_s = asyncio.get_running_loop().time() + LEAVE_LIMIT_S
    while left := await _members(admin):
        if asyncio.get_running_loop().time() > deadline_s:
            told = ", ".join(f"{count} of {group}" for group, count in left.items())
            raise LocalError(f"Workers are still running: {told}. Stop all of them, and run it again.")
        await asyncio.sleep(_POLL_INTERVAL_S)


async def _members(admin: AIOKafkaAdminClient) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in READ:
        for answer in await admin.describe_consumer_groups([group]):
            for described in answer.groups:
                found[group] = len(described[5])
    return {group: count for group, count in found.items() if count}


async def demand_drained(bootstrap: str, layout: Layout, *, before: int) -> None:
    """Raise LocalError unless every group has processed all there is in the first `before` partitions, but for ticks."""
    waiting: list[str] = []
    for group, committed in layout.committed.items():
        if committed:  # a service that never ran has nothing to lose
            waiting += [
                f"{group}: {at.topic}, partition {at.partition}"
                for at in await _behind(bootstrap, group, committed, before)
            ]
    if waiting:
        more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        raise LocalError(
            f"Not everything is processed yet ({'; '.join(waiting[:5])}{more}): stop whoever publishes, let the workers run until "
            "`chat-routing status` shows no lag, then stop them and run it again. Where partitions were added by hand, workers run with "
            f"CHAT_DRAIN_PARTITIONS={before} until then."
        )


async def _behind(
    bootstrap: str, group: str, committed: dict[TopicPartition, int], before: int
) -> list[TopicPartition]:
    """The partitions in which a record follows the committed offset that is not the router's own tick."""
    parts = [TopicPartition(topic, number) for topic in READ[group] for number in range(before)]
    consumer = committed_reader(bootstrap)
    consumer.assign(parts)
    await start(consumer, bootstrap)
    try:
        begins, ends = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
        for part in parts:
            consumer.seek(part, max(committed.get(part, 0), begins[part]))
        behind: set[TopicPartition] = set()
        open_ = {part for part in parts if await consumer.position(part) < ends[part]}
        deadline_s = asyncio.get_running_loop().time() + READ_LIMIT_S
        while open_:
            if asyncio.get_running_loop().time() > deadline_s:
                raise LocalError(
                    f"Kafka at {bootstrap} does not deliver {min(open_).topic}: look at its health."
                )
            for part, records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).items():
                if any(part.topic != EVENTS or not is_tick(record_of(each)) for each in records):
                    behind.add(part)
            open_ = {part for part in open_ - behind if await consumer.position(part) < ends[part]}
        return sorted(behind)
    finally:
        await consumer.stop()


def committed_reader(bootstrap: str, **more: Any) -> AIOKafkaConsumer:
    """Return a consumer without a group that sees what was committed."""
    return AIOKafkaConsumer(
        **reached(bootstrap).client(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **more,
    )
