"""The results of batches, in one file that batches add to, and the table at the end.

The one rule: a batch is known by seed, number and version of the code, so a long run can be broken off and taken up again.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from services.local.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
_PLACE = ("seed", "version", "number")
RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch did, and what came of it."""

    seed: int
    number: int
    version: str
    faults: dict[str, int]
    seconds: int
    records: int
    decisions: int
    transcripts: int
    aborted: int
    """Transactions that the faults ended, and nothing of which is read."""
    fenced: int
    """Times a worker tried to write and was told that another has its partition."""
    expelled: int
    """Times a worker came back to its group and found that others had had its partitions."""
    ended: int
    """Workers that ended by themselves and were started again."""
    lost: int
    doubled: int
    differing: int
    wrong: int


def version_of_the_code() -> str:
    """Return a sum over everything that takes part."""
    total = sha256()
    for folder, kind in (
        ("services", "*.py"),
        ("schemas", "*.py"),
        ("tests/faults", "*.py"),
        ("requirements", "*.txt"),
    ):
        for path in sorted((ROOT / folder).rglob(kind)):
            total.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:12]


class Results:
    """The batches of one seed and version."""

    def __init__(self, *, seed: int, path: Path = RESULTS) -> None:
        self.seed = seed
        self.version = version_of_the_code()
        self._path = path

    @property
    def batches(self) -> list[Batch]:
        """Return the batches that are done, in order; those of other versions may have other fields."""
        mine = [each for each in self._kept() if (each["seed"], each["version"]) == (self.seed, self.version)]
        return sorted((Batch(**each) for each in mine), key=lambda batch: batch.number)

    def has(self, number: int) -> bool:
        """Say whether this batch is done and nothing was wrong with it."""
        return any(batch.number == number and not batch.wrong for batch in self.batches)

    def add(self, batch: Batch) -> None:
        """Write a batch down beside all others, in place of an earlier try."""
        self._path.parent.mkdir(exist_ok=True)
        new = asdict(batch)
        others = [each for each in self._kept() if any(each[name] != new[name] for name in _PLACE)]
        kept = [*others, new]
        write_whole(self._path, json.dumps({"batches": kept}, indent=2) + "\n")

    def _kept(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        kept: list[dict[str, Any]] = json.loads(self._path.read_bytes())["batches"]
        return kept

    def show(self, console: Console) -> None:
        """Print what the batches of this run came to."""
        batches = self.batches
        table = Table("fault", "count", title=f"Faults, seed {self.seed}", title_justify="left")
        kinds: Counter[str] = Counter()
        for batch in batches:
            kinds.update(batch.faults)
        for kind, count in sorted(kinds.items()):
            table.add_row(kind, str(count))
        table.add_section()
        table.add_row("all", str(kinds.total()))
        console.print(table)
        _show_outcome(batches, console)


def _show_outcome(batches: Sequence[Batch], console: Console) -> None:
    """Print a row for each batch and their sum: every number but the fields that say which batch it is."""
    names = [each.name for each in fields(Batch) if each.type is int and each.name not in ("seed", "number")]
    table = Table("batch", *names)
    for batch in batches:
        table.add_row(str(batch.number + 1), *(f"{getattr(batch, name):,}" for name in names))
    table.add_section()
    table.add_row("all", *(f"{sum(getattr(batch, name) for batch in batches):,}" for name in names))
    console.print(table)
