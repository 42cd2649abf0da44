"""Sample days acted out against the core, shared by tests: made once a process, never changed."""

from dataclasses import replace
from functools import cache

from schemas.notices import Notice
from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.input_log import empty_snapshot, line
from services.local.rehearsal import Rehearsal, Rehearsed
from services.local.scenario import Scenario
from services.router.core.invariants import Recorded
from services.router.core.partition import Emitted

PARTITIONS = 6


@cache
def day(chats: int, seed: int = 1) -> Scenario:
    return sample_day.make(chats=chats, seed=seed, curve=built_in_curve(), day_ms=chats * 15, pace=40)


@cache
def rehearsal(chats: int, seed: int = 1) -> tuple[Rehearsal, tuple[Rehearsed, ...]]:
    acted = Rehearsal(day(chats, seed), PARTITIONS, 100)
    return acted, tuple(acted.run())


def log_of(records: tuple[Rehearsed, ...]) -> bytes:
    return empty_snapshot(at_ms=0) + b"".join(
        line(one.envelope, partition=one.entry.partition, offset=one.entry.offset, at_ms=one.entry.at_ms)
        for one in records
    )


def recorded(emitted: Emitted) -> Recorded:
    data = replace(emitted.data, cause=emitted.cause)
    return Recorded(data, emitted.id, emitted.at_ms, emitted.workspace_id)


def split(records: tuple[Rehearsed, ...], partition: int) -> tuple[list[Recorded], list[Recorded]]:
    """The decisions and the notices of a partition."""
    all_of = [recorded(item) for one in records if one.entry.partition == partition for item in one.emitted]
    return (
        [item for item in all_of if not isinstance(item.data, Notice)],
        [item for item in all_of if isinstance(item.data, Notice)],
    )
