"""Dead letters: what a record that can't be read becomes, how many there may be, and how one goes back.

The one rule: the raw bytes are never changed; the reason stands in headers, by the names of KIP-1034. They are the last
headers of a letter, so that nothing a publisher sends passes for them.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.topics import dead_letters
from services.runtime.broker import Row
from services.runtime.failures import WorkerFailed
from services.runtime.ports import InputRecord

MINUTE_MS = 60_000
REASON_CHARS_MAX = 1_024
ORIGIN = "chat.dlq.origin"
"""Header of a record that was put back: the letter it was, as TOPIC/PARTITION/OFFSET."""
REDRIVEN = "chat.dlq.redriven"
"""The only header of a mark in a dead-letter topic: the offset in the original topic whose record was put back."""
_REASONS = tuple(
    f"__streams.errors.{name}" for name in ("exception", "message", "topic", "partition", "offset")
)


def dead_letter(record: InputRecord, error: Exception) -> tuple[str, Row]:
    """The topic and the row that take a refused record, written to the record's own partition number."""
    reasons = (
        type(error).__name__,
        str(error)[:REASON_CHARS_MAX],
        record.topic,
        str(record.partition),
        str(record.offset),
    )
    told = zip(_REASONS, (text.encode() for text in reasons), strict=True)
    return dead_letters(record.topic), Row(record.key, record.value, (*record.headers, *told))


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `record` is where and how it stands in its topic; the other fields are about the refused record."""

    record: InputRecord
    exception: str
    reason: str
    topic: str
    offset: int
    headers: tuple[tuple[str, bytes], ...]

    @property
    def place(self) -> str:
        """Where the letter stands: TOPIC/PARTITION/OFFSET."""
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"


def read_letter(record: InputRecord) -> Letter | None:
    """The letter in a record of a dead-letter topic, or None where no worker has written one."""
    own, told = record.headers[: -len(_REASONS)], record.headers[-len(_REASONS) :]
    if tuple(name for name, _ in told) != _REASONS:
        return None
    exception, reason, topic, partition, offset = (value.decode() for _, value in told)
    if record.topic != dead_letters(topic) or record.partition != int(partition):
        return None
    return Letter(record, exception, reason, topic, int(offset), own)


def put_back(letter: Letter) -> tuple[Row, Row]:
    """The refused record as it goes back to its topic, naming its letter, and the mark that says it has."""
    headers = (
        *((name, value) for name, value in letter.headers if name != ORIGIN),
        (ORIGIN, letter.place.encode()),
    )
    mark = ((REDRIVEN, str(letter.offset).encode()),)
    return Row(letter.record.key, letter.record.value, headers), Row(letter.record.key, None, mark)


def marked_offset(record: InputRecord) -> int | None:
    """The original offset a mark speaks of, or None where a record of a dead-letter topic is no mark."""
    match record.headers:
        case ((name, value),) if name == REDRIVEN:
            return int(value)
        case _:
            return None


class DeadLetterLimit:
    """Stops a worker that would otherwise drain a topic into its dead-letter topic. Shared by a process's partitions."""

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._counted: deque[tuple[int, int]] = deque()
        self._total = 0

    def limit(self, per_minute_max: int) -> None:
        """From now on there may be so many."""
        self._per_minute_max = per_minute_max

    @contextmanager
    def room(self, counts: Mapping[str, int], *, now_ms: int) -> Iterator[None]:
        """Counts these, by topic, while they are being written, and for a minute if that does not fail.

        Raises WorkerFailed if they are too many within the last minute.
        """
        self._check(counts, now_ms=now_ms)
        count = sum(counts.values())
        self._total += count  # from now on: others are writing theirs at the same time
        try:
            yield
        except BaseException:
            self._total -= count
            raise
        if count:
            self._counted.append((now_ms, count))

    def _check(self, counts: Mapping[str, int], *, now_ms: int) -> None:
        while self._counted and self._counted[0][0] <= now_ms - MINUTE_MS:
            self._total -= self._counted.popleft()[1]
        total = self._total + sum(counts.values())
        if counts and total > self._per_minute_max:
            topics = ", ".join(f"{count} of {topic}" for topic, count in sorted(counts.items()))
            raise WorkerFailed(
                f"{total} records within a minute could not be read (limit: {self._per_minute_max}), the last ones "
                f"{topics}: stopped, before a whole topic is drained into dead letters. The last ones are still to be "
                "read, the others are shown by `chat-routing dlq list`. If the rest is to go there too, raise "
                "CHAT_DEAD_LETTERS_PER_MINUTE_MAX and start again."
            )
