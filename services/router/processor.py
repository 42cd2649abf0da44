"""The router as the runner sees it: bytes in, records out, over the pure core.

The one rule: what can't be read changes nothing: it is poison before the core hears of it.
"""

from collections.abc import Callable, Iterable
from itertools import chain

from schemas import codec
from schemas.envelope import PartitionEnvelope
from services.router.changelog import Changelog
from services.router.contexts import CONTEXT, Contexts
from services.router.core.figures import Figures
from services.router.core.partition import Entry, Partition
from services.router.records import encode_emitted
from services.runtime.ports import Change, InputRecord, OutputRecord

_OF_CONTEXTS = f"{CONTEXT}/".encode()


class RouterProcessor:
    """The router of one partition (the runner's `Processor`)."""

    def __init__(self, number: int, *, figures: Callable[[Partition], Figures] | None = None) -> None:
        """`figures`: makes what counts for the metrics; whoever gives it settles them after each batch."""
        self.partition = Partition(number)
        self.figures = None if figures is None else figures(self.partition)
        self._apply = self.partition.apply if self.figures is None else self.figures.apply
        self._changelog = Changelog(self.partition)
        self._contexts = Contexts(self.partition)

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one live changelog record."""
        if key.startswith(_OF_CONTEXTS):
            self._contexts.restore(key, value)
        else:
            self._changelog.restore(key, value)

    def restored(self) -> None:
        """Builds the indexes."""
        self._changelog.restored()
        if self.figures is not None:
            self.figures.restored()

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        """Decides one record; raises `Poison` or `UnknownType`, having changed nothing, when it can't be read."""
        entry = read_entry(record)
        emitted = self._apply(entry)
        if record.headers or self._contexts.of:
            return list(map(encode_emitted, emitted, self._contexts.headers(record, entry, emitted)))
        return list(map(encode_emitted, emitted))

    def changes(self) -> Iterable[Change]:
        """Every entity that changed since the last call."""
        if self.figures is not None:
            self.figures.look()
        return chain(self._changelog.changes(), self._contexts.changes())


def read_entry(record: InputRecord) -> Entry:
    """The record as the core reads it. Raises `Poison` when its key is not its workspace, or the partition of a tick."""
    envelope = codec.events.decode(record.value)
    if isinstance(envelope, PartitionEnvelope):
        if record.partition != envelope.data.partition:
            raise codec.Poison(
                "data.partition: another partition's tick; the record's own partition was expected"
            )
    elif record.key != envelope.workspaceid.encode():
        raise codec.Poison("key: differs from workspaceid; they were expected to be equal")
    return Entry(envelope, record.partition, record.offset, record.timestamp_ms)
