"""What is said of one metric, and how Prometheus sees it.

The one rule: bounds of buckets stand here, so that two metrics that are compared have the same.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

PREFIX = "chat_"

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "ages", "tally", "spread", "level", "peak"]
"""How a metric is kept. Some are kept so that they cost less than a call for each event:

    counter, gauge, histogram  as the library does
    ages                       a histogram that takes a whole batch's timestamps in one call
    tally, spread              a counter and a histogram that whoever counts much adds to in place
    level, peak                gauges that each partition tells as a whole, and that go when it goes: added up, or the greatest of them
"""
Exposed: TypeAlias = Literal["counter", "gauge", "histogram"]
_EXPOSED: dict[Kind, Exposed] = {
    "counter": "counter",
    "tally": "counter",
    "gauge": "gauge",
    "level": "gauge",
    "peak": "gauge",
    "histogram": "histogram",
    "ages": "histogram",
    "spread": "histogram",
}

FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAITS_S = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric of the closed list."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> Exposed:
        """What Prometheus takes it for."""
        return _EXPOSED[self.kind]

    @property
    def full_name(self) -> str:
        """Its name in queries; a histogram's is that of its three parts without their ends."""
        return f"{PREFIX}{self.name}{'_total' if self.exposed == 'counter' else ''}"
