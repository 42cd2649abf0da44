"""Writes the input log of a running service as a file that `replay` reads.

One rule: what was dead-lettered is left out, since no router decided anything by it; everything else is copied as it
stands, in the order of its partition.
"""

from collections.abc import Iterable, Iterator
from heapq import merge

from schemas import codec
from schemas.envelope import PartitionEnvelope
from schemas.topics import EVENTS, dead_letters
from services.local.errors import LocalError
from services.local.input_log import empty_snapshot, line
from services.local.topic_log import TopicLog
from services.runtime.deadletter import read_letter
from services.runtime.ports import InputRecord

TOPICS = (EVENTS, dead_letters(EVENTS))


async def export(bootstrap: str, *, workspace_id: str | None = None) -> list[bytes]:
    """Return the lines of the whole input log, or of one workspace and the ticks of its partition. Raises LocalError."""
    async with TopicLog(bootstrap, TOPICS) as log:
        await log.catch_up()
        return list(lines(log, workspace_id=workspace_id))


def lines(log: TopicLog, *, workspace_id: str | None = None) -> Iterator[bytes]:
    """Give the lines of what has been read of the input log; snapshot first, then by time, in order per partition."""
    refused = refused_positions(log.all_of(dead_letters(EVENTS)))
    numbers = log.partitions_of(EVENTS)
    for number in numbers:
        if log.begins[EVENTS, number] > 0:
            raise LocalError(
                "The input log no longer begins at its beginning (records are past their retention):"
                " this version exports whole logs only."
            )
    kept = [
        [record for record in log.of(EVENTS, number) if (number, record.offset) not in refused]
        for number in numbers
    ]
    if workspace_id is not None:
        kept = [_of_workspace(records, workspace_id) for records in kept]
    timed = list(merge(*(_timed(records) for records in kept)))
    yield empty_snapshot(at_ms=timed[0][0] if timed else 0)
    for _, partition, offset, record in timed:
        assert record.value is not None, "a record without a value is dead-lettered"
        yield line(record.value, partition=partition, offset=offset, at_ms=record.timestamp_ms)


def refused_positions(letters: Iterable[InputRecord]) -> set[tuple[int, int]]:
    """Return where the dead-lettered records of the input log stood: (partition, offset)."""
    return {(record.partition, letter.offset) for record in letters if (letter := read_letter(record))}


def _timed(records: list[InputRecord]) -> Iterator[tuple[int, int, int, InputRecord]]:
    """Give the records with the time they are sorted by, which never goes back, as in the core."""
    last_ms = 0
    for record in records:
        last_ms = max(last_ms, record.timestamp_ms)
        yield last_ms, record.partition, record.offset, record


def _of_workspace(records: list[InputRecord], workspace_id: str) -> list[InputRecord]:
    key = workspace_id.encode()
    if not any(record.key == key for record in records):
        return []
    return [record for record in records if record.key == key or is_tick(record)]


def is_tick(record: InputRecord) -> bool:
    """Return whether a record of the input log is the router's own tick."""
    try:
        return isinstance(codec.events.decode(record.value), PartitionEnvelope)
    except (codec.Poison, codec.UnknownType):
        return False
