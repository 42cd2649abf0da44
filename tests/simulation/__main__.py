"""The long run, and one seed again: `python -m tests.simulation --seeds 20000`, `python -m tests.simulation SEED`."""

import sys

from tests import seeds
from tests.simulation.simulation import Outcome, Simulation


def judged(seed: int) -> Outcome:
    """Runs a seed."""
    return Simulation(seed).run()


if __name__ == "__main__":
    sys.exit(seeds.main("tests.simulation", judged, seeds=20_000))
