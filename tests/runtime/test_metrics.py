"""Metrics that are kept so that what happens often costs little, and those that partitions tell."""

import pytest

from services.runtime.metrics import DEFINITIONS, Metrics
from tests.runtime.fakes import PARTITION, Stage


def test_every_metric_says_what_it_is() -> None:
    for each in DEFINITIONS:
        assert each.unit, each.name
        assert each.help.endswith("."), each.name
        assert bool(each.buckets) == (each.exposed == "histogram"), each.name
        assert each.name.endswith("_seconds") <= (each.unit in ("seconds", "chat-seconds")), each.name


def test_a_tally_is_a_counter() -> None:
    metrics = Metrics()
    metrics.tallies["chats_arrived"]["acme", "sales"] = 2
    metrics.tallies["chats_arrived"]["acme", "sales"] += 1
    assert metrics.value("chats_arrived_total", workspace="acme", department="sales") == 3
    assert b"# TYPE chat_chats_arrived_total counter" in metrics.render()
    assert metrics.value("queue_left_total") == 0, "one without labels is there before it counts"


def test_a_spread_is_a_histogram() -> None:
    metrics = Metrics()
    spread = metrics.spread("answer_seconds")
    spread.put(("acme", "sales"), 0.5)
    spread.put(("acme", "sales"), 1.0)
    spread.put_all(("acme", "sales"), [1_500, 1_000_000])
    at = {"workspace": "acme", "department": "sales"}
    assert metrics.value("answer_seconds_bucket", **at, le="1.0") == 2
    assert metrics.value("answer_seconds_bucket", **at, le="2.5") == 3
    assert metrics.value("answer_seconds_bucket", **at, le="600.0") == 3
    assert (
        metrics.value("answer_seconds_bucket", **at, le="+Inf")
        == metrics.value("answer_seconds_count", **at)
        == 4
    )
    assert metrics.value("answer_seconds_sum", **at) == pytest.approx(1_003)


def test_what_partitions_tell_is_added_up_and_goes_with_them() -> None:
    metrics = Metrics()
    other = ("other", "other")
    metrics.tell(0, {"waiting_chats": {other: 2}, "longest_wait_seconds": {other: 9.0}})
    metrics.tell(1, {"waiting_chats": {other: 3}, "longest_wait_seconds": {other: 4.0}})
    labels = {"workspace": "other", "department": "other"}
    assert metrics.value("waiting_chats", **labels) == 5
    assert metrics.value("longest_wait_seconds", **labels) == 9
    metrics.leave(0)
    assert metrics.value("waiting_chats", **labels) == 3
    assert metrics.value("longest_wait_seconds", **labels) == 4
    metrics.leave(1)
    assert metrics.value("waiting_chats", **labels) is None
    assert metrics.value("chats_unaccounted") == 0


async def test_a_partition_that_is_left_tells_nothing_any_more() -> None:
    told: list[float | None] = []
    stage = Stage()
    stage.publish(b"one")
    where = (str(PARTITION),)

    def observe(partition: int, _processor: object, metrics: Metrics) -> None:
        metrics.tell(partition, {"deadline_lag_seconds": {where: 7.0}})
        told.append(metrics.value("deadline_lag_seconds", partition=where[0]))

    await stage.task(observe=observe).run()
    assert told == [7.0]
    assert stage.metrics.value("deadline_lag_seconds", partition=where[0]) is None
