"""The metrics of a process: those of the closed list in `series`, kept so that what happens often costs little.

The one rule: a metric that is not in `DEFINITIONS` does not exist. Everything here is called from the event loop's thread only.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest

from services.runtime.series import DEFINITIONS, MetricName
from services.runtime.series.definition import PREFIX, Definition

__all__ = ["DEFINITIONS", "PREFIX", "Labels", "Levels", "MetricName", "Metrics", "Spread", "Tally"]

Labels: TypeAlias = tuple[str, ...]
"""Values of a metric's labels, in the order of its definition."""
Tally: TypeAlias = dict[Labels, float]
"""A counter that whoever counts much adds to in place."""
Levels: TypeAlias = Mapping[str, Mapping[Labels, float]]
"""What a partition tells of itself as it is now: gauges, each with all its values."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody reads


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets as Prometheus reads them: each holds those below it."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


@dataclass(slots=True, eq=False)
class _Ages:
    """A histogram over ages that costs a few bisections for a batch, not a call for a record."""

    definition: Definition
    counts: list[int] = field(init=False)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.definition.buckets) + 1)

    def observe(self, now_ms: int, timestamps_ms: Sequence[int]) -> None:
        at_ms = sorted(timestamps_ms)
        past = bisect_right(at_ms, now_ms)  # what is of the future has the age 0
        self.sum_s += (past * now_ms - sum(at_ms[:past])) / 1000
        older = len(at_ms)
        for index, bound_s in enumerate(self.definition.buckets):
            before = bisect_left(at_ms, now_ms - bound_s * 1000, 0, older)
            self.counts[index] += older - before
            older = before
        self.counts[-1] += older

    def collect(self) -> Iterator[HistogramMetricFamily]:
        buckets = _cumulated(self.definition.buckets, self.counts)
        yield HistogramMetricFamily(
            self.definition.full_name, self.definition.help, buckets=buckets, sum_value=self.sum_s
        )


@dataclass(slots=True, eq=False)
class Spread:
    """A histogram that whoever measures much puts values into without a call for each label."""

    definition: Definition
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums_s: dict[Labels, float] = field(default_factory=dict)

    def put(self, labels: Labels, seconds: float) -> None:
        """Puts one duration in."""
        bounds = self.definition.buckets
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(bounds) + 1)
            self.sums_s[labels] = 0.0
        counts[bisect_left(bounds, seconds)] += 1
        self.sums_s[labels] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus reads."""
        definition = self.definition
        family = HistogramMetricFamily(definition.full_name, definition.help, labels=definition.labels)
        for labels, counts in self.counts.items():
            family.add_metric(labels, _cumulated(definition.buckets, counts), self.sums_s[labels])
        yield family


@dataclass(slots=True, eq=False)
class _Tallied:
    """The counter over a tally."""

    definition: Definition
    tally: Tally = field(default_factory=dict)

    def collect(self) -> Iterator[CounterMetricFamily]:
        definition = self.definition
        family = CounterMetricFamily(definition.full_name, definition.help, labels=definition.labels)
        for labels, value in (self.tally or ({} if definition.labels else {(): 0.0})).items():
            family.add_metric(labels, value)
        yield family


@dataclass(slots=True, eq=False)
class _Told:
    """The gauge over what partitions tell: of values with the same labels their sum, or the greatest."""

    definition: Definition
    by_partition: dict[int, Mapping[Labels, float]] = field(default_factory=dict)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        definition = self.definition
        family = GaugeMetricFamily(definition.full_name, definition.help, labels=definition.labels)
        values: dict[Labels, float] = {} if definition.labels else {(): 0.0}
        for told in self.by_partition.values():
            for labels, value in told.items():
                before = values.get(labels, 0.0)
                values[labels] = before + value if definition.kind == "level" else max(before, value)
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family


class Metrics:
    """The metrics of one process. A name that is not defined, or labels that do not fit, raise at once."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._told: dict[str, _Told] = {}
        self.tallies: dict[str, Tally] = {}
        """The counts behind each `tally` by its name, to be added to in place."""
        self._metrics: dict[str, Any] = {each.name: self._make(each) for each in DEFINITIONS}
        self._children: dict[tuple[str, ...], Any] = {}

    def _make(self, definition: Definition) -> Any:
        name, help_, labels = PREFIX + definition.name, definition.help, definition.labels
        match definition.kind:
            case "counter":
                return Counter(name, help_, labels, registry=self._registry)
            case "gauge":
                return Gauge(name, help_, labels, registry=self._registry)
            case "histogram":
                return Histogram(name, help_, labels, registry=self._registry, buckets=definition.buckets)
            case "ages":
                return self._collected(_Ages(definition))
            case "spread":
                return self._collected(Spread(definition))
            case "tally":
                tallied = self._collected(_Tallied(definition))
                self.tallies[definition.name] = tallied.tally
                return tallied
            case "level" | "peak":
                told = self._told[definition.name] = self._collected(_Told(definition))
                return told

    def _collected(self, collector: Any) -> Any:
        self._registry.register(collector)  # a collector is what has `collect`
        return collector

    def _child(self, name: MetricName, labels: dict[str, str]) -> Any:
        key = (name, *labels, *labels.values())
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[name]
            child = self._children[key] = metric.labels(**labels) if labels else metric
        return child

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Adds to a counter or a gauge."""
        self._child(name, labels).inc(amount)

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._child(name, labels).set(value)

    def forget(self, name: MetricName, **labels: str) -> None:
        """Takes a gauge's labelled value away, such as that of a partition which moved."""
        if self._children.pop((name, *labels, *labels.values()), None) is not None:
            self._metrics[name].remove(*labels.values())

    def observe(self, name: MetricName, seconds: float, **labels: str) -> None:
        """Puts one duration into a histogram."""
        self._child(name, labels).observe(seconds)

    def observe_ages(self, name: MetricName, *, now_ms: int, timestamps_ms: Sequence[int]) -> None:
        """Puts the ages of a whole batch into an `ages` histogram."""
        self._metrics[name].observe(now_ms, timestamps_ms)

    def spread(self, name: MetricName) -> Spread:
        """The histogram behind a `spread`."""
        spread: Spread = self._metrics[name]
        return spread

    def tell(self, partition: int, levels: Levels) -> None:
        """A partition tells how it stands: each of these gauges anew, with all its values."""
        for name, values in levels.items():
            self._told[name].by_partition[partition] = values

    def leave(self, partition: int) -> None:
        """A partition is no longer this process's: what it told goes."""
        for told in self._told.values():
            told.by_partition.pop(partition, None)

    def value(self, sample: str, **labels: str) -> float | None:
        """The value of a sample as it is exposed, without the prefix (`records_in_total`); for tests and reports."""
        return self._registry.get_sample_value(PREFIX + sample, labels)

    def render(self) -> bytes:
        """The text format Prometheus reads."""
        return generate_latest(self._registry)
