"""A partition's time, taken from its log alone: when a record happened, and what the deadline clock says then.

The one rule: deadlines run only while ticks arrive, so an outage of the router times nobody out.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Clock:
    """What time it is in a log.

    `last_ms`: no record is earlier than the one before it. `tick_at_ms`, `clock_ms`, `limit_ms`: the last tick's time, what
    the deadline clock said at it, and the most it may run on without another tick. With `exact` (a log without ticks) the deadline clock is
    the record time itself.
    """

    last_ms: int = 0
    tick_at_ms: int | None = None
    clock_ms: int | None = None
    limit_ms: int = 3_000
    exact: bool = False

    def record(self, timestamp_ms: int) -> int:
        """The time at which a record with this timestamp happened."""
        if timestamp_ms > self.last_ms:  # noqa: PLR1730 - `max` is a call, for every record
            self.last_ms = timestamp_ms
        if self.clock_ms is None:
            self.clock_ms = self.last_ms
        return self.last_ms

    def deadline_ms(self) -> int:
        """The deadline clock at the last record: the last tick's plus at most the limit."""
        if self.exact:
            return self.last_ms
        assert self.clock_ms is not None, "a record comes before any reading"
        if self.tick_at_ms is None:
            return self.clock_ms
        return self.clock_ms + min(self.last_ms - self.tick_at_ms, self.limit_ms)

    def tick(self, limit_ms: int) -> int:
        """Moves the deadline clock to the tick that was just recorded; the first tick moves it by nothing."""
        self.limit_ms = limit_ms
        self.clock_ms = self.deadline_ms()
        self.tick_at_ms = self.last_ms
        return self.clock_ms
