"""The long run: `make theory`, or `python -m tests.theory --arrivals 500000`.

One rule: seeds are fixed, so it prints the same figures every time.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.theory.routed import differ
from tests.theory.station import RUNS, STATIONS, Station, exact, intervals, measured

HALF_WIDTH_MAX = {"waits": 0.03, "mean wait s": 0.05, "in time": 0.03, "gives up": 0.03}
"""Relative to the exact value: an interval so wide that it holds anything proves nothing."""
SEED = 1
"""The router's run is the first of the recursion's."""


def tell(line: str) -> None:
    """Prints at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def theory(pool: ProcessPoolExecutor, station: Station, arrivals: int) -> Iterator[bool]:
    """Whether each exact value lies in the interval of the recursion's runs, and that is narrow enough."""
    seeds = range(SEED, SEED + RUNS)
    runs = [pool.submit(measured, station, seed=seed, arrivals=arrivals) for seed in seeds]
    found = intervals([run.result() for run in runs])
    for name, value in exact(station).items():
        mean, half_width = found[name]
        relative = half_width / value
        ok = found[name].holds(value) and relative <= HALF_WIDTH_MAX[name]
        tell(
            f"  {name:<12} exact {value:.6g}, found {mean:.6g} ± {half_width:.2g} ({relative:.2%})"
            f"  {'ok' if ok else 'NOT SO'}"
        )
        yield ok


def main() -> int:
    """Parses the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.theory", description=__doc__.splitlines()[0])
    parser.add_argument("--arrivals", type=int, default=500_000, help="visitors in each run")
    arrivals = parser.parse_args().arrivals
    kept: list[bool] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for station in STATIONS:
            tell(str(station))
            differing = pool.submit(differ, station, seed=SEED, arrivals=arrivals)
            kept += theory(pool, station, arrivals)
            tell(f"  router       {arrivals} waits, {len(differing.result())} of them not the recursion's")
            kept.append(not differing.result())
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
