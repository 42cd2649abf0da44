"""The compiled core gives the answers of its sources: the rules' tests, the golden logs among them, once more in a process that runs it."""

import os
import subprocess
import sys

import pytest

from tests.plain import COMPILED, ROOT, built

LIMIT_S = 600.0


@pytest.mark.skipif(COMPILED, reason="this is that process")
@pytest.mark.timeout(LIMIT_S)
def test_the_rules_hold_when_compiled() -> None:
    if not built():
        assert os.environ.get("CI") != "true", "the core is not compiled: `make compile`"
        pytest.skip("the core is not compiled: `make compile`")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/router", "tests/days"],
        cwd=ROOT,
        env={**os.environ, "CHAT_TESTS_COMPILED": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-4_000:] + told.stderr[-1_000:]


@pytest.mark.skipif(not COMPILED, reason="only for the process that runs the compiled core")
def test_every_module_is_compiled() -> None:
    from services.router.core import decide, evolve, partition, placement, state

    for module in (decide, evolve, partition, placement, state):
        assert str(module.__file__).endswith(".so"), module.__file__
