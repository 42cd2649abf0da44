"""What adding partitions moves, and where there is no way; the whole way is in tests/ops."""

from dataclasses import replace

import orjson
import pytest
from aiokafka import TopicPartition

from schemas.topics import EVENTS, ROUTER_STATE, TOPICS, TRANSCRIPT_STATE
from services.local.errors import LocalError
from services.local.growing.layout import Layout, count_before
from services.local.growing.state import STORES, Move, moves
from services.local.partitions import partition_of
from services.local.standing.look import ROUTER, TRANSCRIPT

STAYS, GOES = "sakura", "northwind"
"""In partitions 5 and 5, and in 1 and 7, of 6 and 12."""


def key(*parts: str | int) -> bytes:
    return orjson.dumps(parts)


def test_the_two_workspaces_are_those_that_stay_and_go() -> None:
    assert [partition_of(name, partitions=count) for name in (STAYS, GOES) for count in (6, 12)] == [
        5,
        5,
        1,
        7,
    ]


def test_the_routers_state_goes_with_its_workspace_and_its_clock_with_all() -> None:
    live = {b"profile/northwind/": b"1", b"clock": b"2", b"chat/northwind/a%2Fb": b"3"}
    assert list(moves(STORES[ROUTER], live, number=1, before=6, wanted=12)) == [
        Move(ROUTER_STATE, 7, b"profile/northwind/", b"1"),
        Move(ROUTER_STATE, 1, b"profile/northwind/", None),
        Move(ROUTER_STATE, 7, b"clock", b"2"),
        Move(ROUTER_STATE, 7, b"chat/northwind/a%2Fb", b"3"),
        Move(ROUTER_STATE, 1, b"chat/northwind/a%2Fb", None),
    ]


def test_what_stays_is_not_written_and_every_new_partition_gets_the_clock() -> None:
    live = {b"profile/sakura/": b"1", b"clock": b"2"}
    assert list(moves(STORES[ROUTER], live, number=5, before=6, wanted=12)) == [
        Move(ROUTER_STATE, 11, b"clock", b"2")
    ]
    clock = {b"clock": b"2"}
    found = list(moves(STORES[ROUTER], clock, number=5, before=6, wanted=18))
    assert found == [Move(ROUTER_STATE, new, b"clock", b"2") for new in (11, 17)]


def test_the_transcripts_state_goes_with_its_workspace_and_its_progress_with_all() -> None:
    message, progress = key("message", GOES, "c-1", 812), key("progress")
    assert list(
        moves(STORES[TRANSCRIPT], {message: b"1", progress: b"2"}, number=1, before=6, wanted=12)
    ) == [
        Move(TRANSCRIPT_STATE, 7, message, b"1"),
        Move(TRANSCRIPT_STATE, 1, message, None),
        Move(TRANSCRIPT_STATE, 7, progress, b"2"),
    ]


@pytest.mark.parametrize("waits", [key("closing", 17), key("refused", 812)])
def test_what_waits_for_a_record_of_its_partition_is_not_moved(waits: bytes) -> None:
    with pytest.raises(LocalError, match="still waits for records: start the workers again"):
        list(moves(STORES[TRANSCRIPT], {waits: b"1"}, number=1, before=6, wanted=12))


def test_a_workspace_where_its_records_never_go_is_not_moved() -> None:
    with pytest.raises(LocalError, match="does not use the partitioner"):
        list(moves(STORES[ROUTER], {b"profile/northwind/": b"1"}, number=2, before=6, wanted=12))


LAYOUT = Layout(
    counts={topic.name: 6 for topic in TOPICS},
    committed={ROUTER: {TopicPartition(EVENTS, 0): 5}, TRANSCRIPT: {}},
    made_with={ROUTER: frozenset([6]), TRANSCRIPT: frozenset([6])},
)
GROWN = {topic.name: 12 for topic in TOPICS}
UNSAID = {ROUTER: frozenset[int](), TRANSCRIPT: frozenset[int]()}
DONE = {ROUTER: frozenset([12]), TRANSCRIPT: frozenset([12])}


@pytest.mark.parametrize(
    ("layout", "wanted", "before"),
    [
        (LAYOUT, 12, 6),
        (LAYOUT, 6, 6),
        (replace(LAYOUT, counts={**LAYOUT.counts, EVENTS: 12}), 12, 6),
        (replace(LAYOUT, counts=GROWN), 12, 6),
        (replace(LAYOUT, counts=GROWN, made_with=DONE), 12, 12),
        (replace(LAYOUT, made_with=UNSAID), 18, 6),
    ],
    ids=[
        "as it was",
        "nothing to do",
        "one topic grown",
        "all topics grown",
        "done",
        "a version that did not say",
    ],
)
def test_where_to_begin_from(layout: Layout, wanted: int, before: int) -> None:
    assert count_before(layout, wanted=wanted) == before


@pytest.mark.parametrize(
    ("layout", "whole"),
    [
        (LAYOUT, True),
        (replace(LAYOUT, made_with=UNSAID), True),
        (replace(LAYOUT, counts={**LAYOUT.counts, EVENTS: 12}), False),
        (replace(LAYOUT, counts=GROWN), False),
        (replace(LAYOUT, counts=GROWN, made_with=DONE), True),
    ],
    ids=["as it was", "no state yet", "one topic grown", "all topics grown", "done"],
)
def test_whether_the_state_is_where_its_records_go(layout: Layout, *, whole: bool) -> None:
    assert layout.is_whole is whole


@pytest.mark.parametrize(
    ("layout", "wanted", "why"),
    [
        (LAYOUT, 8, "12, 18 or another multiple of them was expected, not 8"),
        (LAYOUT, 3, "multiple of them was expected, not 3"),
        (
            replace(LAYOUT, counts={**LAYOUT.counts, EVENTS: 7}),
            12,
            "neither as many nor 12: .'chat.events.v1': 7",
        ),
        (replace(LAYOUT, committed={ROUTER: {}, TRANSCRIPT: {}}), 12, "has committed nothing"),
    ],
    ids=["no multiple", "fewer", "another number", "no state"],
)
def test_where_there_is_no_way(layout: Layout, wanted: int, why: str) -> None:
    with pytest.raises(LocalError, match=why):
        count_before(layout, wanted=wanted)
