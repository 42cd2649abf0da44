"""Rebuilds a partition's state from its changelog.

The one rule: a restore ends at a *position*, never at a count; compaction and transaction markers leave offsets no record has.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from services.runtime.broker import Changelog, Clock
from services.runtime.metrics import Metrics
from services.runtime.ports import Processor

RECORDS_PER_TURN = 500
"""Records restored before others may run: a longer turn would starve the heartbeat."""
TAKE_STEPS = 4
"""A value takes about as long to take in as so many records to read; for the time that is left, which is a guess."""


class Progress:
    """How far the restore of a partition is: the metrics say so, and as a text it tells people."""

    def __init__(self, *, partition: int, clock: Clock, metrics: Metrics) -> None:
        self._partition = str(partition)
        self._clock = clock
        self._metrics = metrics
        self._started_s = clock.monotonic_s()
        self._total = self._read = 0
        self._keys = self._taken = 0

    def reading(self, read: int, *, total: int, records: int, keys: int) -> None:
        """`read` of `total` offsets are read, the last ones held `records`; so far there are values of `keys`."""
        self._read, self._total, self._keys = read, total, keys
        self._metrics.add("restore_records", records)
        self._show()

    def taking(self, taken: int) -> None:
        """So many values are taken in."""
        self._taken = taken
        self._show()

    def over(self) -> None:
        """The restore has ended, well or badly."""
        for name in (
            "restore_total_records",
            "restore_remaining_records",
            "restore_done_ratio",
            "restore_left_seconds",
        ):
            self._metrics.forget(name, partition=self._partition)

    @property
    def ratio(self) -> float:
        """How much is done, of 1; while it reads, as many values are expected of the rest as of what is read."""
        if self._read == 0:
            return 0.0
        steps = self._total + TAKE_STEPS * self._keys * self._total / self._read
        return (self._read + TAKE_STEPS * self._taken) / steps

    @property
    def left_s(self) -> float:
        """The time it still takes at the pace so far; 0 before there is one."""
        ratio = self.ratio
        return (self._clock.monotonic_s() - self._started_s) * (1 - ratio) / ratio if ratio else 0.0

    def _show(self) -> None:
        metrics, partition = self._metrics, self._partition
        metrics.set("restore_total_records", self._total, partition=partition)
        metrics.set("restore_remaining_records", self._total - self._read, partition=partition)
        metrics.set("restore_done_ratio", self.ratio, partition=partition)
        metrics.set("restore_left_seconds", self.left_s, partition=partition)

    def __str__(self) -> str:
        if self._read == 0:
            return "nothing read yet"
        return f"{self._read:,} of {self._total:,} records read, {self.ratio:.0%} done, about {self.left_s:.0f} s left"


async def restore(changelog: Changelog, processor: Processor, *, progress: Progress, clock: Clock) -> int:
    """Gives `processor` the latest value of each key, in the order they were written; returns how many there are."""
    begin, end = await changelog.start()
    position = begin
    live: dict[bytes, bytes] = {}
    try:
        while position < end:
            page = await changelog.poll()
            for key, value in page.records:
                live.pop(key, None)
                if value is not None:
                    live[key] = value
            position = page.position
            progress.reading(
                min(position, end) - begin, total=end - begin, records=len(page.records), keys=len(live)
            )
        return await _hand_over(live, processor, progress=progress, clock=clock)
    finally:
        progress.over()


async def _hand_over(
    live: dict[bytes, bytes], processor: Processor, *, progress: Progress, clock: Clock
) -> int:
    """Empties `live` into the processor, so that a value's memory is free once it has been taken."""
    keys = list(live)
    large = len(keys) > RECORDS_PER_TURN
    if large:
        gc.unfreeze()
        gc.collect()  # what earlier lives have left goes now, or it would be kept for ever
    for start in range(0, len(keys), RECORDS_PER_TURN):
        with _uncollected() if large else nullcontext():
            for key in keys[start : start + RECORDS_PER_TURN]:
                processor.restore(key, live.pop(key))
        progress.taking(len(keys) - len(live))
        if live:
            await clock.sleep(0)
    with _uncollected() if large else nullcontext():
        processor.restored()
    if large:
        _return_memory()
    return len(keys)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps what is made meanwhile from the garbage collector, now and later.

    A state is plain data without cycles: the collector, which goes through it again and again as it grows, and later while
    chats wait, would find nothing. With it a restore takes twice the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _return_memory() -> None:
    """Gives back what the changelog's values took, a third of the process; the C library would keep it for its next use."""
    trim = getattr(
        ctypes.CDLL(None), "malloc_trim", None
    )  # elsewhere than in glibc nothing is lost but memory
    if trim is not None:
        trim(0)
