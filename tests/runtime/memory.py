"""The broker in memory: logs with holes, transactions with markers and aborted records, fencing, the group's offsets.

One rule: it is as unforgiving as Kafka: a commit leaves out what was not written, and nothing a fenced owner asks has an effect.
Every method takes effect at once; whoever stands between it and a port (see `fakes.Wire`) makes things late or loses them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from services.runtime.broker import Row
from services.runtime.failures import TaskMigrated

At: TypeAlias = tuple[str, int]
"""A topic and a partition."""


@dataclass(eq=False, slots=True)
class Transaction:
    """What one owner writes between two ends. `committed` is None while it is open."""

    owner: str
    rows: list[tuple[At, Row]] = field(default_factory=list)
    offsets: dict[At, int] = field(default_factory=dict)
    committed: bool | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in a log: a record, or a transaction's marker, which has no row."""

    offset: int
    at_ms: int
    row: Row | None
    of: Transaction | None = None

    @property
    def readable(self) -> bool:
        """Whether a `read_committed` reader is given it."""
        return self.row is not None and (self.of is None or self.of.committed is True)


@dataclass
class Broker:
    """Logs by topic and partition (None is a hole left by compaction), and the group's committed offsets."""

    logs: dict[At, list[Entry | None]] = field(default_factory=dict)
    offsets: dict[At, int] = field(default_factory=dict)
    on_commit: Callable[[Transaction], None] = lambda _transaction: None
    now_ms: Callable[[], int] = lambda: 900_000
    _epochs: dict[str, int] = field(default_factory=dict)
    _open: dict[str, Transaction] = field(default_factory=dict)
    _unstable: dict[At, dict[str, int]] = field(default_factory=dict)
    """The first offset of each open transaction, by its owner."""

    # ------------------------------------------------------------ logs

    def append(self, at: At, row: Row | None, of: Transaction | None = None) -> int:
        log = self.logs.setdefault(at, [])
        log.append(Entry(len(log), self.now_ms(), row, of))
        return len(log) - 1

    def end(self, at: At) -> int:
        return len(self.logs.get(at, ()))

    def stable_end(self, at: At) -> int:
        """The last stable offset: `read_committed` ends here."""
        return min(self._unstable.get(at, {}).values(), default=self.end(at))

    def read(self, at: At, position: int, *, records_max: int) -> tuple[list[Entry], int]:
        """Committed records from a position on, and the position after them and the holes that follow."""
        found: list[Entry] = []
        log, end = self.logs.get(at, []), self.stable_end(at)
        while position < end and len(found) < records_max:
            entry = log[position]
            if entry is not None and entry.readable:
                found.append(entry)
            position += 1
        return found, position

    def rows(self, at: At) -> Iterator[Row]:
        """Every committed row."""
        for entry in self.read(at, 0, records_max=self.end(at))[0]:
            assert entry.row is not None, "a readable entry has a row"
            yield entry.row

    def compact(self, at: At, upto: int) -> None:
        """Leaves, below an offset, only the latest committed row of each key; markers and aborted rows go too."""
        log = self.logs.get(at, [])
        latest: dict[bytes | None, int] = {}
        end = min(upto, self.stable_end(at))
        for entry in log[:end]:
            if entry is not None and entry.readable and entry.row is not None:
                latest[entry.row.key] = entry.offset
        kept = set(latest.values())
        log[:end] = [entry if entry is not None and entry.offset in kept else None for entry in log[:end]]

    # ------------------------------------------------------------ transactions

    @property
    def open_transactions(self) -> list[str]:
        return sorted(self._open)

    def init(self, owner: str) -> int:
        """Fences every earlier producer of this transactional id, aborts what it left open, and gives the new epoch."""
        if owner in self._open:
            self._end(self._open[owner], committed=False)
        self._epochs[owner] = self._epochs.get(owner, 0) + 1
        return self._epochs[owner]

    def produce(self, owner: str, epoch: int, at: At, rows: Sequence[Row]) -> None:
        transaction = self._present(owner, epoch)
        self._unstable.setdefault(at, {}).setdefault(owner, self.end(at))
        for row in rows:
            self.append(at, row, transaction)
            transaction.rows.append((at, row))

    def add_offsets(self, owner: str, epoch: int, offsets: Mapping[At, int]) -> None:
        self._present(owner, epoch).offsets.update(offsets)

    def finish(self, owner: str, epoch: int, *, committed: bool) -> None:
        self._end(self._present(owner, epoch), committed=committed)

    def time_out(self) -> None:
        """Aborts what is open, as the coordinator does with transactions whose owner is heard of no more."""
        for transaction in list(self._open.values()):
            self._end(transaction, committed=False)

    def _present(self, owner: str, epoch: int) -> Transaction:
        if self._epochs.get(owner) != epoch:
            raise TaskMigrated(f"{owner}: fenced")
        return self._open.setdefault(owner, Transaction(owner))

    def _end(self, transaction: Transaction, *, committed: bool) -> None:
        del self._open[transaction.owner]
        transaction.committed = committed
        for at in dict.fromkeys(at for at, _ in transaction.rows):
            del self._unstable[at][transaction.owner]
            self.append(at, None, transaction)
        if committed:
            self.offsets.update(transaction.offsets)
            self.on_commit(transaction)
