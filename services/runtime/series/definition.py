"""What is said of one metric, and how Prometheus sees it.

The one rule: bounds of buckets stand here, so that two metrics that are compared have the same.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

PREFIX = "chat_"

Kind: TypeAlias = Literal["counter", "histogram", "gauge", "level", "peak"]
"""How a metric is kept: levels and peaks are gauges that each partition tells as a whole, and that go when it goes: added up, or the
greatest of them."""
Exposed: TypeAlias = Literal["counter", "gauge", "histogram"]

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
        match self.kind:
            case "level" | "peak":
                return "gauge"
            case kind:
                return kind

    @property
    def full_name(self) -> str:
        """Its name in queries; a histogram's is that of its three parts without their ends."""
        return f"{PREFIX}{self.name}{'_total' if self.exposed == 'counter' else ''}"
