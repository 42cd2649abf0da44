"""Virtual time, processes that vanish or freeze, and the wire between a process and the broker, all drawn from one seed.

One rule: everything that happens is an entry of one queue ordered by time, and everything drawn comes from one generator, so
that a seed repeats a run step by step. Nothing waits for real.
"""

import asyncio
from asyncio.events import _set_running_loop
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Literal, TypeAlias, TypeVar, TypeVarTuple, get_args

from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed

STEPS_MAX = 400_000
IO_LIMIT_S = 1.0
STARTS_AT_S = 1_795_424_400.0
"""A Monday, 9 o'clock."""
QUICK_S = 0.02
LATE_S = 4.0
"""What is later than its limit lands within so long."""
CLOSING = ("close", "changelog closed")
BURIALS_MAX = 20

Fate: TypeAlias = Literal[
    "slow", "lost", "late", "unanswered", "corrupted", "migrated", "twice", "crash", "crash_late"
]
"""What the wire does to a request besides carrying it: `lost` never arrives, `late` has its effect after the client has given
up, `unanswered` has it at once; `crash_late` has it after its process has vanished."""
FATES: tuple[Fate, ...] = get_args(Fate)

Result = TypeVar("Result")
Ts = TypeVarTuple("Ts")


class Violation(AssertionError):
    """Something that must always hold does not."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often a request meets a fault, and which are drawn; each seed has its own mix."""

    rate: float = 0.0
    kinds: tuple[Fate, ...] = ()


class Process(asyncio.AbstractEventLoop):
    """One simulated process: an event loop whose steps the world runs. Once dead nothing of it runs again, no handler either."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.asleep_until_s = 0.0
        self.on_death: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[Any]] = []

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self.world.push(0.0, handle, self)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        if not self.dead:
            self.world.push(delay, handle, self)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(max(0.0, when - self.time()), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def time(self) -> float:
        return self.world.now_s

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.world.report(f"{self.name}: {context['message']}: {context.get('exception')!r}")

    def die(self) -> None:
        """It vanishes, in the middle of whatever it does."""
        self.dead = True
        self.on_death()

    def bury(self) -> None:
        """Closes what the death left hanging, which by now can have no effect."""
        self.dead = True
        for task in self._tasks:
            coroutine: Any = task.get_coro()
            for _ in range(BURIALS_MAX):
                try:
                    coroutine.close()
                    break
                except RuntimeError:
                    continue  # a handler waited once more; it is told again


class World:
    """The queue of all that is to happen."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.now_s = STARTS_AT_S
        self.faults = Faults()
        self.happened: Counter[str] = Counter()
        self.trace: list[tuple[float, str, str, str]] = []
        self.processes: list[Process] = []
        self._queue: list[tuple[float, int, asyncio.Handle | Callable[[], None], Process | None]] = []
        self._numbers = count()
        self._steps = 0
        self._violation: str | None = None

    def now_ms(self) -> int:
        return round(self.now_s * 1000)

    def report(self, violation: str) -> None:
        """Ends the run from inside a process, where nobody would see what is raised."""
        self._violation = self._violation or violation

    def note(self, who: str, what: str, how: str = "") -> None:
        """Writes a line of the trace; with `how` it is a fault, which is counted."""
        self.trace.append((round(self.now_s - STARTS_AT_S, 6), who, what, how))
        if how:
            self.happened[how] += 1

    def push(
        self, delay_s: float, step: asyncio.Handle | Callable[[], None], process: Process | None
    ) -> None:
        heappush(self._queue, (self.now_s + delay_s, next(self._numbers), step, process))

    def after(self, delay_s: float, step: Callable[[], None]) -> None:
        """Does something that belongs to no process."""
        self.push(delay_s, step, None)

    def process(self, name: str) -> Process:
        self.processes.append(Process(self, name))  # type: ignore[abstract]  # of a loop only what asyncio itself calls
        return self.processes[-1]

    def run(self, *, limit_s: float, until: Callable[[], bool]) -> bool:
        """Steps until the condition holds, which is looked at after each step of the world's own, or the time is over."""
        try:
            return self._run(self.now_s + limit_s, until)
        finally:
            _set_running_loop(None)

    def _run(self, end_s: float, until: Callable[[], bool]) -> bool:
        while self._queue and self._queue[0][0] <= end_s:
            at_s, number, step, process = heappop(self._queue)
            self.now_s = max(self.now_s, at_s)
            self._steps += 1
            if self._steps > STEPS_MAX:
                raise Violation("it goes on and on")
            if self._violation is not None:
                raise Violation(self._violation)
            if process is None:
                assert not isinstance(step, asyncio.Handle), "handles belong to processes"
                step()
                if until():
                    return True
            elif process.asleep_until_s > self.now_s:
                heappush(self._queue, (process.asleep_until_s, number, step, process))
            elif not process.dead and isinstance(step, asyncio.Handle) and not step.cancelled():
                _set_running_loop(process)
                step._run()
        self.now_s = end_s
        return False

    def end(self) -> None:
        for process in self.processes:
            process.bury()

    def fate(self, what: str) -> Fate | None:
        """What happens to a request."""
        faults = self.faults
        if not faults.rate or self.rng.random() >= faults.rate:
            return None
        fate = self.rng.choice(faults.kinds)
        return None if fate == "twice" and what != "append" else fate


