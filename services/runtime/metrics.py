"""Every metric of every worker, in one closed list, and the registry of a process.

The one rule: a metric that is not in `DEFINITIONS` does not exist, and no label ever holds an id, a name or an address.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import generate_latest

MetricName: TypeAlias = Literal[
    "records_in",
    "records_out",
    "dead_letters",
    "unknown_types",
    "batches",
    "batch_records",
    "batch_seconds",
    "transaction_seconds",
    "decision_latency_seconds",
    "lag_records",
    "deadline_lag_seconds",
    "estimated_wait_error_seconds",
    "ticks",
    "ticks_failed",
    "partitions_assigned",
    "partitions_running",
    "rebalances",
    "fences",
    "task_failures",
    "restore_records",
    "restore_seconds",
    "restore_total_records",
    "restore_remaining_records",
    "restore_done_ratio",
    "restore_left_seconds",
    "records_expired",
    "loop_delay_seconds",
    "effects",
    "effect_seconds",
    "effect_retries",
    "effects_in_flight",
    "effects_parked",
    "effects_waiting_records",
    "effects_waiting_seconds",
    "effects_waiting_left_seconds",
    "circuit_open",
    "crm_requests",
    "crm_pace_wait_seconds",
    "card_fields_unknown",
    "archive_records",
    "archive_unreadable",
    "archive_failures",
    "archive_lag_records",
    "summaries",
]
Kind: TypeAlias = Literal["counter", "gauge", "histogram", "ages"]

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WAITS_S = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. `ages` is a histogram that takes a whole batch's timestamps in one call."""

    name: MetricName
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


DEFINITIONS: tuple[Definition, ...] = (
    Definition("records_in", "counter", "Records processed and committed.", labels=("topic",)),
    Definition("records_out", "counter", "Records written and committed.", labels=("topic",)),
    Definition("dead_letters", "counter", "Records refused into a dead-letter topic.", labels=("topic",)),
    Definition("unknown_types", "counter", "Records of a type this version does not know, skipped."),
    Definition("batches", "counter", "Batches processed."),
    Definition("batch_records", "counter", "Records in these batches."),
    Definition("batch_seconds", "histogram", "Time to decide one batch.", "seconds", (), _FAST_S),
    Definition("transaction_seconds", "histogram", "Time from begin to commit.", "seconds", (), _FAST_S),
    Definition(
        "decision_latency_seconds",
        "ages",
        "Time from a record's append to the commit of what followed from it.",
        "seconds",
        (),
        _FAST_S,
    ),
    Definition("lag_records", "gauge", "Records between position and end.", labels=("topic", "partition")),
    Definition(
        "deadline_lag_seconds",
        "gauge",
        "How long the oldest due deadline has been waiting to fire.",
        "seconds",
        ("partition",),
    ),
    Definition(
        "estimated_wait_error_seconds",
        "histogram",
        "How far an announced waiting time was from the real one.",
        "seconds",
        (),
        _WAITS_S,
    ),
    Definition("ticks", "counter", "Ticks appended."),
    Definition("ticks_failed", "counter", "Ticks that could not be appended in time."),
    Definition("partitions_assigned", "gauge", "Partitions assigned to this process."),
    Definition("partitions_running", "gauge", "Partitions restored and running."),
    Definition("rebalances", "counter", "Assignments received."),
    Definition("fences", "counter", "Times this process was found to be a zombie."),
    Definition("task_failures", "counter", "Transactions that failed or whose outcome is unknown."),
    Definition("restore_records", "counter", "Changelog records read."),
    Definition(
        "restore_seconds", "histogram", "Time from fencing to running of a partition.", "seconds", (), _SLOW_S
    ),
    Definition(
        "restore_total_records",
        "gauge",
        "Changelog offsets of a partition that is being restored.",
        labels=("partition",),
    ),
    Definition(
        "restore_remaining_records", "gauge", "Changelog offsets still to be read.", labels=("partition",)
    ),
    Definition(
        "restore_done_ratio",
        "gauge",
        "How much of a restore is done, of 1: reading, then taking in what was read.",
        labels=("partition",),
    ),
    Definition(
        "restore_left_seconds",
        "gauge",
        "Time a restore still takes at its pace so far.",
        "seconds",
        ("partition",),
    ),
    Definition(
        "records_expired",
        "counter",
        "Input offsets that retention deleted before they were read.",
        "",
        ("topic",),
    ),
    Definition("loop_delay_seconds", "gauge", "How late the event loop's last beat was.", "seconds"),
    Definition("effects", "counter", "External effects settled.", labels=("kind", "result")),
    Definition(
        "effect_seconds", "histogram", "Time one external effect took.", "seconds", ("kind",), _SLOW_S
    ),
    Definition("effect_retries", "counter", "Attempts at an effect after the first.", labels=("kind",)),
    Definition("effects_in_flight", "gauge", "External effects being done.", labels=("kind",)),
    Definition(
        "effects_parked", "gauge", "Records kept in the ledger's database until their downstream is back."
    ),
    Definition(
        "effects_waiting_records",
        "gauge",
        "Parked records by what they wait for: a server, a CRM, or `slow` ones.",
        labels=("target",),
    ),
    Definition(
        "effects_waiting_seconds",
        "gauge",
        "Age of the oldest parked record.",
        "seconds",
        ("target",),
    ),
    Definition(
        "effects_waiting_left_seconds",
        "gauge",
        "Time until the last parked record is done, at the pace of the last minute, of the queue that takes longest; +Inf while nothing "
        "of a queue gets through.",
        "seconds",
        ("target",),
    ),
    Definition(
        "circuit_open",
        "gauge",
        "Downstreams of this name that are left alone; 0 while all is well.",
        labels=("target",),
    ),
    Definition(
        "crm_requests",
        "counter",
        "Requests sent to CRMs, by the connector's method that needed them.",
        labels=("connector", "operation"),
    ),
    Definition(
        "crm_pace_wait_seconds",
        "histogram",
        "How long a request waited for its turn under the CRM's rate.",
        "seconds",
        ("connector",),
        _SLOW_S,
    ),
    Definition(
        "card_fields_unknown",
        "counter",
        "Names in layouts of cards that the CRM has no field for, counted when that changes.",
    ),
    Definition("archive_records", "counter", "Records read into the archive."),
    Definition("archive_unreadable", "counter", "Records the archive could not read, passed over."),
    Definition("archive_failures", "counter", "Batches the archive had to try again."),
    Definition(
        "archive_lag_records",
        "gauge",
        "Records the archive has still to read.",
        labels=("topic", "partition"),
    ),
    Definition("summaries", "counter", "Summaries of finished chats, made or given up.", labels=("result",)),
)

