"""When a partition is given its next tick, and when not."""

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from schemas import codec
from services.runtime.broker import Row
from services.runtime.metrics import Metrics
from services.runtime.ticks import Ticker, TickSettings
from tests.runtime.fakes import FakeClock

SETTINGS = TickSettings("events", 1_000, "/services/router")


@dataclass
class Lane:
    partition: int = 5
    running: bool = True
    next: int = 0
    is_caught_up: bool = True
    fresh_ms: int = 0

    def next_offset(self, topic: str) -> int:
        assert topic == SETTINGS.topic
        return self.next

    def caught_up(self, *, fresh_ms: int) -> bool:
        self.fresh_ms = fresh_ms
        return self.is_caught_up


@dataclass
class Log:
    rows: list[tuple[str, int, Row]] = field(default_factory=list)
    unknown: bool = False

    async def append(self, topic: str, partition: int, row: Row) -> int | None:
        self.rows.append((topic, partition, row))
        return None if self.unknown else len(self.rows) - 1


@dataclass
class Stage:
    lane: Lane = field(default_factory=Lane)
    log: Log = field(default_factory=Log)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)

    def ticker(self) -> Ticker:
        return Ticker(self.lane, SETTINGS, appender=self.log, clock=self.clock, metrics=self.metrics)


async def test_a_tick_is_a_record_of_its_partition() -> None:
    stage = Stage()
    await stage.ticker().tick()
    ((topic, partition, row),) = stage.log.rows
    assert (topic, partition, row.key) == ("events", 5, b"5")
    envelope = codec.events.decode(row.value)
    assert (envelope.type, envelope.source, envelope.data.partition) == (
        "router.tick.v1",
        "/services/router",
        5,
    )
    assert stage.metrics.value("ticks_total") == 1


async def test_no_tick_before_the_previous_one_is_processed() -> None:
    stage = Stage()
    ticker = stage.ticker()
    await ticker.tick()
    await ticker.tick()
    assert not ticker.due, "the tick at offset 1 is pending"
    stage.lane.next = 1
    assert not ticker.due
    stage.lane.next = 2
    assert ticker.due


async def test_no_tick_while_behind_or_not_running() -> None:
    stage = Stage()
    ticker = stage.ticker()
    assert ticker.due
    assert stage.lane.fresh_ms == 2_000
    stage.lane.is_caught_up = False
    assert not ticker.due
    stage.lane.is_caught_up, stage.lane.running = True, False
    assert not ticker.due


async def test_after_a_restore_no_tick_is_pending() -> None:
    stage = Stage()
    ticker = stage.ticker()
    await ticker.tick()
    stage.lane.running = False
    assert not ticker.due
    stage.lane.running = True
    assert ticker.due


async def test_a_tick_that_may_be_lost_does_not_stop_the_next() -> None:
    stage = Stage()
    stage.log.unknown = True
    ticker = stage.ticker()
    await ticker.tick()
    assert ticker.due
    assert stage.metrics.value("ticks_failed_total") == 1


async def test_ticks_keep_their_schedule() -> None:
    stage = Stage()

    class Enough(Exception):
        pass

    async def append(topic: str, partition: int, row: Row) -> int | None:
        times.append(stage.clock.now_s)
        stage.clock.now_s += 0.25  # an append takes its time
        stage.lane.next = len(times)
        if len(times) == 4:
            raise Enough
        return len(times) - 1

    times: list[float] = []
    stage.log.append = append  # type: ignore[method-assign]
    with pytest.raises(Enough):
        await asyncio.wait_for(stage.ticker().run(), 5)
    assert [later - earlier for earlier, later in pairwise(times)] == [1.0, 1.0, 1.0]
