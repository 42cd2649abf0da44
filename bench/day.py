"""The sample day as the router reads it: the input every measurement here runs on.

One rule: it is the same log every time (a fixed seed), acted out against the core in virtual time.
"""

from dataclasses import dataclass

from schemas.envelope import PartitionEnvelope
from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.rehearsal import Rehearsal
from services.router.core.partition import Entry

CHATS, SEED = 2_000, 1
DAY_MS = 3_600_000
PARTITIONS = 6


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
    day = sample_day.make(chats=CHATS, seed=SEED, curve=built_in_curve(), day_ms=DAY_MS, pace=1.0)
    rehearsal = Rehearsal(day, PARTITIONS)
    return [Record(rehearsed.envelope, rehearsed.entry) for rehearsed in rehearsal.run()]