PREFIX = "chat_"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody reads


@dataclass(slots=True, eq=False)
class _Ages:
    """A histogram over ages that costs a few bisections for a batch, not a call for a record."""

    definition: Definition
    counts: list[int] = field(init=False)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.definition.buckets) + 1)

    def observe(self, now_ms: int, timestamps_ms: Sequence[int]) -> None:
        ages_ms = sorted([now_ms - at_ms if at_ms < now_ms else 0 for at_ms in timestamps_ms])
        below = 0
        for index, bound_s in enumerate(self.definition.buckets):
            reached = bisect_right(ages_ms, bound_s * 1000, below)
            self.counts[index] += reached - below
            below = reached
        self.counts[-1] += len(ages_ms) - below
        self.sum_s += sum(ages_ms) / 1000

    def collect(self) -> Iterator[HistogramMetricFamily]:
        total = 0
        buckets = []
        for bound, count in zip([*map(str, self.definition.buckets), "+Inf"], self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            PREFIX + self.definition.name, self.definition.help, buckets=buckets, sum_value=self.sum_s
        )


class Metrics:
    """The metrics of one process. A name that is not defined, or labels that do not fit, raise at once."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {each.name: self._make(each) for each in DEFINITIONS}
        self._children: dict[tuple[str, ...], Any] = {}

    def _make(self, definition: Definition) -> Any:
        name = PREFIX + definition.name
        match definition.kind:
            case "counter":
                return Counter(name, definition.help, definition.labels, registry=self._registry)
            case "gauge":
                return Gauge(name, definition.help, definition.labels, registry=self._registry)
            case "histogram":
                return Histogram(
                    name,
                    definition.help,
                    definition.labels,
                    registry=self._registry,
                    buckets=definition.buckets,
                )
            case "ages":
                ages = _Ages(definition)
                self._registry.register(ages)  # a collector is what has `collect`
                return ages

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

    def value(self, sample: str, **labels: str) -> float | None:
        """The value of a sample as it is exposed, without the prefix (`records_in_total`); for tests and reports."""
        return self._registry.get_sample_value(PREFIX + sample, labels)

    def render(self) -> bytes:
        """The text format Prometheus reads."""
        return generate_latest(self._registry)
