"""The router as a queue: its waits are those of a ten-line recursion, and the recursion's are those of Erlang's formulas.

One rule: seeds are fixed; `make theory` does the same with 500,000 arrivals a run, and asks for narrow intervals.
"""

import pytest

from tests.theory.routed import differ, routed
from tests.theory.station import (
    RUNS,
    STATIONS,
    Station,
    Visitor,
    exact,
    given,
    intervals,
    measured,
    visitors_of,
    waits_ms,
)

ROUTED, PER_RUN = 20_000, 5_000
PUBLISHED = (
    {"waits": 0.17413, "mean wait s": 7.836, "in time": 0.88835},
    {"waits": 0.23870, "mean wait s": 8.184, "in time": 0.84588},
    {"waits": 0.85263},
    {"waits": 0.14526, "mean wait s": 4.195, "gives up": 0.013984},
)
"""As tables of Erlang C and Erlang A have them, in the order of the stations."""

stations = pytest.mark.parametrize("station", STATIONS, ids=str)


@pytest.mark.parametrize(
    ("station", "published"), list(zip(STATIONS, PUBLISHED, strict=True)), ids=[*map(str, STATIONS)]
)
def test_the_formulas_give_what_tables_have(station: Station, published: dict[str, float]) -> None:
    found = exact(station)
    for name, value in published.items():
        assert found[name] == pytest.approx(value, rel=5e-5), name


def test_the_recursion_on_a_queue_that_fits_on_paper() -> None:
    came = [Visitor(0, 100), Visitor(10, 100), Visitor(20, 5), Visitor(30, 5, 74), Visitor(40, 5, 65)]
    assert list(waits_ms(came, agents=2)) == [0, 0, 80, 75, 65]
    assert given(came, agents=2) == [0, 0, 80, None, 65]
    assert routed(came, agents=2) == [0, 0, 80, None, 65]


@stations
def test_the_recursion_holds_what_the_formulas_say(station: Station) -> None:
    found = intervals([measured(station, seed=seed, arrivals=PER_RUN) for seed in range(1, RUNS + 1)])
    wanted = exact(station)
    assert found.keys() == wanted.keys()
    assert {name: found[name] for name, value in wanted.items() if not found[name].holds(value)} == {}


@stations
def test_the_router_s_waits_are_the_recursion_s_to_the_millisecond(station: Station) -> None:
    assert differ(station, seed=1, arrivals=ROUTED) == []


def test_an_agent_more_is_told_apart() -> None:
    visitors = visitors_of(STATIONS[0], seed=1, arrivals=1_000)
    assert routed(visitors, agents=15) != given(visitors, agents=14)
