"""What every worker says of its own running: throughput, batches, lag, partitions, restores.

The one rule: a label is a topic, a partition or one of few words.
"""

from typing import Literal, TypeAlias

from services.runtime.series.definition import FAST_S, SLOW_S, Definition

RunningName: TypeAlias = Literal[
    "records_in",
    "records_out",
    "dead_letters",
    "unknown_types",
    "batch_seconds",
    "transaction_seconds",
    "decision_latency_seconds",
    "lag_records",
    "records_expired",
    "ticks",
    "ticks_failed",
    "deadline_lag_seconds",
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
    "settings_reloads",
    "loop_delay_seconds",
    "spans",
]

_PLACE = ("topic", "partition")
_PARTITION = ("partition",)

RUNNING = (
    Definition("records_in", "counter", "records", "Records processed and committed.", _PLACE),
    Definition("records_out", "counter", "records", "Records written and committed.", _PLACE),
    Definition("dead_letters", "counter", "records", "Records refused into a dead-letter topic.", ("topic",)),
    Definition(
        "unknown_types", "counter", "records", "Records of a type this version does not know, skipped."
    ),
    Definition(
        "batch_seconds",
        "histogram",
        "seconds",
        "Time to decide one batch; its count is that of batches.",
        (),
        FAST_S,
    ),
    Definition("transaction_seconds", "histogram", "seconds", "Time from begin to commit.", (), FAST_S),
    Definition(
        "decision_latency_seconds",
        "histogram",
        "seconds",
        "Time from a record's append to the commit of what followed from it.",
        (),
        FAST_S,
    ),
    Definition(
        "lag_records",
        "gauge",
        "records",
        "Records of a partition that are not begun; with side effects, not done.",
        _PLACE,
    ),
    Definition(
        "records_expired",
        "counter",
        "records",
        "Input offsets that retention deleted before they were read.",
        ("topic",),
    ),
    Definition("ticks", "counter", "records", "Ticks appended."),
    Definition("ticks_failed", "counter", "records", "Ticks that could not be appended in time."),
    Definition(
        "deadline_lag_seconds",
        "level",
        "seconds",
        "How long the oldest due deadline has been waiting to fire.",
        _PARTITION,
    ),
    Definition("partitions_assigned", "gauge", "partitions", "Partitions assigned to this process."),
    Definition("partitions_running", "gauge", "partitions", "Partitions restored and running."),
    Definition("rebalances", "counter", "rebalances", "Assignments received."),
    Definition("fences", "counter", "fences", "Times this process was found to be a zombie."),
    Definition(
        "task_failures", "counter", "failures", "Transactions that failed or whose outcome is unknown."
    ),
    Definition("restore_records", "counter", "records", "Changelog records read."),
    Definition(
        "restore_seconds",
        "histogram",
        "seconds",
        "Time from fencing to running of a partition; its count is that of restores.",
        (),
        SLOW_S,
    ),
    Definition(
        "restore_total_records",
        "gauge",
        "records",
        "Changelog offsets of a partition that is being restored.",
        _PARTITION,
    ),
    Definition(
        "restore_remaining_records", "gauge", "records", "Changelog offsets still to be read.", _PARTITION
    ),
    Definition(
        "restore_done_ratio",
        "gauge",
        "ratio",
        "How much of a restore is done, of 1: reading, then taking in what was read.",
        _PARTITION,
    ),
    Definition(
        "restore_left_seconds",
        "gauge",
        "seconds",
        "Time a restore still takes at its pace so far.",
        _PARTITION,
    ),
    Definition(
        "settings_reloads",
        "counter",
        "reloads",
        "Times SIGHUP had the settings read anew: done, or refused since a file was of no use.",
        ("result",),
    ),
    Definition("loop_delay_seconds", "gauge", "seconds", "How late the event loop's last beat was."),
    Definition(
        "spans",
        "counter",
        "spans",
        "Spans of traces: taken by the collector, or dropped since it was away or slow.",
        ("result",),
    ),
)
