"""The router as the runner sees it: bytes in, records out, over the pure core.

The one rule: what can't be read changes nothing: it is poison before the core hears of it.
"""

from collections.abc import Iterable

from schemas import codec
from schemas.envelope import PartitionEnvelope
from services.router.changelog import Changelog
from services.router.core.partition import Entry, Partition
from services.router.estimates import Estimates
from services.router.records import encode_emitted
from services.runtime.ports import Change, InputRecord, OutputRecord


class RouterProcessor:
    """The router of one partition (the runner's `Processor`)."""

    def __init__(self, number: int) -> None:
        self.partition = Partition(number)
        self.estimates = Estimates()
        self._changelog = Changelog(self.partition)

    def restore(self, key: bytes, value: bytes) -> None:
        """Takes one live changelog record."""
        self._changelog.restore(key, value)

    def restored(self) -> None:
        """Builds the indexes."""
        self._changelog.restored()

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        """Decides one record; raises `Poison` or `UnknownType`, having changed nothing, when it can't be read."""
        emitted = self.partition.apply(read_entry(record))
        self.estimates.hear(emitted)
        return list(map(encode_emitted, emitted))

    def changes(self) -> Iterable[Change]:
        """Every entity that changed since the last call."""
        return self._changelog.changes()


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
