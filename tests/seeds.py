"""Many seeds on all cores, and one of them again: the command line of the simulators.

One rule: a seed gives the same lines in every process, so whatever a long run finds can be looked at by itself.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Protocol, Self, TypeVar

PORTION = 50
"""Seeds a process is given at a time."""
FAILURES_SHOWN = 5


class Outcome(Protocol):
    """What became of a seed."""

    @property
    def seed(self) -> int:
        """Which one."""

    @property
    def holds(self) -> bool:
        """Whether all was as it must be."""

    @property
    def happened(self) -> Counter[str]:
        """What it had to stand, and how often."""

    def brief(self) -> Self:
        """What a long run wants to know of it."""

    def explain(self, *, whole: bool = False) -> str:
        """What happened, all of it or the last of it, what is wrong, and how to see it again."""


Result = TypeVar("Result", bound=Outcome)
Judge = Callable[[int], Result]


def tell(line: str) -> None:
    """Prints at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _portion(judge: Judge[Result], start: int) -> list[Result]:
    return [judge(seed).brief() for seed in range(start, start + PORTION)]


def _outcomes(judge: Judge[Result], first: int, seeds: int) -> Iterator[Result]:
    """The outcomes of many seeds, on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(partial(_portion, judge), range(first, first + seeds, PORTION)):
            yield from found


def _long_run(judge: Judge[Result], first: int, seeds: int) -> int:
    """Prints what happened and which seeds fail; gives the exit code."""
    started_s = time.monotonic()
    happened: Counter[str] = Counter()
    failed: list[int] = []
    for number, outcome in enumerate(_outcomes(judge, first, seeds), start=1):
        happened += outcome.happened
        if not outcome.holds:
            failed.append(outcome.seed)
            tell(outcome.explain() if len(failed) <= FAILURES_SHOWN else f"seed {outcome.seed} fails")
        if number % 1000 == 0:
            tell(f"{number} seeds, {len(failed)} failed, {time.monotonic() - started_s:.0f} s")
    tell(f"happened: {', '.join(f'{kind} {count}' for kind, count in happened.most_common())}")
    tell(f"seeds that fail: {failed}")
    return 1 if failed else 0


def main(program: str, judge: Judge[Outcome], *, seeds: int) -> int:
    """Parses the command line of `python -m program`; `seeds`: how many the long run takes by itself."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("seed", type=int, nargs="?", help="one seed, told line by line")
    parser.add_argument("--seeds", type=int, default=seeds, help="how many seeds the long run takes")
    parser.add_argument("--first", type=int, default=0, help="where it begins")
    told = parser.parse_args()
    if told.seed is None:
        return _long_run(judge, told.first, told.seeds)
    outcome = judge(told.seed)
    tell(outcome.explain(whole=True))
    return 0 if outcome.holds else 1
