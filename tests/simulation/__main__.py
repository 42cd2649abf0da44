"""The long run, and one seed again: `python -m tests.simulation --seeds 20000`, `python -m tests.simulation SEED`.

One rule: a seed gives the same lines in every process, so whatever a long run finds can be looked at here.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulation.simulation import Outcome, Simulation

PORTION = 50
"""Seeds a process is given at a time."""
FAILURES_SHOWN = 5


def tell(line: str) -> None:
    """Prints at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def portion(start: int) -> list[Outcome]:
    """The outcomes of so many seeds; the trace is left out of those that hold."""
    outcomes = [Simulation(seed).run() for seed in range(start, start + PORTION)]
    return [outcome if outcome.violation else replace(outcome, trace=()) for outcome in outcomes]


def outcomes(first: int, seeds: int) -> Iterator[Outcome]:
    """The outcomes of many seeds, on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(portion, range(first, first + seeds, PORTION)):
            yield from found


def long_run(first: int, seeds: int) -> int:
    """Prints what was injected and which seeds fail; gives the exit code."""
    started_s = time.monotonic()
    happened: Counter[str] = Counter()
    commits = 0
    failed: list[Outcome] = []
    for number, outcome in enumerate(outcomes(first, seeds), start=1):
        happened += outcome.happened
        commits += outcome.commits
        if outcome.violation:
            failed.append(outcome)
            tell(outcome.explain() if len(failed) <= FAILURES_SHOWN else f"seed {outcome.seed} fails")
        if number % 1000 == 0:
            tell(f"{number} seeds, {len(failed)} failed, {time.monotonic() - started_s:.0f} s")
    tell(
        f"{commits} commits judged; injected: {', '.join(f'{kind} {n}' for kind, n in happened.most_common())}"
    )
    tell(f"seeds that fail: {[outcome.seed for outcome in failed]}")
    return 1 if failed else 0


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, nargs="?", help="one seed, told line by line")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds the long run takes")
    parser.add_argument("--first", type=int, default=0, help="where it begins")
    told = parser.parse_args()
    if told.seed is None:
        return long_run(told.first, told.seeds)
    outcome = Simulation(told.seed).run()
    tell(outcome.explain(lines=len(outcome.trace)))
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
