"""Ticks: the owner of a partition puts the time into its log, so that deadlines fire by the log and not by a clock.

The one rule: no tick unless the partition has caught up and its previous tick has been processed; deadlines stand still
for a router that can't keep up.
"""

from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from schemas import codec
from services.runtime.broker import Appender, Clock, Row
from services.runtime.metrics import Metrics

FRESH_INTERVALS = 2
"""A partition has caught up, as far as ticks go, when its last record is younger than this many intervals."""
LIMIT_INTERVALS = 3
"""A tick moves the deadline clock by at most so many intervals: 3 s at one a second, as the contract says."""
_GOLDEN = 0.618
"""Spreads the partitions' ticks evenly over the interval, whatever their number."""


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Where ticks go, how often, and whose they are."""

    topic: str
    interval_ms: int
    source: str


class Lane(Protocol):
    """What ticks need to know of a partition's task."""

    partition: int

    @property
    def running(self) -> bool:
        """Whether it is restored and processes what comes."""

    def next_offset(self, topic: str) -> int:
        """The offset after the last record processed."""

    def caught_up(self, *, fresh_ms: int) -> bool:
        """Whether all there is has been processed, or the last record was younger than `fresh_ms`."""


class Ticker:
    """Appends the ticks of one partition while its task runs. A tick from a woken zombie does no harm."""

    def __init__(
        self, lane: Lane, settings: TickSettings, *, appender: Appender, clock: Clock, metrics: Metrics
    ) -> None:
        self._lane = lane
        self._settings = settings
        self._appender = appender
        self._clock = clock
        self._metrics = metrics
        self._pending_offset: int | None = None

    @property
    def due(self) -> bool:
        """Whether the partition may be given its next tick now."""
        if not self._lane.running:
            self._pending_offset = None  # who restores has read, or will read, what was appended before
            return False
        if self._pending_offset is not None and (
            self._lane.next_offset(self._settings.topic) <= self._pending_offset
        ):
            return False
        return self._lane.caught_up(fresh_ms=FRESH_INTERVALS * self._settings.interval_ms)

    async def tick(self) -> None:
        """Appends one tick."""
        partition = self._lane.partition
        value = codec.encode_tick(
            event_id=uuid4().hex,
            source=self._settings.source,
            at_ms=self._clock.now_ms(),
            partition=partition,
            limit_ms=LIMIT_INTERVALS * self._settings.interval_ms,
        )
        offset = await self._appender.append(
            self._settings.topic, partition, Row(str(partition).encode(), value)
        )
        self._pending_offset = offset
        self._metrics.add("ticks_failed" if offset is None else "ticks")

    async def run(self) -> None:
        """Ticks on a fixed schedule until cancelled; what could not be ticked in time is left out, not made up for."""
        interval_s = self._settings.interval_ms / 1000
        next_s = self._clock.monotonic_s() + interval_s * (self._lane.partition * _GOLDEN % 1)
        while True:
            await self._clock.sleep(max(0.0, next_s - self._clock.monotonic_s()))
            if self.due:
                await self.tick()
            next_s = max(next_s + interval_s, self._clock.monotonic_s())
