"""Golden logs: what stands in `tests/golden/<case>.in.jsonl` leads to `<case>.out.jsonl`, byte for byte.

A change that is meant: `UPDATE_GOLDEN=1 pytest tests/router/test_golden.py` rewrites the outputs; the diff is what a review looks at.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.approved import approved
from tests.router.golden import FOLDER, outcome

LOGS = sorted(FOLDER.glob("*.in.jsonl"))
ROOT = FOLDER.parent.parent


def expected(log: Path) -> Path:
    return log.with_name(log.name.replace(".in.", ".out."))


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name.partition(".")[0])
def test_a_golden_log_leads_where_it_always_led(log: Path) -> None:
    decided = outcome(log)
    assert decided.splitlines() == approved(expected(log), decided).splitlines()


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_under_any_hash_seed_the_bytes_are_the_same(hash_seed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.router.golden", *map(str, LOGS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == b"".join(expected(log).read_bytes() for log in LOGS)


def test_there_are_golden_logs_and_none_is_left_over() -> None:
    assert len(LOGS) >= 8
    assert {path.name for path in FOLDER.glob("*.out.jsonl")} == {expected(log).name for log in LOGS}
