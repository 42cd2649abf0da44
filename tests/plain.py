"""Which core the tests' own process runs: the sources, or with CHAT_TESTS_COMPILED=1 what was compiled of them.

The one rule: tests read, count and break the sources; the workers they start run what is compiled. So whatever compares a worker with a
run in the tests' process compares the two. `tests/router/test_compiled.py` runs the rules' tests once more on the compiled core.
"""

import os
import sys
from importlib.abc import PathEntryFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "services" / "router" / "core"
COMPILED = os.environ.get("CHAT_TESTS_COMPILED") == "1"
"""Whether this process runs the compiled core."""

looks_inside = pytest.mark.skipif(
    COMPILED, reason="of a compiled function no call can be counted, and none replaced"
)


def built() -> list[Path]:
    """The compiled modules in the working copy."""
    return sorted(CORE.glob("*.so"))


def stale() -> bool:
    """Whether a source is younger than what was compiled."""
    sources = [*CORE.glob("*.py"), *(ROOT / "schemas").glob("*.py")]
    newest = max(path.stat().st_mtime for path in sources)
    return any(path.stat().st_mtime < newest for path in built())


def choose() -> None:
    """Makes this process import the sources, unless it is told otherwise; before anything imports the core."""
    if stale():
        pytest.exit(
            "The compiled core is older than its sources: run `make compile`, or delete it.", returncode=2
        )
    if COMPILED:
        return
    hook = FileFinder.path_hook((SourceFileLoader, SOURCE_SUFFIXES))

    def sources_only(path: str) -> PathEntryFinder:
        if Path(path) != CORE:
            raise ImportError(path)
        return hook(path)

    sys.path_hooks.insert(0, sources_only)
