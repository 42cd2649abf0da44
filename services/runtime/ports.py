"""What the exactly-once runner and a worker's core know of each other.

The one rule: a `Processor` is pure and synchronous; everything it learns comes in by these methods, everything it says goes out by them.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from schemas.frozen import dataclass

Change: TypeAlias = tuple[bytes, bytes | None]
"""A changelog record: key, and value (None deletes)."""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A record as it was read. `timestamp_ms` is the broker's append time on `chat.events.v1`."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """A record to be written to the same partition number of `topic`, in the transaction of its cause.

    Without `headers` of its own it is given the trace context of the record it is written for.
    """

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] | None = None


class Processor(Protocol):
    """The core and the state of one partition.

    It is built empty for every assignment, fed its changelog by `restore`, told `restored` once, then given records. When
    anything fails, the runner throws it away; it is never asked to undo.
    """

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one live changelog record (the latest value of each key; deleted ones are not given)."""

    def restored(self) -> None:
        """The changelog has been read to its end: build what is derived."""

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        """Decides one record. Raises `schemas.codec.Poison` and changes nothing when the record can't be read."""

    def changes(self) -> Iterable[Change]:
        """What changed since the last call, each key once. Called once per transaction, after its last record."""


ProcessorFactory: TypeAlias = Callable[[int], Processor]
"""Makes the empty processor of a partition number."""
