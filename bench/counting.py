"""What the metrics cost the router: its loop over the sample day with them and without, in memory, in turns.

One rule: both run the worker's own loop (`PartitionTask`), so all that is counted for a batch is in the difference; what a scrape costs is
not. Ports that answer at once stand for Kafka. The time is the processor's, divided by the events without ticks.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median
from time import process_time_ns
from typing import Any

from bench.core import BATCH_RECORDS
from bench.day import PARTITIONS, Record, as_input
from bench.rows import Row
from schemas.topics import EVENTS, ROUTER_STATE
from services.router.core.figures import Figures
from services.router.core.names import Names
from services.router.observing import Observer
from services.router.processor import RouterProcessor
from services.runtime import broker
from services.runtime.deadletter import DeadLetterLimit
from services.runtime.kafka import SystemClock
from services.runtime.metrics import Metrics
from services.runtime.partition_task import Limits, PartitionTask, Ports
from services.runtime.ports import InputRecord
from services.runtime.throughput import Throughput

BOUND_US = 1.0
PAIRS, ROUNDS = 10, 2
_LIMITS = Limits(BATCH_RECORDS, commit_interval_s=5.0, session_timeout_ms=6_000, failures_max=1, fences_max=1)


class _Uncounted(Metrics):
    """Metrics that cost a call and nothing else."""

    def add(self, *_args: Any, **_labels: Any) -> None:
        pass

    set = observe = forget = tell = leave = add


class _Unseen(Throughput):
    """A batch passes, and nobody looks."""

    def read(self, records: Sequence[InputRecord]) -> None:
        pass

    def stands(self, *_args: Any, **_durations: Any) -> None:
        pass


class _Inputs:
    """The records of one partition, batch after batch."""

    def __init__(self, records: Sequence[InputRecord]) -> None:
        self._batches = iter(
            [records[start : start + BATCH_RECORDS] for start in range(0, len(records), BATCH_RECORDS)]
        )

    async def committed(self) -> broker.Offsets:
        return {EVENTS: 0}

    def open(self, _offsets: broker.Offsets) -> None:
        pass

    def close(self) -> None:
        pass

    async def take(self, **_limits: int) -> broker.Batch | None:
        records = next(self._batches, None)
        return None if records is None else broker.Batch(records, {EVENTS: records[-1].offset + 1})

    def at_end(self, _offsets: broker.Offsets) -> bool:
        return False

    async def reassigned(self, **_limits: int) -> None:
        pass


class _Log:
    """A writer and a changelog that keep nothing."""

    async def start(self) -> Any:
        return 0, 0

    async def begin(self) -> None:
        pass

    async def send(self, _topic: str, _rows: Sequence[broker.Row]) -> Sequence[broker.Delivery]:
        return ()

    async def send_offsets(self, _offsets: broker.Offsets) -> None:
        pass

    async def commit(self) -> None:
        pass

    async def poll(self) -> broker.ChangelogPage:
        raise AssertionError("nothing is restored")

    async def close(self) -> None:
        pass


class _Router:
    """All partitions of one process, one after the other, with all metrics or with none."""

    def __init__(self, *, counted: bool) -> None:
        names = Names(workspaces_max=20, departments_max=10)
        self._figures = partial(Figures, names=names, within_ms=30_000) if counted else None
        self._metrics = Metrics() if counted else _Uncounted()
        self._throughput = Throughput if counted else _Unseen
        self._observer = Observer() if counted else None

    def spent_ns(self, number: int, records: list[InputRecord]) -> int:
        task = PartitionTask(
            number,
            ports=Ports(_Inputs(records), _Log, _Log, SystemClock()),
            factory=partial(RouterProcessor, figures=self._figures),
            changelog=ROUTER_STATE,
            limits=_LIMITS,
            dead_letters=DeadLetterLimit(0),
            metrics=self._metrics,
            throughput=self._throughput(number, self._metrics, (EVENTS,)),
            observe=self._observer,
        )
        gc.collect()
        began_ns = process_time_ns()
        asyncio.run(task.run())
        return process_time_ns() - began_ns


def measure(day: list[Record]) -> list[Row]:
    """Return what all metrics together cost an event."""
    by_partition: list[list[InputRecord]] = [[] for _ in range(PARTITIONS)]
    for record in map(as_input, day):
        by_partition[record.partition].append(record)
    events = sum(not record.is_tick for record in day)
    gc.collect()
    gc.freeze()
    gc.disable()  # one search for cycles more, in one of two runs, would be all that is seen: metrics keep next to nothing
    costs_us = [_cost_ns(by_partition, turn) / 1000 / events for turn in range(PAIRS + 1)]
    gc.enable()
    gc.unfreeze()
    return [Row("metrics of an event, median of 10 pairs", median(costs_us[1:]), "µs", BOUND_US)]


def _cost_ns(by_partition: list[list[InputRecord]], turn: int) -> int:
    """What the metrics add to the processor's time for the day.

    Both take turns at each partition, and the best of some rounds counts for each: a machine's speed changes within a second.
    """
    counted, plain = _Router(counted=True), _Router(counted=False)
    cost_ns = 0
    for number, records in enumerate(by_partition):
        best_ns = {counted: sys.maxsize, plain: sys.maxsize}
        for round_ in range(ROUNDS):
            for router in (counted, plain) if (turn + round_) % 2 else (plain, counted):
                best_ns[router] = min(best_ns[router], router.spent_ns(number, records))
        cost_ns += best_ns[counted] - best_ns[plain]
    return cost_ns
