"""The ports of the exactly-once runner: what it asks of Kafka, so that a simulator can stand in for it.

The one rule: every method ends within a limit of its own, or raises `TaskMigrated`, `TaskCorrupted` or `WorkerFailed`;
the runner has no time-outs and awaits nothing else.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol, TypeAlias

from schemas.frozen import dataclass
from services.runtime.ports import InputRecord

Offsets: TypeAlias = Mapping[str, int]
"""The next offset to be read, by input topic, of one partition."""
Delivery: TypeAlias = Awaitable[None]
"""Ends when a batch stands in the log; raises when it does not. A commit does not notice one that failed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record to be written."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition in the order they are to be processed, and the offsets to commit when they are."""

    records: Sequence[InputRecord]
    next_offsets: Offsets


@dataclass(frozen=True, slots=True)
class ChangelogPage:
    """Some changelog records, and the position after them: it also passes markers and holes, where no record is."""

    records: Sequence[tuple[bytes, bytes | None]]
    position: int


class Writer(Protocol):
    """A transactional producer of one (group, partition). Used for one life: after any failure it is closed."""

    async def start(self) -> None:
        """Fences every earlier writer of this partition and waits until their transactions have ended."""

    async def begin(self) -> None:
        """Begins a transaction."""

    async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
        """Hands rows over for the partition's number of `topic`; each of the deliveries must be awaited before `commit`."""

    async def send_offsets(self, offsets: Offsets) -> None:
        """Adds input offsets to the transaction."""

    async def commit(self) -> None:
        """Commits. After TaskCorrupted the transaction may still be committed: the next writer's `start` settles it."""

    async def close(self) -> None:
        """Lets go of everything. Raises WorkerFailed when that does not end: a half-dead producer must not live on."""


class Inputs(Protocol):
    """The input topics of one partition number."""

    async def committed(self) -> Offsets:
        """Where to begin: the committed offsets, or the oldest there are."""

    def open(self, offsets: Offsets) -> None:
        """Delivers records from here on."""

    def close(self) -> None:
        """Delivers nothing until it is opened again; what was fetched is dropped."""

    async def take(self, *, records_max: int, wait_ms: int) -> Batch | None:
        """What has arrived; an empty batch after `wait_ms` without a record; None when the worker stops."""

    def at_end(self, offsets: Offsets) -> bool:
        """Whether these offsets have reached the high watermark of every topic, as far as is known."""

    async def reassigned(self, *, wait_ms: int) -> None:
        """Ends with the next assignment, when the worker stops, or after `wait_ms`."""


class Changelog(Protocol):
    """The changelog of one partition, read from its beginning, committed records only."""

    async def start(self) -> tuple[int, int]:
        """The position of its first record, and the end as it is now: the restore ends when the position reaches it."""

    async def poll(self) -> ChangelogPage:
        """What comes next; an empty page when nothing has come for a while. Raises TaskCorrupted when it stalls."""

    async def close(self) -> None:
        """Lets go of everything."""


class Appender(Protocol):
    """A plain idempotent producer, for records outside any transaction."""

    async def append(self, topic: str, partition: int, row: Row) -> int | None:
        """The offset of the record, or None when it is not known to have been written (it may be, later)."""


class Clock(Protocol):
    """Time, for waits and measurements only; nothing that is decided depends on it."""

    def now_ms(self) -> int:
        """The wall clock."""

    def monotonic_s(self) -> float:
        """A clock that never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Waits; 0 lets others run."""
