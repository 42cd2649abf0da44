"""Which partitions this process runs: starts their tasks, and ends those of partitions that went elsewhere.

The one rule: a partition that stays keeps its task, with producer and state, unless an assignment may have been missed.
"""

import asyncio
from collections.abc import Callable

from services.runtime.partition_task import PartitionTask
from services.runtime.ticks import Ticker


class Assignment:
    """The tasks of the owned partitions, each with its ticker if there are ticks.

    `failed` ends with the first exception of any of them.
    """

    def __init__(
        self, make_task: Callable[[int], PartitionTask], make_ticker: Callable[[PartitionTask], Ticker] | None
    ) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tasks: dict[int, PartitionTask] = {}
        self._make_task = make_task
        self._make_ticker = make_ticker
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._leaving: dict[int, set[asyncio.Task[None]]] = {}
        self._known = False
        self._stopping = False

    @property
    def unready(self) -> str:
        """Why not all is assigned, restored and running, or nothing."""
        if not self._known:
            return "no partitions assigned yet"
        waiting = [task for task in self.tasks.values() if not task.running]
        return "; ".join(f"partition {task.partition}: {task.standing}" for task in waiting)

    def assigned(self, partitions: frozenset[int], missed: bool) -> None:
        """Takes a new assignment, without waiting for anything."""
        if self._stopping:
            return
        self._known = True
        for partition in list(self.tasks):
            if missed or partition not in partitions:
                self._end(partition)
        for partition in sorted(partitions - set(self.tasks)):
            task = self.tasks[partition] = self._make_task(partition)
            before = frozenset(self._leaving.get(partition, ()))
            run = asyncio.create_task(self._run(task, before), name=f"partition-{partition}")
            run.add_done_callback(self._ended)
            self._runs[partition] = run

    def _end(self, partition: int) -> None:
        """Cancels a task; its transaction, if any, is ended by the next owner."""
        del self.tasks[partition]
        run = self._runs.pop(partition)
        run.cancel()
        leaving = self._leaving.setdefault(partition, set())
        leaving.add(run)
        run.add_done_callback(leaving.discard)

    async def _run(self, task: PartitionTask, before: "frozenset[asyncio.Task[None]]") -> None:
        if before:
            # All of them, not the last one only: they share the partition's inputs, and each closes them when it ends.
            await asyncio.wait(before)
        ticker = None
        if self._make_ticker is not None:
            ticker = asyncio.create_task(self._make_ticker(task).run(), name=f"ticks-{task.partition}")
            ticker.add_done_callback(self._ended)
        try:
            await task.run()
        finally:
            if ticker is not None:
                ticker.cancel()
                await asyncio.wait({ticker})

    def _ended(self, run: "asyncio.Task[None]") -> None:
        error = None if run.cancelled() else run.exception()
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def stop(self) -> None:
        """Running tasks finish and commit their batch (their inputs must be stopped); others are cancelled."""
        self._stopping = True
        for partition, task in self.tasks.items():
            task.stop()
            if not task.running:
                self._runs[partition].cancel()
        await self._gone()

    async def abandon(self) -> None:
        """Cancels all."""
        self._stopping = True
        for run in self._runs.values():
            run.cancel()
        await self._gone()

    async def _gone(self) -> None:
        runs = set(self._runs.values()).union(*self._leaving.values())
        if runs:
            await asyncio.wait(runs)
        if self.failed.done():
            self.failed.exception()  # seen; whoever waits for it has it
