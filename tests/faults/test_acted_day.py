"""Sample days are acted out while workers, brokers and the network fail; in the end every record stands there once.

The one rule: a fault counts when it was carried out, and a batch when its faults did bite: somebody was replaced, transactions
were aborted; otherwise it would prove nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic

import pytest
from rich.console import Console

from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.play import play
from tests.faults.conftest import LONG
from tests.faults.faults import Fault, Faults, Kind, plan
from tests.faults.judgement import Judgement, drain, judge
from tests.faults.results import RESULTS, Batch, Results, version_of_the_code
from tests.faults.stage import LIMIT_S, ROUTER, STATES, TRANSCRIPT, Stage, name_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.kafka,
    pytest.mark.timeout(1_200),
    # aiokafka forgets a connection whose broker dies while it is being made: of the driver's client, in this process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHATS, DAY_MS, PACE = 200, 15_000, 30.0
DAYS_MAX = 1_000
BATCHES = 8 if LONG else 1
SELECTION: Mapping[Kind, int] = {
    Kind.START: 2,
    Kind.STOP: 2,
    Kind.KILL: 3,
    Kind.SUSPEND: 1,
    Kind.SUSPEND_IN_COMMIT: 1,
    Kind.STOP_BROKER: 1,
    Kind.KILL_BROKER: 2,
    Kind.STALL: 1,
    Kind.CUT: 1,
    Kind.LATE: 1,
    Kind.STALL_COMMIT: 1,
    Kind.LOSE_ANSWER: 1,
    Kind.CUT_AFTER_COMMIT: 1,
}
BATCH: Mapping[Kind, int] = {
    **SELECTION,
    Kind.KILL: 6,
    Kind.SUSPEND: 2,
    Kind.SUSPEND_IN_COMMIT: 2,
    Kind.STOP_BROKER: 2,
    Kind.KILL_BROKER: 3,
}
"""25 faults."""
COUNTS = BATCH if LONG else SELECTION


@pytest.fixture(scope="module")
def results(seed: int, console: Console) -> Iterator[Results]:
    """Return the results file; the table is printed when the batches are done."""
    kept = Results(seed=seed, path=RESULTS.with_stem("long") if LONG else RESULTS)
    yield kept
    kept.show(console)


@dataclass
class Acting:
    """One batch on a stage: the day on this thread's loop, the two lanes of faults on threads of their own."""

    stage: Stage
    rng: Random
    console: Console
    chats: int = CHATS
    day_ms: int = DAY_MS
    """Of each day."""
    over: Event = field(default_factory=Event)
    began_s: float = field(default_factory=monotonic)
    carried_out: Counter[str] = field(default_factory=Counter)

    async def run(self, counts: Mapping[Kind, int]) -> None:
        """Act days out until all faults have been carried out."""
        planned = plan(counts, rng=self.rng)
        await self.act_out(*(partial(self._lane, lane) for lane in (planned.brokers, planned.workers)))

    async def act_out(self, *meanwhile: Callable[[], None]) -> None:
        """Act days out until all of these are done, each on a thread; the last days to their end, and all is processed then."""
        days = asyncio.create_task(self._days())
        try:
            await asyncio.gather(*map(asyncio.to_thread, meanwhile))
        finally:
            self.over.set()
            await days
        await drain(self.stage)

    async def _days(self) -> None:
        """Begin a day when the arrivals of the one before are over, so that there is always something going on."""
        first = self.rng.randrange(10_000) * DAYS_MAX
        try:
            async with asyncio.TaskGroup() as days:
                for number in range(first, first + DAYS_MAX):
                    days.create_task(self._day(number))
                    await asyncio.to_thread(self.over.wait, self.day_ms / 1000)
                    if self.over.is_set():
                        return
        finally:
            self.over.set()

    async def _day(self, number: int) -> None:
        day = sample_day.make(
            chats=self.chats, seed=number, curve=built_in_curve(), day_ms=self.day_ms, pace=PACE
        )
        played = await play(day, bootstrap=self.stage.bootstrap, settle_limit_s=LIMIT_S)
        assert not played.open_chats, "the router has stood still for too long"

    def _lane(self, lane: tuple[Fault, ...]) -> None:
        faults = Faults(self.stage, self.over)
        for fault in lane:
            self.over.wait(fault.pause_s)
            if self.over.is_set():
                return
            at_s = monotonic() - self.began_s
            said = faults.befall(fault)
            self.carried_out[fault.kind] += 1
            self.console.print(
                f"fault {self.carried_out.total():2} at {at_s:5.1f} s: {fault.kind} ({fault.victim}): {said}",
                soft_wrap=True,
            )


def judged(stage: Stage, console: Console) -> Judgement:
    """Stop all workers and judge what they leave, and whether the faults did bite."""
    codes = {name: stage.stop(name) for name in stage.running}
    found = asyncio.run(judge(stage))
    found.wrong += [f"{name} ended with exit code {code}" for name, code in codes.items() if code]
    found.wrong += [f"{each.name} met a bug: {each.reason}" for each in stage.ended if "bug" in each.reason]
    stage.await_in_sync()
    replaced = stage.count("fenced") + stage.count("assigned", missed=True)
    if not found.transcripts or not replaced or not stage.aborted():
        found.wrong.append("no chat ended, nobody was replaced or nothing was aborted: this proves nothing")
    for each in stage.ended:
        console.print(f"ended by itself: {each.name} ({each.exit_code}): {each.reason}", soft_wrap=True)
    for sentence in found.wrong:
        console.print(f"WRONG: {sentence}", markup=False, soft_wrap=True)
    return found


@pytest.mark.parametrize("number", range(BATCHES))
def test_every_record_stands_there_once(
    number: int, seed: int, results: Results, console: Console, tmp_path: Path
) -> None:
    if LONG and results.has(number):
        pytest.skip("this batch is in the results file already")
    began_s = monotonic()
    with Stage(tmp_path) as stage:
        for service in STATES:
            stage.start(name_of(service, 0))
        stage.await_ready(name_of(ROUTER, 0), name_of(TRANSCRIPT, 0))
        console.print(
            f"batch {number + 1} of {BATCHES}: the stage stands after {monotonic() - began_s:.1f} s"
        )
        acting = Acting(stage, Random(f"{seed}-{number}"), console)
        asyncio.run(acting.run(COUNTS))
        found = judged(stage, console)
        batch = Batch(
            seed=seed,
            number=number,
            version=results.version,
            faults=dict(acting.carried_out),
            seconds=round(monotonic() - began_s),
            records=found.records,
            decisions=found.decisions,
            transcripts=found.transcripts,
            aborted=stage.aborted(),
            fenced=stage.count("fenced"),
            expelled=stage.count("assigned", missed=True),
            ended=len(stage.ended),
            lost=found.lost,
            doubled=found.doubled,
            differing=found.differing,
            wrong=len(found.wrong),
        )
    assert version_of_the_code() == results.version, "the code was changed while it was tested"
    assert batch.faults == COUNTS
    results.add(batch)
    assert found.wrong == []
