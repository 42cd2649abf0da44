"""What parked records are measured by."""

from math import inf

import pytest

from services.runtime.draining import Draining
from services.runtime.metrics import Metrics
from services.runtime.parking import Waiting


def shown(metrics: Metrics, target: str) -> tuple[float | None, ...]:
    """Records, age of the oldest, and time left, in seconds."""
    names = ("effects_waiting_records", "effects_waiting_seconds", "effects_waiting_left_seconds")
    return tuple(metrics.value(name, target=target) for name in names)


def test_queues_are_added_up_by_what_they_wait_for() -> None:
    metrics = Metrics()
    waiting = {"crm/acme": Waiting(30, 1_000), "crm/bell": Waiting(2, 7_000), "slow": Waiting(1, 9_000)}
    Draining(metrics).measure(waiting, in_flight_ms=[], now_ms=10_000)
    assert shown(metrics, "crm") == (32, 9, inf)
    assert shown(metrics, "slow") == (1, 1, inf)
    assert b"acme" not in metrics.render()


def test_the_time_left_is_that_of_the_slowest_queue_at_the_pace_of_the_last_minute() -> None:
    metrics = Metrics()
    draining = Draining(metrics)
    left = {"crm/acme": 1_000, "crm/bell": 45}
    for second in range(300):
        waiting = {queue: Waiting(records, 0) for queue, records in left.items()}
        draining.measure(waiting, in_flight_ms=[], now_ms=second * 1_000)
        # acme: two a second at first, and one from the second minute on
        for queue, done in {"crm/acme": 2 if second < 120 else 1, "crm/bell": second % 10 == 0}.items():
            for _ in range(done):
                draining.left(queue)
                left[queue] -= 1
        if second == 119:
            assert shown(metrics, "crm") == (1_000 - 2 * 119 + 45 - 12, 119, (1_000 - 2 * 119) / 2)
    acme = 1_000 - 2 * 120 - 179
    assert shown(metrics, "crm")[2] == acme


def test_what_waits_no_more_is_nothing_and_begins_anew() -> None:
    metrics = Metrics()
    draining = Draining(metrics)
    draining.measure({"crm/acme": Waiting(1, 0)}, in_flight_ms=[], now_ms=0)
    draining.left("crm/acme")
    draining.measure({}, in_flight_ms=[], now_ms=1_000)
    assert shown(metrics, "crm") == (0, 0, 0)
    draining.measure({"crm/acme": Waiting(5, 2_000)}, in_flight_ms=[], now_ms=2_000)
    assert shown(metrics, "crm") == (5, 0, inf)


@pytest.mark.parametrize(
    ("parked_ms", "in_flight_ms", "oldest_s"),
    [([], [], 0), ([4_000, 7_000], [], 6), ([4_000], [3_000, 9_000], 7), ([], [9_000], 1), ([11_000], [], 0)],
)
def test_the_oldest_undelivered_effect_is_parked_or_being_handled(
    parked_ms: list[int], in_flight_ms: list[int], oldest_s: float
) -> None:
    metrics = Metrics()
    waiting = {f"crm/{number}": Waiting(1, at_ms) for number, at_ms in enumerate(parked_ms)}
    Draining(metrics).measure(waiting, in_flight_ms=in_flight_ms, now_ms=10_000)
    assert metrics.value("effects_undelivered_seconds") == oldest_s
