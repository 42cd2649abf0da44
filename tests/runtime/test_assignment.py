"""Which tasks run after an assignment, and what the watchdog makes of one that stands still."""

import asyncio
from dataclasses import dataclass

import pytest

from services.runtime.assignment import Assignment
from services.runtime.broker import Offsets
from services.runtime.failures import TaskCorrupted, WorkerFailed
from services.runtime.partition_task import Phase
from services.runtime.watchdog import INTERVALS, Watchdog
from tests.runtime.fakes import FakeClock

LIMIT_S = 5


class Task:
    """A partition's task that runs until it is stopped, cancelled or told to fail."""

    def __init__(self, partition: int, *, log: list[str]) -> None:
        self.partition = partition
        self.phase = Phase.STANDING_BACK
        self._log = log
        self.end = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.error: Exception | None = None

    @property
    def running(self) -> bool:
        return self.phase is Phase.RUNNING

    @property
    def standing(self) -> str:
        return self.phase.name.lower()

    async def run(self) -> None:
        self._log.append(f"begin {self.partition}")
        self.phase = Phase.RUNNING
        try:
            await self.end.wait()
        finally:
            await asyncio.sleep(0)  # closing a producer takes a turn
            await self.may_close.wait()
            self._log.append(f"end {self.partition}")
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.end.set()


class Stage:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.made: list[Task] = []
        self.assignment = Assignment(self.make, None)  # type: ignore[arg-type]  # a task in all that matters here

    def make(self, partition: int) -> Task:
        self.made.append(Task(partition, log=self.log))
        return self.made[-1]

    async def assigned(self, *partitions: int, missed: bool = False) -> None:
        self.assignment.assigned(frozenset(partitions), missed)
        for _ in range(10):
            await asyncio.sleep(0)


async def test_what_stays_is_kept_what_leaves_is_ended() -> None:
    stage = Stage()
    assert stage.assignment.unready == "no partitions assigned yet"
    await stage.assigned(0, 1)
    await stage.assigned(1, 2)
    assert stage.log == ["begin 0", "begin 1", "begin 2", "end 0"]
    assert stage.assignment.unready == ""
    await asyncio.wait_for(stage.assignment.stop(), LIMIT_S)
    assert sorted(stage.log[4:]) == ["end 1", "end 2"]


async def test_a_partition_that_comes_back_waits_for_its_old_task() -> None:
    stage = Stage()
    await stage.assigned(0)
    stage.assignment.assigned(frozenset(), False)
    await stage.assigned(0)
    assert stage.log == ["begin 0", "end 0", "begin 0"]
    await asyncio.wait_for(stage.assignment.stop(), LIMIT_S)


async def test_a_partition_that_comes_back_twice_waits_for_the_first_of_its_tasks_too() -> None:
    stage = Stage()
    await stage.assigned(0)
    stage.made[0].may_close.clear()
    for partitions in ((), (0,), (), (0,)):
        await stage.assigned(*partitions)
    assert stage.log == ["begin 0"], "the first still closes, and would close the inputs of the third"
    stage.made[0].may_close.set()
    await stage.assigned(0)
    assert stage.log == ["begin 0", "end 0", "begin 0"]
    assert [task.running for task in stage.made] == [True, False, True], "the second never began"
    await asyncio.wait_for(stage.assignment.stop(), LIMIT_S)


async def test_after_a_missed_assignment_nothing_is_kept() -> None:
    stage = Stage()
    await stage.assigned(0)
    await stage.assigned(0, missed=True)
    assert stage.log == ["begin 0", "end 0", "begin 0"]
    await asyncio.wait_for(stage.assignment.abandon(), LIMIT_S)


async def test_a_failure_is_told_and_a_partition_not_running_is_not_ready() -> None:
    stage = Stage()
    await stage.assigned(0, 1)
    stage.made[0].phase = Phase.RESTORING
    assert stage.assignment.unready == "partition 0: restoring"
    stage.made[1].error = WorkerFailed("no use")
    stage.made[1].stop()
    with pytest.raises(WorkerFailed, match="no use"):
        await asyncio.wait_for(asyncio.shield(stage.assignment.failed), LIMIT_S)
    await asyncio.wait_for(stage.assignment.abandon(), LIMIT_S)


async def test_a_stop_cancels_what_is_not_running() -> None:
    stage = Stage()
    await stage.assigned(0)
    stage.made[0].phase = Phase.RESTORING
    stage.made[0].stop = lambda: None  # type: ignore[method-assign]  # it is deep in a restore
    await asyncio.wait_for(stage.assignment.stop(), LIMIT_S)
    assert stage.log == ["begin 0", "end 0"]
    await stage.assigned(1)
    assert len(stage.made) == 1, "nothing is begun after the stop"


@dataclass
class Position:
    offset: int = 0
    running: bool = True

    def next_offset(self, _topic: str) -> int:
        return self.offset


@dataclass
class Ends:
    end: int = 0
    silent: bool = False

    async def __call__(self) -> dict[int, Offsets]:
        if self.silent:
            raise TaskCorrupted("no answer in time")
        return {4: {"in": self.end}}


def watched(position: Position, ends: Ends) -> tuple[Watchdog, FakeClock]:
    clock = FakeClock()
    return Watchdog(ends=ends, tasks={4: position}, limit_s=80.0, clock=clock), clock


async def test_records_waiting_without_progress_end_the_worker() -> None:
    position, ends = Position(7), Ends(9)
    dog, clock = watched(position, ends)
    with pytest.raises(WorkerFailed, match="Partition 4"):
        await dog.run()
    assert clock.slept_s == [10.0] * (INTERVALS + 1)


@pytest.mark.parametrize("what", ["progress", "nothing waiting", "not running", "brokers silent"])
async def test_anything_else_does_not(what: str) -> None:
    position, ends = Position(7), Ends(9)
    dog, clock = watched(position, ends)
    for number in range(50):
        clock.now_s += 10
        if number % 5 == 0:
            position.offset += what == "progress"
            ends.end = 7 if what == "nothing waiting" else 1_000
            position.running = what != "not running"
            ends.silent = what == "brokers silent"
        elif number % 5 == 1:
            ends.end, position.running, ends.silent = 1_000, True, False
        await dog.look()
