"""The long run, and one seed again: `python -m tests.days --seeds 10000`, `python -m tests.days SEED`."""

import sys

from tests import seeds
from tests.days.judge import judged

if __name__ == "__main__":
    sys.exit(seeds.main("tests.days", judged, seeds=10_000))
