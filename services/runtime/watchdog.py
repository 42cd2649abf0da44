"""Notices a partition that stands still although there are records: the one failure that raises nothing.

The one rule: it compares processed positions with ends asked from the brokers, not with what the fetcher last saw.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from services.runtime.broker import Clock, Offsets
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.logs import explain, log

INTERVALS = 8
"""How often it looks within the time a partition may stand still."""

_log = log(__name__)


class Progress(Protocol):
    """What it watches: a partition's task. Fencing and restoring have limits of their own."""

    @property
    def running(self) -> bool:
        """Whether it processes what comes."""

    def next_offset(self, topic: str) -> int:
        """The offset after the last record processed."""


@dataclass(slots=True)
class _Seen:
    offsets: Offsets
    since_s: float


class Watchdog:
    """Ends the worker when a partition with waiting records has not moved for `limit_s`."""

    def __init__(
        self,
        *,
        ends: Callable[[], Awaitable[dict[int, Offsets]]],
        tasks: Mapping[int, Progress],
        limit_s: float,
        clock: Clock,
    ) -> None:
        self._ends = ends
        self._tasks = tasks
        self._limit_s = limit_s
        self._clock = clock
        self._seen: dict[int, _Seen] = {}

    async def run(self) -> None:
        """Looks until cancelled; raises WorkerFailed."""
        while True:
            await self._clock.sleep(self._limit_s / INTERVALS)
            await self.look()

    async def look(self) -> None:
        """Looks once; raises WorkerFailed."""
        try:
            ends = await self._ends()
        except (TaskCorrupted, TaskMigrated) as error:
            # Brokers that do not answer are not a stall of ours.
            self._seen.clear()
            _log.warning("ends_unknown", error=explain(error))
            return
        now_s = self._clock.monotonic_s()
        for partition in [known for known in self._seen if known not in self._tasks]:
            del self._seen[partition]
        for partition, task in self._tasks.items():
            of_topics = ends.get(partition, {})
            offsets = {topic: task.next_offset(topic) for topic in of_topics}
            seen = self._seen.get(partition)
            waiting = any(offsets[topic] < end for topic, end in of_topics.items())
            if not (waiting and task.running) or seen is None or seen.offsets != offsets:
                self._seen[partition] = _Seen(offsets, now_s)
            elif now_s - seen.since_s >= self._limit_s:
                raise WorkerFailed(
                    f"Partition {partition} has records waiting and has not moved for {self._limit_s:g} s: "
                    "the process ends, so that it is started afresh."
                )
