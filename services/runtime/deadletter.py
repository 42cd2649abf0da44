"""Dead letters: what a record that can't be read becomes, and how many there may be.

The one rule: the raw bytes are never changed; the reason stands in headers, by the names of KIP-1034.
"""

from collections import deque
from collections.abc import Mapping

from schemas.topics import dead_letters
from services.runtime.broker import Row
from services.runtime.failures import WorkerFailed
from services.runtime.ports import InputRecord

MINUTE_MS = 60_000
REASON_CHARS_MAX = 1_024
_PREFIX = "__streams.errors."


def dead_letter(record: InputRecord, error: Exception) -> tuple[str, Row]:
    """The topic and the row that take a refused record, written to the record's own partition number."""
    headers = (
        *record.headers,
        (f"{_PREFIX}exception", type(error).__name__.encode()),
        (f"{_PREFIX}message", str(error)[:REASON_CHARS_MAX].encode()),
        (f"{_PREFIX}topic", record.topic.encode()),
        (f"{_PREFIX}partition", str(record.partition).encode()),
        (f"{_PREFIX}offset", str(record.offset).encode()),
    )
    return dead_letters(record.topic), Row(record.key, record.value, headers)


class DeadLetterLimit:
    """Stops a worker that would otherwise drain a topic into its dead-letter topic. Shared by a process's partitions."""

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._counted: deque[tuple[int, int]] = deque()
        self._total = 0

    def check(self, counts: Mapping[str, int], *, now_ms: int) -> None:
        """Raises WorkerFailed if these, by topic and not yet committed, are too many within the last minute."""
        while self._counted and self._counted[0][0] <= now_ms - MINUTE_MS:
            self._total -= self._counted.popleft()[1]
        if counts and self._total + sum(counts.values()) > self._per_minute_max:
            topics = ", ".join(sorted(counts))
            raise WorkerFailed(
                f"More than {self._per_minute_max} records within a minute could not be read, the last ones from {topics}: "
                "stopped, before a whole topic is drained into dead letters. Look at the dead letters; if the rest is to "
                "go there too, raise CHAT_DEAD_LETTERS_PER_MINUTE_MAX and start again."
            )

    def committed(self, count: int, *, now_ms: int) -> None:
        """Counts dead letters that stand in their topic."""
        self._counted.append((now_ms, count))
        self._total += count
