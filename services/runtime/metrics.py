"""The metrics of a process: those of the closed list in `series`, kept so that what happens often costs little.

The one rule: a metric that is not in `DEFINITIONS` does not exist. Everything here is called from the event loop's thread only.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Gauge
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

_LABELS = {each.name: each.labels for each in DEFINITIONS}


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets as Prometheus reads them: each holds those below it."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


@dataclass(slots=True, eq=False)
class _Counted:
    """A counter over its tally."""

    definition: Definition
    tally: Tally = field(default_factory=dict)

    def collect(self) -> Iterator[CounterMetricFamily]:
        definition = self.definition
        family = CounterMetricFamily(definition.full_name, definition.help, labels=definition.labels)
        for labels, value in (self.tally or ({} if definition.labels else {(): 0.0})).items():
            family.add_metric(labels, value)
        yield family


@dataclass(slots=True, eq=False)
class Spread:
    """A histogram that whoever measures much puts values into without a call for each label."""

    definition: Definition
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums_s: dict[Labels, float] = field(default_factory=dict)
    bounds_ms: tuple[int, ...] = ()
    """What whole milliseconds are compared with: an age is within 2.5 ms if it is within 2."""

    def __post_init__(self) -> None:
        self.bounds_ms = tuple(int(bound_s * 1000) for bound_s in self.definition.buckets)
        if not self.definition.labels:
            self._counts_of(())  # it is there before anything is measured

    def _counts_of(self, labels: Labels) -> list[int]:
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.definition.buckets) + 1)
            self.sums_s[labels] = 0.0
        return counts

    def put(self, labels: Labels, seconds: float) -> None:
        """Puts one duration in."""
        self._counts_of(labels)[bisect_left(self.definition.buckets, seconds)] += 1
        self.sums_s[labels] += seconds

    def put_all(self, labels: Labels, durations_ms: Sequence[int]) -> None:
        """Puts many durations in, which have their labels in common."""
        counts, bounds_ms = self._counts_of(labels), self.bounds_ms
        for duration_ms in durations_ms:
            counts[bisect_left(bounds_ms, duration_ms)] += 1
        self.sums_s[labels] += sum(durations_ms) / 1000

    def put_ages(self, now_ms: int, at_ms: Sequence[int]) -> None:
        """Puts the ages of a whole batch in: a few bisections, not a call for a record. `at_ms`: in order."""
        counts = self._counts_of(())
        older = len(at_ms)
        past = bisect_right(at_ms, now_ms)  # what is of the future has the age 0
        self.sums_s[()] += (past * now_ms - sum(at_ms[:past])) / 1000
        for index, bound_ms in enumerate(self.bounds_ms):
            before = bisect_left(at_ms, now_ms - bound_ms, 0, older)
            counts[index] += older - before
            older = before
        counts[-1] += older

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus reads."""
        definition = self.definition
        family = HistogramMetricFamily(definition.full_name, definition.help, labels=definition.labels)
        for labels, counts in self.counts.items():
            family.add_metric(labels, _cumulated(definition.buckets, counts), self.sums_s[labels])
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
        self.tallies: dict[str, Tally] = {}
        """The counts behind each counter by its name, to be added to in place."""
        self._spreads: dict[str, Spread] = {}
        self._gauges: dict[str, Gauge] = {}
        self._told: dict[str, _Told] = {}
        for definition in DEFINITIONS:
            self._make(definition)
        self._places: dict[tuple[str, ...], Labels] = {}
        self._children: dict[tuple[str, ...], Gauge] = {}

    def _make(self, definition: Definition) -> None:
        name = definition.name
        match definition.kind:
            case "counter":
                self.tallies[name] = self._collected(_Counted(definition)).tally
            case "histogram":
                self._spreads[name] = self._collected(Spread(definition))
            case "gauge":
                full_name, help_, labels = definition.full_name, definition.help, definition.labels
                self._gauges[name] = Gauge(full_name, help_, labels, registry=self._registry)
            case "level" | "peak":
                self._told[name] = self._collected(_Told(definition))

    def _collected(self, collector: Any) -> Any:
        self._registry.register(collector)  # a collector is what has `collect`
        return collector

    def _place(self, name: MetricName, labels: dict[str, str]) -> Labels:
        """The values of labels in the order of the definition."""
        key = (name, *labels, *labels.values())
        place = self._places.get(key)
        if place is None:
            names = _LABELS[name]
            if labels.keys() != set(names):
                raise ValueError(
                    f"The metric {name} has the labels {', '.join(names) or 'none'}, not {', '.join(labels) or 'none'}."
                )
            place = self._places[key] = tuple(labels[each] for each in names)
        return place

    def _gauge(self, name: MetricName, labels: dict[str, str]) -> Gauge:
        key = (name, *labels, *labels.values())
        child = self._children.get(key)
        if child is None:
            gauge = self._gauges[name]
            child = self._children[key] = gauge.labels(**labels) if labels else gauge
        return child

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Adds to a counter or a gauge."""
        tally = self.tallies.get(name)
        if tally is None:
            self._gauge(name, labels).inc(amount)
        else:
            place = self._place(name, labels)
            tally[place] = tally.get(place, 0.0) + amount

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._gauge(name, labels).set(value)

    def forget(self, name: MetricName, **labels: str) -> None:
        """Takes a gauge's labelled value away, such as that of a partition which moved."""
        if self._children.pop((name, *labels, *labels.values()), None) is not None:
            self._gauges[name].remove(*labels.values())

    def observe(self, name: MetricName, seconds: float, **labels: str) -> None:
        """Puts one duration into a histogram."""
        self._spreads[name].put(self._place(name, labels), seconds)

    def spread(self, name: MetricName) -> Spread:
        """A histogram, for whoever puts much into it."""
        return self._spreads[name]

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
