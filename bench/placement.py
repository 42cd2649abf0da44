"""How unevenly workspaces of different size fall on partitions: `python -m bench.placement`, a few seconds, no Kafka.

One rule: the partitions come from the partitioner that publishers use; only which workspace is how large is drawn, from a stated seed.

Sizes follow Zipf's law: the workspace of rank r has a share of the load proportional to r^-s. The hottest partition decides how much
the whole takes, since a partition is worked on by one router, one record after another. `expected` says in a formula what
`simulated` finds; docs/scaling.md uses it.
"""

from collections.abc import Sequence
from math import sqrt
from random import Random
from statistics import NormalDist, median, quantiles

from rich.console import Console
from rich.table import Table

from services.local.partitions import partition_of

WORKSPACES = 10_000
PARTITIONS = (12, 48, 240, 960)
"""Each divides the largest, so that one hash gives the partition in all of them."""
SKEWS = (0.0, 0.5, 0.8, 1.0, 1.2)
SEEDS = 200
NAMES = 60_000
"""So many workspaces to choose the 10,000 from, for each seed anew."""


def shares(skew: float, *, workspaces: int = WORKSPACES) -> list[float]:
    """Return each workspace's share of the load, the largest first."""
    weights = [rank**-skew for rank in range(1, workspaces + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def expected(sizes: Sequence[float], *, partitions: int, quantile: float) -> float:
    """Return the share of the hottest partition which is exceeded with a probability of 1 - `quantile` only.

    `sizes`: the workspaces' shares, the largest first. A partition's share is taken as normally distributed; the hottest is
    either the one where many come together, or the one where the largest is.
    """
    z_of_any = NormalDist().inv_cdf(quantile ** (1 / partitions))
    z_of_one = NormalDist().inv_cdf(quantile)
    largest, *others = sizes
    together = 1 / partitions + z_of_any * _deviation(sizes, partitions)
    with_largest = largest + (1 - largest) / partitions + z_of_one * _deviation(others, partitions)
    return max(together, with_largest)


def _deviation(sizes: Sequence[float], partitions: int) -> float:
    return sqrt(sum(size * size for size in sizes) / partitions * (1 - 1 / partitions))


def simulated(
    *, skews: Sequence[float] = SKEWS, partitions: Sequence[int] = PARTITIONS, seeds: int = SEEDS
) -> dict[tuple[float, int], list[float]]:
    """Return the shares of the hottest partition, a draw each, in order, by skew and number of partitions."""
    most = max(partitions)
    assert all(most % count == 0 for count in partitions)
    places = [partition_of(f"workspace-{number}", partitions=most) for number in range(NAMES)]
    sizes = {skew: shares(skew) for skew in skews}
    hottest: dict[tuple[float, int], list[float]] = {
        (skew, count): [] for skew in skews for count in partitions
    }
    for seed in range(seeds):
        drawn = Random(seed).sample(places, WORKSPACES)
        for skew in skews:
            load = [0.0] * most
            for share, place in zip(sizes[skew], drawn, strict=True):
                load[place] += share
            for count in partitions:
                hottest[skew, count].append(max(sum(load[place::count]) for place in range(count)))
    return {key: sorted(found) for key, found in hottest.items()}


def main() -> None:
    """Print what is simulated beside what the formula says, in multiples of a fair share."""
    table = Table(
        *("skew s", "partitions", "median", "formula", "p99", "formula", "of the whole, p99"),
        title=f"The hottest partition, in fair shares; {WORKSPACES:,} workspaces, {SEEDS} seeds",
        title_justify="left",
    )
    for (skew, count), found in simulated().items():
        sizes = shares(skew)
        half, most = (expected(sizes, partitions=count, quantile=quantile) for quantile in (0.5, 0.99))
        p99 = quantiles(found, n=100)[98]
        in_shares = (f"{share * count:.2f}" for share in (median(found), half, p99, most))
        table.add_row(f"{skew:g}", str(count), *in_shares, f"{p99:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
