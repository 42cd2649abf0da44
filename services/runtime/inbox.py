"""What has been fetched for one partition number and waits to be processed.

The one rule: a record is taken in only if it is the next one of its topic or a later one, so whatever a rebalance makes
the client fetch again is dropped here.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from services.runtime.broker import Batch, Offsets
from services.runtime.ports import InputRecord

RECORD_OVERHEAD_BYTES = 300
"""What a record costs in memory besides its key and value, roughly."""


def _size_bytes(records: Sequence[InputRecord]) -> int:
    held = sum([len(record.value or b"") + len(record.key or b"") for record in records])
    return held + RECORD_OVERHEAD_BYTES * len(records)


class Inbox:
    """A first-in-first-out queue of records, bounded by its owner, which stops fetching while it is `full`."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._queue: deque[InputRecord] = deque()
        self._bytes = 0
        self._accepted: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._open = False
        self._stopped = False
        self._woken = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether records are wanted."""
        return self._open

    @property
    def full(self) -> bool:
        """Whether no more should be fetched."""
        return self._bytes >= self._bytes_max

    @property
    def roomy(self) -> bool:
        """Whether more should be fetched again."""
        return self._bytes * 2 <= self._bytes_max

    @property
    def accepted(self) -> Offsets:
        """The next offset to fetch, by topic."""
        return self._accepted

    @property
    def taken(self) -> Offsets:
        """The offset after the last record that was taken out, by topic."""
        return self._taken

    def open(self, offsets: Offsets) -> None:
        """Takes records from these offsets on."""
        self.close()
        self._accepted, self._taken = dict(offsets), dict(offsets)
        self._open = True

    def close(self) -> None:
        """Drops everything and takes nothing."""
        self._queue.clear()
        self._bytes = 0
        self._open = False

    def stop(self) -> None:
        """Whoever waits, or takes later, is told to stop."""
        self._stopped = True
        self._woken.set()

    def put(self, topic: str, records: Sequence[InputRecord]) -> None:
        """Takes the records in that are not known yet."""
        if not self._open or not records:
            return
        expected = self._accepted[topic]
        if records[0].offset < expected:
            records = [record for record in records if record.offset >= expected]
            if not records:
                return
        self._queue.extend(records)
        self._accepted[topic] = records[-1].offset + 1
        self._bytes += _size_bytes(records)
        self._woken.set()

    def advance(self, topic: str, position: int) -> None:
        """The client has passed offsets that hold no record for us: markers, aborted records."""
        if self._open and position > self._accepted[topic]:
            self._accepted[topic] = position
            if not self._queue:
                self._taken[topic] = position

    async def wait(self, *, wait_ms: int) -> None:
        """Ends when there are records, when stopped, or after `wait_ms`. Always lets others run once."""
        if self._queue or self._stopped:
            await asyncio.sleep(0)
        else:
            self._woken.clear()
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._woken.wait()
            except TimeoutError:
                pass  # nothing has come, which is an answer

    def take(self, *, records_max: int) -> Batch | None:
        """What there is, up to `records_max` records; None when stopped."""
        if self._stopped:
            return None
        queue = self._queue
        records = [queue.popleft() for _ in range(min(records_max, len(queue)))]
        if queue:
            self._taken |= {record.topic: record.offset + 1 for record in records}
            self._bytes -= _size_bytes(records)
        else:
            self._taken = dict(self._accepted)
            self._bytes = 0
        return Batch(records, dict(self._taken))
