"""What parked records are measured by: how many wait, for how long the oldest has, and when the last one may be done.

The one rule: queues have names with ids in them, so what is shown is added up by what they wait for: the part before the first slash.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from itertools import chain

from services.runtime.metrics import Metrics
from services.runtime.parking import Waiting

PACE_OVER_MS = 60_000
"""The time left is reckoned from what got through within so long."""
MEASURED_MAX = 120
"""Measurements kept of one queue: a minute's, twice a second."""


class Draining:
    """The queues of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._done: Counter[str] = Counter()
        self._measured: dict[str, deque[tuple[int, int]]] = {}
        self._targets: set[str] = set()

    def left(self, queue: str) -> None:
        """A record of this queue is done."""
        self._done[queue] += 1

    def measure(self, waiting: Mapping[str, Waiting], *, in_flight_ms: Iterable[int], now_ms: int) -> None:
        """Shows what waits now; `in_flight_ms`: when the records that are being handled were written."""
        oldest_ms = min(chain(in_flight_ms, (each.oldest_ms for each in waiting.values())), default=now_ms)
        self._metrics.set("effects_undelivered_seconds", max(0, now_ms - oldest_ms) / 1000)
        for queue in self._measured.keys() - waiting.keys():
            del self._measured[queue], self._done[queue]
        by_target: dict[str, list[tuple[Waiting, float]]] = defaultdict(list)
        for queue, each in waiting.items():
            left_s = self._left_s(queue, each.records, now_ms=now_ms)
            by_target[queue.partition("/")[0]].append((each, left_s))
        for target in self._targets | by_target.keys():
            queues = by_target[target]
            oldest_ms = min((each.oldest_ms for each, _ in queues), default=now_ms)
            set_ = self._metrics.set
            set_("effects_waiting_records", sum(each.records for each, _ in queues), target=target)
            set_("effects_waiting_seconds", max(0, now_ms - oldest_ms) / 1000, target=target)
            set_(
                "effects_waiting_left_seconds",
                max((left_s for _, left_s in queues), default=0.0),
                target=target,
            )
        self._targets |= by_target.keys()

    def _left_s(self, queue: str, records: int, *, now_ms: int) -> float:
        """How long a queue still takes at its pace so far; for ever while nothing gets through."""
        measured = self._measured.setdefault(queue, deque(maxlen=MEASURED_MAX))
        measured.append((now_ms, self._done[queue]))
        while now_ms - measured[0][0] > PACE_OVER_MS:
            measured.popleft()
        since_ms, done_then = measured[0]
        done = self._done[queue] - done_then
        return records * (now_ms - since_ms) / 1000 / done if done else float("inf")
