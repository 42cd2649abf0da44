"""Checks a service by its topics: the invariants, the stored state, and the offline run.

One rule: only what the router has committed is judged. Records behind its committed offsets, and decisions that
follow from those, are left out, so a service at work can be checked too.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas import codec
from schemas.envelope import to_ms
from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING, dead_letters
from services.local.errors import LocalError
from services.local.export import is_tick, refused_positions
from services.local.partitions import partition_of
from services.local.resending import is_resent
from services.local.topic_log import TopicLog, no_kafka, reached
from services.router.changelog import Changelog
from services.router.core.fold import differences
from services.router.core.invariants import Checker, Recorded, Violation
from services.router.core.partition import Emitted, Entry, Partition
from services.router.processor import read_entry
from services.router.records import encode_emitted
from services.runtime.ports import InputRecord

_STATE_POLL_INTERVAL_S = 0.1
_STATE_POLLS_MAX = 50
_CLOCK_KEY = b"clock"
TOPICS = (EVENTS, ROUTING, NOTICES, ROUTER_STATE, dead_letters(EVENTS))


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what is broken."""

    records: int
    decisions: int
    violations: list[Violation]


async def verify(bootstrap: str, *, group: str) -> Verified:
    """Read the topics of a service and check every partition. `group` is the router's. Raises LocalError."""
    offsets = await committed_offsets(bootstrap, group=group)
    if not offsets:
        raise LocalError(
            f"The group {group} has committed nothing at {bootstrap}: name the router's with --group."
        )
    async with TopicLog(bootstrap, TOPICS) as log:
        await catch_up(log)
        return check(log, offsets=offsets)


async def catch_up(log: TopicLog) -> list[InputRecord]:
    """Read on until the stored state is as new as the decisions, and return what is new.

    A transaction becomes visible on one topic a moment before it does on another.
    """
    new: list[InputRecord] = []
    for _ in range(_STATE_POLLS_MAX):
        new += await log.catch_up()
        if not any(_state_is_behind(log, number) for number in log.partitions_of(ROUTING)):
            break
        await asyncio.sleep(_STATE_POLL_INTERVAL_S)
    return new


def _state_is_behind(log: TopicLog, number: int) -> bool:
    decided, stored = log.of(ROUTING, number), log.of(ROUTER_STATE, number)
    if not decided:
        return False
    clocks = (record.value for record in reversed(stored) if record.key == _CLOCK_KEY)
    clock = next(clocks, None)
    decided_ms = to_ms(codec.decisions.decode(decided[-1].value).time)
    if clock is None:
        return True
    partition = Partition(number)
    Changelog(partition).restore(_CLOCK_KEY, clock)
    return partition.clock.last_ms < decided_ms


async def committed_offsets(bootstrap: str, *, group: str, topic: str = EVENTS) -> dict[int, int]:
    """Return up to where a group has processed each partition of its input. Raises LocalError when Kafka does not tell."""
    admin = AIOKafkaAdminClient(**reached(bootstrap).client())
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(group)
    except KafkaConnectionError as error:
        raise LocalError(no_kafka(bootstrap)) from error
    except KafkaError as error:
        raise LocalError(
            f"Kafka does not tell what {group} has committed ({type(error).__name__})."
        ) from error
    finally:
        await admin.close()
    return {
        part.partition: about.offset
        for part, about in offsets.items()
        if isinstance(part, TopicPartition) and part.topic == topic and about.offset >= 0
    }


def check(log: TopicLog, *, offsets: dict[int, int]) -> Verified:
    """Check every partition of what has been read, up to `offsets`."""
    refused = refused_positions(log.all_of(dead_letters(EVENTS)))
    violations: list[Violation] = []
    records = decisions = 0
    for number in log.partitions_of(EVENTS):
        if log.begins[EVENTS, number] > 0:
            raise LocalError(
                "The input log no longer begins at its beginning (records are past their retention):"
                " this version checks whole logs only."
            )
        end = offsets.get(number, 0)
        entries = list(entries_of(log.of(EVENTS, number), refused=refused, end=end))
        last_ms = max((entry.at_ms for entry in entries), default=0)
        notices = [record for record in log.of(NOTICES, number) if not is_resent(record)]
        decided, told = (
            list(_until(recorded(records), end=end, last_ms=last_ms))
            for records in (log.of(ROUTING, number), notices)
        )
        checker = Checker(number, decisions=decided, notices=told)
        for entry in entries:
            checker.enter(entry)
        violations += checker.finish()
        at_rest = all(is_tick(record) for record in log.of(EVENTS, number) if record.offset >= end)
        at_rest &= len(decided) + len(told) == len(log.of(ROUTING, number)) + len(notices)
        if at_rest and not violations:
            violations += _state_differs(checker, log.of(ROUTER_STATE, number))
        records += len(entries)
        decisions += len(decided) + len(told)
    return Verified(records, decisions, violations)


def entries_of(records: Iterable[InputRecord], *, refused: set[tuple[int, int]], end: int) -> Iterator[Entry]:
    """Give the records before offset `end` as the router read them: without dead letters and unknown types."""
    for record in records:
        if record.offset >= end:
            return
        if (record.partition, record.offset) not in refused:
            try:
                yield read_entry(record)
            except codec.UnknownType:
                continue


def recorded(records: Iterable[InputRecord]) -> Iterator[Recorded]:
    """Give the decisions or notices of a partition."""
    for record in records:
        envelope = (codec.decisions if record.topic == ROUTING else codec.notices).decode(record.value)
        yield Recorded(envelope.data, envelope.id, to_ms(envelope.time), envelope.workspaceid)


def _until(decided: Iterable[Recorded], *, end: int, last_ms: int) -> Iterator[Recorded]:
    """Give decisions up to the first that follows from something behind the end."""

    def before(item: Recorded) -> bool:
        cause = item.data.cause
        behind = cause is not None and cause.offset is not None and cause.offset >= end
        return not behind and item.at_ms <= last_ms

    return takewhile(before, decided)


def _state_differs(checker: Checker, stored: Iterable[InputRecord]) -> list[Violation]:
    """Compare the state rebuilt from inputs and decisions with the one the router stored (7)."""
    latest: dict[bytes, bytes | None] = {}
    for record in stored:
        latest.pop(record.key or b"", None)
        latest[record.key or b""] = record.value
    partition = Partition(checker.fold.partition.number)
    changelog = Changelog(partition)
    for key, value in latest.items():
        if value is not None:
            changelog.restore(key, value)
    changelog.restored()
    return [
        Violation(7, name, "the stored state differs from inputs and decisions")
        for name in differences(checker.fold.partition, partition)
    ]


def replay_differs(emitted: Iterable[Emitted], log: TopicLog) -> list[str]:
    """Compare an offline run with what stands in the topics, record for record; at most one sentence a partition."""
    numbers = log.partitions_of(ROUTING)
    wanted: dict[tuple[str, int], list[tuple[bytes, bytes | None]]] = {
        (topic, number): [] for topic in (ROUTING, NOTICES) for number in numbers
    }
    for item in emitted:
        record = encode_emitted(item)
        number = partition_of(item.workspace_id, partitions=len(numbers))
        wanted[record.topic, number].append((record.key, record.value))
    sentences = []
    for (topic, number), records in wanted.items():
        found = [(record.key, record.value) for record in log.of(topic, number)]
        if found != records:
            pairs = zip(found, records, strict=False)
            place = next(
                (at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(records))
            )
            sentences.append(
                f"{topic} partition {number}: {len(found)} records, replayed {len(records)}; they differ from record {place + 1} on"
            )
    return sentences
