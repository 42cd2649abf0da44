"""A restore gives the latest value of each key, and tells how far it is and how long it will take."""

import gc
from collections.abc import Iterator, Sequence

import pytest

from services.runtime.broker import ChangelogPage
from services.runtime.failures import TaskCorrupted
from services.runtime.metrics import Metrics
from services.runtime.ports import Change
from services.runtime.restore import RECORDS_PER_TURN, TAKE_STEPS, Progress, restore
from tests.runtime.counting import Counting
from tests.runtime.fakes import FakeClock
from tests.runtime.fakes import Stage as PartitionStage

BEGIN = 1_000
READ_S = 1.0


class Pages:
    """A changelog that begins at an offset above 0; each page takes a second."""

    def __init__(self, clock: FakeClock, *of: Sequence[Change], gap: int = 0) -> None:
        self._clock = clock
        self._pages = list(of)
        self._gap = gap
        self._position = BEGIN
        self.fails = False

    async def start(self) -> tuple[int, int]:
        return BEGIN, BEGIN + sum(len(page) + self._gap for page in self._pages)

    async def poll(self) -> ChangelogPage:
        if self.fails:
            raise TaskCorrupted("no progress")
        self._clock.now_s += READ_S
        page = self._pages.pop(0)
        self._position += len(page) + self._gap
        return ChangelogPage(page, self._position)

    async def close(self) -> None:
        pass


class Watched(Counting):
    """Notes what is told while each value is taken in."""

    def __init__(self, progress: Progress, metrics: Metrics, clock: FakeClock) -> None:
        super().__init__("out")
        self._progress, self._metrics, self._clock = progress, metrics, clock
        self.told: list[str] = []
        self.left_s: list[float | None] = []

    def restore(self, key: bytes, value: bytes) -> None:
        super().restore(key, value)
        self._clock.now_s += 0.004
        self.told.append(str(self._progress))
        self.left_s.append(self._metrics.value("restore_left_seconds", partition="3"))


def keys(count: int, *, start: int = 0) -> list[Change]:
    return [(b"k%d" % number, b"1") for number in range(start, start + count)]


@pytest.fixture
def stage() -> Iterator[tuple[Progress, Watched, FakeClock, Metrics]]:
    metrics, clock = Metrics(), FakeClock()
    progress = Progress(partition=3, clock=clock, metrics=metrics)
    yield progress, Watched(progress, metrics, clock), clock, metrics
    assert b"chat_restore_done_ratio{" not in metrics.render(), "nothing is left of a restore that is over"


Stage = tuple[Progress, Watched, FakeClock, Metrics]


async def test_the_latest_value_of_each_key_is_given_and_deleted_ones_are_not(stage: Stage) -> None:
    progress, processor, clock, metrics = stage
    log = Pages(clock, [(b"a", b"1"), (b"b", b"2")], [(b"a", b"3"), (b"b", None), (b"c", b"4")], gap=2)
    assert await restore(log, processor, progress=progress, clock=clock) == 2
    assert processor.counts == {b"a": 3, b"c": 4}
    assert processor.is_restored
    assert metrics.value("restore_records_total") == 5


async def test_a_large_state_is_kept_from_the_collector_and_a_small_one_is_not(stage: Stage) -> None:
    progress, processor, clock, _ = stage
    gc.unfreeze()
    await restore(Pages(clock, keys(RECORDS_PER_TURN)), processor, progress=progress, clock=clock)
    assert gc.get_freeze_count() == 0
    size = RECORDS_PER_TURN + 1
    try:
        await restore(Pages(clock, keys(size, start=size)), processor, progress=progress, clock=clock)
        assert gc.get_freeze_count() > 0
        assert gc.isenabled(), "what comes afterwards is collected"
    finally:
        gc.unfreeze()


async def test_progress_and_time_left_are_told_over_reading_and_taking_in(stage: Stage) -> None:
    progress, processor, clock, _ = stage
    assert str(progress) == "nothing read yet"
    size = 2 * RECORDS_PER_TURN
    await restore(Pages(clock, keys(size), keys(size, start=size)), processor, progress=progress, clock=clock)
    assert processor.told[0].startswith(
        f"2,000 of 2,000 records read, {1 / (1 + TAKE_STEPS):.0%} done, about "
    )
    assert processor.told[-1].startswith("2,000 of 2,000 records read, 80% done")
    left_s = [left for left in processor.left_s if left is not None]
    assert len(left_s) == 2 * size
    assert left_s[0] == pytest.approx(2 * READ_S * TAKE_STEPS)
    assert left_s[-1] < left_s[0] / 2
    assert len(set(left_s)) <= 1 + 2 * size / RECORDS_PER_TURN, "it is told once a turn, not once a record"


async def test_while_it_reads_the_rest_is_guessed_by_what_is_read(stage: Stage) -> None:
    progress, processor, clock, metrics = stage
    seen: list[list[float | None]] = []
    names = ("total_records", "remaining_records", "done_ratio", "left_seconds")

    class Watching(Pages):
        async def poll(self) -> ChangelogPage:
            seen.append([metrics.value(f"restore_{name}", partition="3") for name in names])
            return await super().poll()

    await restore(Watching(clock, keys(10), keys(30, start=10)), processor, progress=progress, clock=clock)
    before, after_a_quarter = seen
    assert before == [None] * 4
    steps = 40 + TAKE_STEPS * 40
    assert after_a_quarter == pytest.approx([40, 30, 10 / steps, READ_S * (steps - 10) / 10])


async def test_a_restore_that_fails_leaves_no_progress_behind(stage: Stage) -> None:
    progress, processor, clock, _ = stage
    log = Pages(clock, keys(1), keys(1))
    log.fails = True
    with pytest.raises(TaskCorrupted):
        await restore(log, processor, progress=progress, clock=clock)
    assert not processor.is_restored


async def test_an_empty_changelog_is_restored_at_once(stage: Stage) -> None:
    progress, processor, clock, _ = stage
    assert await restore(Pages(clock), processor, progress=progress, clock=clock) == 0
    assert processor.is_restored


async def test_a_partition_says_how_far_its_restore_is_until_it_runs() -> None:
    stage = PartitionStage()
    stage.publish(b"a", b"b", b"c", b"d")
    await stage.task().run()
    task = stage.task()
    told: list[str] = []
    stage.wire.fault = lambda step: told.append(task.standing) if step in ("poll", "take") else None
    await task.run()
    assert told[0] == "restoring, nothing read yet"
    assert told[-1] == "running"
    assert task.standing == "stopped"
