"""What a partition's batches add to the metrics: how much came in and went out, how old it was, how long it took.

The one rule: records are looked at before they are decided, while they are at hand, and counted when what follows from them stands.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter

from services.runtime.broker import Row
from services.runtime.metrics import Metrics, Tally
from services.runtime.ports import InputRecord

_topic, _appended_ms = attrgetter("topic"), attrgetter("timestamp_ms")
"""Quicker than a loop of Python's; every record is asked."""


class Throughput:
    """The throughput of one partition."""

    def __init__(self, partition: int, metrics: Metrics, topics: Sequence[str]) -> None:
        """`topics`: those that are read."""
        self._partition = str(partition)
        self._only = topics[0] if len(topics) == 1 else None
        self._batches, self._transactions = (
            metrics.spread("batch_seconds"),
            metrics.spread("transaction_seconds"),
        )
        self._latencies = metrics.spread("decision_latency_seconds")
        self._came_in, self._went_out = metrics.tallies["records_in"], metrics.tallies["records_out"]
        self._topics: Mapping[str, int] = {}
        self._appended_ms: list[int] = []

    def read(self, records: Sequence[InputRecord]) -> None:
        """Looks at a batch before it is decided."""
        if self._only is None:
            self._topics = Counter(map(_topic, records))
        else:
            self._topics = {self._only: len(records)}
        self._appended_ms = sorted(map(_appended_ms, records))  # in order as a rule, which is quick to see

    def stands(
        self, rows: Mapping[str, Sequence[Row]], *, now_ms: int, decide_s: float, commit_s: float
    ) -> None:
        """Counts that batch and what was written for it. `decide_s`: how long deciding took; `commit_s`: the transaction."""
        self._batches.put((), decide_s)
        self._latencies.put_ages(now_ms, self._appended_ms)
        for topic, count in self._topics.items():
            self._add(self._came_in, topic, count)
        if rows:
            self._transactions.put((), commit_s)
            for topic, of_topic in rows.items():
                self._add(self._went_out, topic, len(of_topic))

    def _add(self, tally: Tally, topic: str, count: int) -> None:
        place = (topic, self._partition)
        tally[place] = tally.get(place, 0.0) + count
