"""Draws the rows with a bound: a bar for each, as far as it is better or worse than its bound. Runs in the peers' environment.

One rule: it needs nothing of ours but the results' file, and writes the picture beside it.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

KEPT, MISSED = "#2f7d5b", "#c0392b"
NOTHING = 0.05
"""A peer that could not be run has no ratio; its bar is this short."""


def main(results: str) -> None:
    """Write `latest.png` beside `latest.json`."""
    rows = [row for row in json.loads(Path(results).read_text("utf-8"))["rows"] if row["bound"] is not None]
    names = [row["name"] for row in rows]
    better = [max(_better(row), NOTHING) for row in rows]
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    # Each bar begins at the bound: on a logarithmic scale there is no nought for it to begin at.
    axes.barh(
        names, [times - 1 for times in better], left=1, color=[KEPT if row["ok"] else MISSED for row in rows]
    )
    for place, (row, times) in enumerate(zip(rows, better, strict=True)):
        sign = "≥" if _more_is_better(row) else "≤"
        told = f"  {row['value']:.3g} {row['unit']}  ({sign} {row['bound']:g})"
        axes.text(max(times, 1), place, told, va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(min(0.5, *better) / 1.2, max(better) * 4)
    axes.xaxis.set_major_formatter(lambda times, _: f"{times:g}")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("how many times better than its bound (1); logarithmic")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(results).with_suffix(".png"), dpi=130)


def _more_is_better(row: dict) -> bool:
    """Return whether the bound is the least a value may be: the file says only whether it is kept."""
    return (row["value"] >= row["bound"]) == row["ok"]


def _better(row: dict) -> float:
    """Return how many times a value is better than its bound."""
    value = max(row["value"], 1e-9)
    return value / row["bound"] if _more_is_better(row) else row["bound"] / value


if __name__ == "__main__":
    main(sys.argv[1])
