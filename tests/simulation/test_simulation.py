"""The runner stepped by the simulator: many seeds hold, a seed repeats itself, and workers with one thing wrong are found.

One rule: a failure prints its seed; `make simulate` runs many more of them.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.controls import BY_COUNTING, BY_ROUTING
from tests.simulation.simulation import Outcome, Simulation
from tests.simulation.workers import Host
from tests.simulation.world import FATES

pytestmark = pytest.mark.timeout(300)

SEEDS = 500
PORTION = 100
SEEDS_UNTIL_FOUND_MAX = 150
DISTURBANCES = ("killed", "suspended", "deaf", "expelled", "learns_late", "position_reset", "compacted")


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_every_commit_is_right_and_every_run_converges(first: int) -> None:
    outcomes = [Simulation(seed).run() for seed in range(first, first + PORTION)]
    failed = [outcome.explain() for outcome in outcomes if outcome.violation is not None]
    assert not failed, "\n\n".join(failed)
    happened = sum((outcome.happened for outcome in outcomes), Counter[str]())
    assert {*FATES, *DISTURBANCES} <= set(happened), "a kind of fault was never injected"
    assert all(outcome.commits for outcome in outcomes)


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_repeats_its_run_line_by_line(seed: int) -> None:
    first, again = (Simulation(seed).run() for _ in range(2))
    assert first == again
    assert first.trace != Simulation(seed + 1).run().trace


def test_a_seed_repeats_its_run_in_another_process_whatever_the_hash_seed() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "3"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert "seed 3: holds" in printed[0]


@pytest.mark.parametrize(
    ("mutant", "router"),
    [*((mutant, False) for mutant in BY_COUNTING), *((mutant, True) for mutant in BY_ROUTING)],
)
def test_a_worker_with_one_thing_wrong_is_found(mutant: type[Host], router: bool) -> None:
    found: Outcome | None = None
    for seed in range(SEEDS_UNTIL_FOUND_MAX):
        outcome = Simulation(seed, mutant, router=router).run()
        if outcome.violation is not None:
            found = outcome
            break
    assert found is not None, f"{mutant.__name__} passes for right"
    assert found == Simulation(found.seed, mutant, router=router).run(), "its seed repeats the failure"
