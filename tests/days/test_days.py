"""Days of random workspaces: all hold, a seed repeats itself, and a router with one thing wrong is found.

One rule: a failure prints its seed; `make simulate` runs many more of them.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.days.judge import judged
from tests.days.mutants import MUTANTS, Mutant
from tests.plain import looks_inside

pytestmark = pytest.mark.timeout(300)

SEEDS = 200
PORTION = 100
SEEDS_UNTIL_FOUND_MAX = 60
HAPPENS = (
    *("ticks", "exact", "silent", "out", "stopped", "jumped back", "jumped ahead", "repeated"),
    *("chat.closed: handled", "chat.closed: handled_by_bot", "chat.missed: transfer_not_attended"),
    *(
        "offer.withdrawn: department_changed",
        "offer.withdrawn: agent_removed",
        "offer.withdrawn: visitor_left",
    ),
    *("chat.unassigned: agent_removed", "chat.unassigned: no_first_reply", "chat.unassigned: transferred"),
    *("transfer.failed", "participant.joined", "monitor.matched", "missed.updated", "agent.marked_away"),
)
"""What every portion must have had to stand."""


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_every_day_holds(first: int) -> None:
    outcomes = [judged(seed) for seed in range(first, first + PORTION)]
    failed = [outcome.explain() for outcome in outcomes if not outcome.holds]
    assert not failed, "\n\n".join(failed)
    happened = sum((outcome.happened for outcome in outcomes), Counter[str]())
    assert {*HAPPENS} <= {*happened}, "something never happened"


def test_a_seed_repeats_its_day_in_another_process_whatever_the_hash_seed() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-m", "tests.days", "3"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert "day of seed 3: holds" in printed[0]


@looks_inside
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.what for mutant in MUTANTS])
def test_a_router_with_one_thing_wrong_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.where, mutant.name, mutant.wrong(getattr(mutant.where, mutant.name)))
    seeds = range(SEEDS_UNTIL_FOUND_MAX)
    found = next((seed for seed in seeds if not judged(seed).holds), None)
    assert found is not None, f"it passes for right: {mutant.what}"
    assert not judged(found).holds, "its seed repeats the failure"
