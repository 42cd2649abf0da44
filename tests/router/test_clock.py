"""Time: records carry it, ticks move the deadline clock, and an outage times nobody out."""

from schemas import decisions as d
from schemas import events as e
from services.router.core.clock import Clock
from services.router.core.offline import run
from services.router.core.partition import Entry
from tests.router.scenes import MONDAY_9_MS, decided, office, run_again


def test_the_first_tick_moves_the_clock_by_nothing() -> None:
    scene = office("ann", ticks=True, wait_timeout_s=0.0)
    scene.ask("c1")
    scene.wait(3600)
    assert scene.tick() == []
    assert scene.chat("c1").offer is not None
    assert scene.beat(19) == []
    assert scene.beat(1) == ["withdrawn c1 from ann: timed_out", "offered c1 to ann"]


def test_one_tick_moves_it_by_at_most_three_seconds() -> None:
    scene = office("ann", ticks=True, wait_timeout_s=0.0)
    scene.tick()
    scene.ask("c1")
    for _ in range(6):
        scene.wait(600)
        assert scene.tick() == []
    scene.wait(600)
    assert scene.tick() == ["withdrawn c1 from ann: timed_out", "offered c1 to ann"]


def test_the_limit_stands_in_the_tick() -> None:
    scene = office("ann", ticks=True, offer_timeout_s=1.0)
    scene.tick(limit_ms=300)
    scene.ask("c1")
    heard: list[str] = []
    for _ in range(3):
        scene.wait(5)
        heard += scene.tick(limit_ms=300)
    assert heard == []
    scene.wait(0.1)
    assert scene.tick(limit_ms=300) == ["withdrawn c1 from ann: timed_out", "offered c1 to ann"]


def test_after_an_outage_nobody_was_timed_out_or_marked_away() -> None:
    scene = office("ann", "bob", ticks=True)
    scene.tick()
    scene.served("ann", "c0")
    scene.say(e.AgentHeartbeat("ann"))
    scene.ask("c1")
    scene.wait(600)
    assert scene.tick() == []
    assert scene.chat("c1").offer is not None
    assert scene.ask("c2") == ["offered c2 to bob"]
    assert scene.count(d.ChatMissed) == scene.count(d.AgentMarkedAway) == 0
    assert scene.person("ann").status == "online"


def test_an_events_clock_is_the_last_ticks_plus_at_most_the_limit() -> None:
    scene = office("ann", ticks=True, offer_timeout_s=5.0)
    scene.tick()
    scene.wait(60)
    scene.ask("c1")
    clock = scene.partition.clock
    assert clock.deadline_ms() == scene.starts_at_ms + 3_000
    assert scene.partition.next_due_ms() == scene.starts_at_ms + 8_000
    assert scene.last(d.ChatOffered).expires_at == "2026-11-23T09:01:05.000Z"


def test_deadlines_fire_in_order_of_due_and_creation_stamped_with_the_tick() -> None:
    scene = office(ticks=True, wait_timeout_s=10.0)
    scene.tick()
    scene.ask("c2")
    scene.ask("c1")
    scene.wait(0.5)
    scene.department(wait_timeout_s=9.0)
    scene.ask("c3")
    assert scene.beat(8) == []
    heard = scene.beat(2)
    assert [word for word in heard if word.startswith("missed")] == [
        f"missed {chat}: no_reply/timed_out" for chat in ("c3", "c2", "c1")
    ]
    assert scene.emitted[-1].at_ms == scene.now_ms
    assert scene.emitted[-1].cause == d.Cause(timer=f"wait/c1@{scene.starts_at_ms + 10_000}")


def test_a_second_ticker_does_no_harm() -> None:
    scene = office("ann", ticks=True)
    scene.tick()
    scene.ask("c1")
    for _ in range(19):
        scene.wait(0.5)
        assert scene.tick() == []
        scene.wait(0.5)
        assert scene.tick() == []
    scene.wait(1)
    assert scene.tick()[0] == "withdrawn c1 from ann: timed_out"


def test_no_record_is_earlier_than_the_one_before_it() -> None:
    clock = Clock()
    assert [clock.record(at_ms) for at_ms in (5, 3, 7)] == [5, 5, 7]
    scene = office("ann")
    scene.at(10).ask("c1")
    back = Entry(scene.entries[-1].envelope, 0, 99, MONDAY_9_MS)
    assert scene.partition.apply(back) == []
    assert scene.partition.clock.last_ms == MONDAY_9_MS + 10_000


def test_without_ticks_deadlines_fire_at_their_exact_time_after_the_events_of_the_instant() -> None:
    scene = office("ann", "bob", no_answer_limit=0)
    scene.ask("c1")
    scene.at(20)
    assert scene.accept("ann", "c1") == ["assigned c1 to ann by accept"]
    scene.at(33.25).ask("c2")
    assert scene.wait(20) == ["withdrawn c2 from bob: timed_out", "offered c2 to ann"]
    assert scene.emitted[-1].at_ms == scene.starts_at_ms + 53_250
    assert decided(scene) == run_again(scene)


def test_a_run_ends_with_the_last_event_unless_told_otherwise() -> None:
    scene = office("ann", no_answer_limit=0)
    scene.ask("c1")
    short = list(run(scene.entries, ticks=False))
    assert len(short) == 1
    until_ms = scene.starts_at_ms + 20_000
    assert len(list(run(scene.entries, ticks=False, until_ms=until_ms))) == 3
    assert len(list(run(scene.entries, ticks=False, until_ms=until_ms - 1))) == 1
    assert list(run([], ticks=False)) == []


def test_a_time_out_too_short_to_measure_still_lets_time_pass() -> None:
    scene = office("ann", offer_timeout_s=0.0004, no_answer_limit=0, wait_timeout_s=0.05)
    scene.ask("c1")
    assert scene.wait(1)[-1] == "closed c1: missed"


def test_the_lag_is_how_long_a_due_deadline_has_waited_for_a_tick() -> None:
    scene = office("ann", ticks=True, offer_timeout_s=5.0)
    partition, start_ms = scene.partition, scene.starts_at_ms
    assert partition.deadline_lag_ms(start_ms) == 0
    scene.ask("c1")
    assert partition.deadline_lag_ms(start_ms + 60_000) == 0, "without a tick the clock does not run"
    scene.tick()
    assert partition.deadline_lag_ms(start_ms + 4_000) == 0
    assert partition.deadline_lag_ms(start_ms + 7_000) == 2_000