class LossyWire:
    """Carries the requests of one process: late, or not, or only one way."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def call(self, what: str, effect: Callable[[], Result]) -> "asyncio.Future[Result]":
        world, process = self._world, self._process
        answer: asyncio.Future[Result] = process.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if process.dead:
            return answer
        fate = world.fate(what)
        world.note(process.name, what, fate or "")
        quick_s = QUICK_S * world.rng.random()

        def succeed(result: Result) -> None:
            if not answer.done():
                answer.set_result(result)

        def fail(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

        def arrive(*, answers: bool = True, back_s: float = quick_s) -> None:
            try:
                result = effect()
            except (TaskMigrated, TaskCorrupted) as error:
                if answers:
                    process.call_later(back_s, fail, error)
            else:
                if answers:
                    process.call_later(back_s, succeed, result)

        closing = what in CLOSING
        if fate in ("lost", "late", "unanswered"):
            late = WorkerFailed if closing else TaskCorrupted
            process.call_later(IO_LIMIT_S, fail, late(f"{what}: no answer in time"))
        match fate:
            case "corrupted" | "migrated" if closing:
                world.after(quick_s, arrive)  # what is dead already counts as closed
            case None:
                world.after(quick_s, arrive)
            case "slow":
                there_s, back_s = (world.rng.uniform(0, 0.49 * IO_LIMIT_S) for _ in "ab")
                world.after(there_s, lambda: arrive(back_s=back_s))
            case "late":
                world.after(IO_LIMIT_S + world.rng.uniform(0, LATE_S), lambda: arrive(answers=False))
            case "unanswered":
                world.after(quick_s, lambda: arrive(answers=False))
            case "corrupted":
                process.call_later(quick_s, fail, TaskCorrupted(f"{what}: refused"))
            case "migrated":
                process.call_later(quick_s, fail, TaskMigrated(f"{what}: who can't tell stands back"))
            case "twice":
                world.after(quick_s, lambda: arrive(answers=False))
                world.after(2 * quick_s, arrive)
            case "crash":
                process.die()
            case "crash_late":
                world.after(world.rng.uniform(0, LATE_S), lambda: arrive(answers=False))
                process.die()
        return answer


class WorldClock:
    """The runner's clock, virtual. Each worker's own wall clock is off by a little, as in life."""

    def __init__(self, world: World, *, off_ms: int) -> None:
        self._world = world
        self._off_ms = off_ms

    def now_ms(self) -> int:
        return self._world.now_ms() + self._off_ms

    def monotonic_s(self) -> float:
        return self._world.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
