"""What a measurement says, and how it is kept and shown.

One rule: a row with a bound can fail; one without is there to be compared with earlier runs.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One number. With `at_least` the bound is the least it may be, otherwise the most."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the number keeps its bound."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def best_us(action: Callable[[], int], *, rounds: int) -> float:
    """Return the microseconds a thing took in the best of some rounds; `action` says how many things it did.

    The best, since other programs on the machine only ever make a round slower.
    """
    best = float("inf")
    for _ in range(rounds):
        start_ns = perf_counter_ns()
        count = action()
        best = min(best, (perf_counter_ns() - start_ns) / 1000 / count)
    return best


def keep(rows: list[Row]) -> None:
    """Write the rows to bench/results/latest.json."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = [
        {key: item for key, item in asdict(row).items() if key != "at_least"} | {"ok": row.ok} for row in rows
    ]
    RESULTS.write_text(json.dumps({"rows": kept}, indent=2) + "\n", encoding="utf-8")


def show(rows: list[Row], console: Console) -> None:
    """Print the rows as a table."""
    table = Table("what", "", "value", "bound", "", title="Measurements", title_justify="left")
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        bound = "" if row.bound is None else f"{sign} {row.bound:,g}"
        table.add_row(row.name, row.unit, f"{row.value:,.2f}", bound, "ok" if row.ok else "TOO BAD")
    console.print(table)
