"""What it costs to know which records have been seen: the same for a busy workspace as for a quiet one."""

import time

from services.router.core.seen import SEEN_MAX, SEEN_MS, Seen

ROUND = 50_000
TIMES_MAX = 10
"""A first key looked for behind a hundred thousand deleted ones cost a hundred times as much."""


def seconds_of_noting(seen: Seen, first: int) -> float:
    began_s = time.process_time()
    for number in range(first, first + ROUND):
        seen.note("acme", "s", str(number), at_ms=number)
    return time.process_time() - began_s


def test_an_id_costs_no_more_once_as_many_are_forgotten_as_come() -> None:
    seen = Seen()
    filling_s = max(seconds_of_noting(seen, first) for first in range(0, SEEN_MAX, ROUND))
    full_s = max(seconds_of_noting(seen, first) for first in range(SEEN_MAX, 2 * SEEN_MAX, ROUND))
    assert full_s < TIMES_MAX * filling_s


def test_ids_are_forgotten_by_time_in_the_order_they_came() -> None:
    seen = Seen()
    for number in range(3):
        seen.note("acme", "s", str(number), at_ms=number)
    assert seen.note("acme", "s", "1", at_ms=SEEN_MS + 2), "it was forgotten, and comes last now"
    assert list(seen.all()) == [("acme", "s\n2", 2), ("acme", "s\n1", SEEN_MS + 2)]


def test_an_id_that_was_stored_twice_stands_at_its_later_time() -> None:
    seen = Seen()
    seen.restore("acme", [("a", 1), ("b", 2)])
    seen.restore("acme", [("a", SEEN_MS + 2)])
    assert list(seen.all()) == [("acme", "b", 2), ("acme", "a", SEEN_MS + 2)]


def test_to_restore_an_id_that_came_again_costs_no_more_with_many_others() -> None:
    """The chunk that it was forgotten in is the oldest stored, so it is found at once."""

    def seconds(others: int) -> float:
        seen, again = Seen(), [(str(number), SEEN_MS + number) for number in range(ROUND // 10)]
        seen.restore("acme", [(str(number), number) for number in range(others)])
        began_s = time.process_time()
        seen.restore("acme", again)
        return time.process_time() - began_s

    assert seconds(SEEN_MAX) < TIMES_MAX * max(seconds(SEEN_MAX // 10) for _ in range(3))
