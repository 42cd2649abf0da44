"""A counter with several agents and one queue, as textbooks have it, and the ten lines that give everybody's wait.

The one rule: all times are whole milliseconds, as in the router's log, so that its waits can be compared with these one by one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapreplace
from math import exp
from random import Random
from statistics import fmean, stdev
from typing import NamedTuple

WARM_UP = 10_000
"""Visitors who are left out of a run, since it begins with nobody there. What happened so many arrivals ago is forgotten:
the slowest of these counters (2 agents, 1.8 erlang) forgets by a factor of e within some 350."""
RUNS = 20
T_99_19 = 2.8609
"""Student's t, 19 degrees of freedom: so many standard errors hold the mean of 20 runs in 99 % of cases."""
NEVER_MS = 10**15
TERM_MIN = 1e-18
"""States less likely than that, beside all others, are left out of the sum."""


@dataclass(frozen=True, slots=True)
class Station:
    """Poisson arrivals, exponential handle times, first come first served; `patience_s`: the mean of who hang up, None if nobody does."""

    agents: int
    erlangs: float
    handle_s: float
    within_s: float | None = None
    patience_s: float | None = None

    def __str__(self) -> str:
        patience = "" if self.patience_s is None else f", patience {self.patience_s:g} s"
        return f"{self.agents} agents, {self.erlangs:g} erlang, handle time {self.handle_s:g} s{patience}"


STATIONS = (
    Station(14, 10, 180, within_s=20),
    Station(55, 48, 240, within_s=15),
    Station(2, 1.8, 180),
    Station(14, 10, 180, patience_s=300),
)


class Visitor(NamedTuple):
    """When somebody comes, how long their chat takes, and how long they are willing to wait for it."""

    at_ms: int
    handle_ms: int
    patience_ms: int = NEVER_MS


class Interval(NamedTuple):
    """The mean of the runs, and half the width of the interval that holds the true mean in 99 % of cases."""

    mean: float
    half_width: float

    def holds(self, value: float) -> bool:
        return abs(self.mean - value) <= self.half_width


def visitors_of(station: Station, *, seed: int, arrivals: int) -> list[Visitor]:
    """So many visitors, drawn from a seed."""
    rng = Random(seed)
    gap_ms, handle_ms = 1000 * station.handle_s / station.erlangs, 1000 * station.handle_s
    patience_ms = None if station.patience_s is None else 1000 * station.patience_s
    drawn, at_ms = [], 0.0
    for _ in range(arrivals):
        at_ms += rng.expovariate(1 / gap_ms)
        handled_ms = max(1, round(rng.expovariate(1 / handle_ms)))
        willing_ms = NEVER_MS if patience_ms is None else max(1, round(rng.expovariate(1 / patience_ms)))
        drawn.append(Visitor(round(at_ms), handled_ms, willing_ms))
    return drawn


def waits_ms(came: Iterable[Visitor], *, agents: int) -> Iterator[int]:
    """Each visitor's wait until an agent is free, after Kiefer and Wolfowitz; who is not willing to wait so long takes up nobody."""
    free_ms = [0] * agents
    for visitor in came:
        wait_ms = max(0, free_ms[0] - visitor.at_ms)
        if wait_ms <= visitor.patience_ms:
            heapreplace(free_ms, visitor.at_ms + wait_ms + visitor.handle_ms)
        yield wait_ms


def given(came: Iterable[Visitor], *, agents: int) -> list[int | None]:
    """The same, but None for those who gave up: they were given nobody."""
    came = list(came)
    waits = zip(came, waits_ms(came, agents=agents), strict=True)
    return [wait_ms if wait_ms <= visitor.patience_ms else None for visitor, wait_ms in waits]


# ---------------------------------------------------------------- what is measured, and what it should be


def measured(station: Station, *, seed: int, arrivals: int) -> dict[str, float]:
    """One run's figures, by the names `exact` gives them."""
    came = visitors_of(station, seed=seed, arrivals=WARM_UP + arrivals)
    pairs = list(zip(came, waits_ms(came, agents=station.agents), strict=True))[WARM_UP:]
    found = {
        "waits": fmean(wait_ms > 0 for _, wait_ms in pairs),
        "mean wait s": fmean(min(wait_ms, visitor.patience_ms) for visitor, wait_ms in pairs) / 1000,
    }
    if station.within_s is not None:
        limit_ms = 1000 * station.within_s
        found["in time"] = fmean(wait_ms <= limit_ms for _, wait_ms in pairs)
    if station.patience_s is not None:
        found["gives up"] = fmean(wait_ms > visitor.patience_ms for visitor, wait_ms in pairs)
    return found


def intervals(runs: list[dict[str, float]]) -> dict[str, Interval]:
    """Where each figure lies, as far as the runs can tell."""
    assert len(runs) == RUNS, "the quantile is for so many"
    return {name: _interval([run[name] for run in runs]) for name in runs[0]}


def _interval(values: list[float]) -> Interval:
    return Interval(fmean(values), T_99_19 * stdev(values) / RUNS**0.5)


def exact(station: Station) -> dict[str, float]:
    """The same figures by Erlang's formulas: C where everybody waits, A (Palm's) where some give up."""
    chances = _chances(station)
    waits = sum(chances[station.agents :])
    queue = sum(chance * number for number, chance in enumerate(chances[station.agents :]))
    found = {"waits": waits, "mean wait s": queue * station.handle_s / station.erlangs}
    if station.within_s is not None:
        assert station.patience_s is None, "the formula is Erlang C's"
        spare = (station.agents - station.erlangs) / station.handle_s
        found["in time"] = 1 - waits * exp(-spare * station.within_s)
    if station.patience_s is not None:
        found["gives up"] = found["mean wait s"] / station.patience_s
    return found


def _chances(station: Station) -> list[float]:
    """How likely so many chats are there: what comes into a state is what goes out of it."""
    weights = [1.0]
    while len(weights) <= station.agents or weights[-1] > TERM_MIN * sum(weights):
        number = len(weights)
        leaving = float(min(number, station.agents))
        if station.patience_s is not None:
            leaving += max(0, number - station.agents) * station.handle_s / station.patience_s
        weights.append(weights[-1] * station.erlangs / leaving)
    total = sum(weights)
    return [weight / total for weight in weights]
