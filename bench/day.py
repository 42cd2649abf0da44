"""The sample day as the router reads it: the input every measurement here runs on.

One rule: it is the same log every time (a fixed seed), acted out against the core in virtual time. A longer input is the same
day again for other workspaces, acted out again, since offers and chats have names of their own there.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from schemas.envelope import PartitionEnvelope
from schemas.topics import EVENTS
from services.local import sample_day, scenario
from services.local.arrivals import built_in_curve
from services.local.partitions import partition_of
from services.local.rehearsal import Rehearsal
from services.local.sample_company import COMPANIES
from services.router.core.partition import Entry
from services.runtime.ports import InputRecord

CHATS, SEED = 2_000, 1
DAY_MS = 3_600_000
PARTITIONS = 6
_WORKSPACES = tuple(company.workspace_id for company in COMPANIES)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the input log."""

    value: bytes
    entry: Entry

    @property
    def is_tick(self) -> bool:
        """Whether the router wrote it."""
        return isinstance(self.entry.envelope, PartitionEnvelope)


def records() -> list[Record]:
    """Return the log of a day of 2,000 chats within an hour, ticks included, in order of time."""
    return _resolved(Rehearsal(_scenario(), PARTITIONS))


def repeated(pairs: int) -> list[InputRecord]:
    """Return the log of so many pairs of days, in order within each partition: one workspace on each, a new one each day."""
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        halves = pool.map(_half, (0, PARTITIONS // 2), (pairs, pairs))
        return [record for half in halves for record in half]


def _half(first: int, days: int) -> list[InputRecord]:
    """Return the log of one half of the partitions. The routers live on from day to day, without a gap: it would be an outage."""
    log: list[InputRecord] = []
    rehearsal = Rehearsal(_renamed(0, first), PARTITIONS)
    for number in range(1, days + 1):
        log += map(as_input, _resolved(rehearsal))
        head = replace(
            rehearsal.scenario.head, starts_at_ms=log[-1].timestamp_ms + rehearsal.tick_interval_ms
        )
        rehearsal = replace(rehearsal, scenario=replace(_renamed(number, first), head=head))
    return log


def _scenario() -> scenario.Scenario:
    """Return the day without its poison record, which nobody but us could answer."""
    day = sample_day.make(chats=CHATS, seed=SEED, curve=built_in_curve(), day_ms=DAY_MS, pace=1.0)
    return replace(day, poisoned=())


def _resolved(rehearsal: Rehearsal) -> list[Record]:
    return [Record(rehearsed.envelope, rehearsed.entry) for rehearsed in rehearsal.run()]


def _renamed(number: int, first: int) -> scenario.Scenario:
    """Return the day with its workspaces renamed so that each stands on a partition of its own, from `first` on."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        for line in scenario.write(_scenario()):
            renamed = line
            for place, old in enumerate(_WORKSPACES):
                partition = first + (place + number) % len(_WORKSPACES)
                renamed = renamed.replace(old.encode(), _name(old, number, partition=partition).encode())
            file.write(renamed)
        file.flush()
        return scenario.read(Path(file.name))


@cache
def _name(old: str, number: int, *, partition: int) -> str:
    names = (f"{old}-{number}-{attempt}" for attempt in count())
    return next(name for name in names if partition_of(name, partitions=PARTITIONS) == partition)


def as_input(record: Record) -> InputRecord:
    """Return the record as the runner would hand it over."""
    entry = record.entry
    envelope = entry.envelope
    key = str(entry.partition) if isinstance(envelope, PartitionEnvelope) else envelope.workspaceid
    return InputRecord(EVENTS, entry.partition, entry.offset, entry.at_ms, key.encode(), record.value)
