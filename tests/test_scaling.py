"""The model of docs/scaling.md: its formula against the simulation, and its table against both."""

from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

from bench.placement import PARTITIONS, SEEDS, SKEWS, expected, shares, simulated

DOCUMENT = Path(__file__).parent.parent / "docs" / "scaling.md"
MEDIAN_ERROR_MAX, P99_ERROR_MAX = 0.08, 0.16
"""As the document states them."""


@cache
def found() -> dict[tuple[float, int], list[float]]:
    return simulated()


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("skew", SKEWS)
def test_the_formula_agrees_with_the_simulation(skew: float, partitions: int) -> None:
    hottest, sizes = found()[skew, partitions], shares(skew)
    half = expected(sizes, partitions=partitions, quantile=0.5)
    most = expected(sizes, partitions=partitions, quantile=0.99)
    assert half == pytest.approx(median(hottest), rel=MEDIAN_ERROR_MAX)
    assert most == pytest.approx(quantiles(hottest, n=100)[98], rel=P99_ERROR_MAX)


def test_the_largest_workspace_bounds_what_partitions_can_do() -> None:
    for (skew, _), hottest in found().items():
        assert hottest[0] >= shares(skew)[0]


def test_the_document_says_what_was_found() -> None:
    text = DOCUMENT.read_text("utf-8")
    for skew in SKEWS:
        cells = [quantiles(found()[skew, count], n=100)[98] for count in PARTITIONS]
        assert f"| {skew:g} | " + " | ".join(f"{cell:.1%}" for cell in cells) + " |" in text
    for error in (MEDIAN_ERROR_MAX, P99_ERROR_MAX):
        assert f"{error:.0%}" in text
    assert f"{SEEDS} draws" in text
