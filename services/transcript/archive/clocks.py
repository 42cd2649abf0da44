"""The time of a partition's log, as the router measures it (the contract, Time).

The one rule: time is in the log; the deadline clock moves with ticks, so it stands still while no router runs.
"""

from schemas.frozen import dataclass

TICK_LIMIT_MS = 3_000
"""The most the deadline clock moves between ticks (`schemas.events.RouterTick`)."""


@dataclass(frozen=True, slots=True)
class Clock:
    """`at_ms`: the newest record's time, never less than before. `tick_ms`: the last tick's time; `clock_ms`: the deadline clock at it.

    -1 where there was none yet.
    """

    at_ms: int = -1
    tick_ms: int = -1
    clock_ms: int = -1

    def at(self, timestamp_ms: int) -> "Clock":
        """The clock at a record."""
        at_ms = max(self.at_ms, timestamp_ms)
        return Clock(at_ms, self.tick_ms, at_ms if self.clock_ms < 0 else self.clock_ms)

    def tick(self, limit_ms: int) -> "Clock":
        """The clock once the record it stands at has turned out to be a tick."""
        return Clock(self.at_ms, self.at_ms, self.deadline_ms(limit_ms))

    def deadline_ms(self, limit_ms: int = TICK_LIMIT_MS) -> int:
        """The deadline clock at the record it stands at."""
        return self.clock_ms if self.tick_ms < 0 else self.clock_ms + min(self.at_ms - self.tick_ms, limit_ms)
