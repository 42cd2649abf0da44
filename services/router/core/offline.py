"""The plain run: the core over a log, without a broker.

The one rule: a log that holds ticks is run by them; in one that holds none, deadlines fire at their exact time, after the
events of the same instant (the contract, The offline run).
"""

from collections.abc import Iterable, Iterator

from services.router.core.partition import Emitted, Entry, Partition

Happening = Entry | Emitted


def run(
    entries: Iterable[Entry],
    *,
    ticks: bool,
    until_ms: int | None = None,
    partitions: dict[int, Partition] | None = None,
) -> Iterator[Emitted]:
    """Yields what follows from each entry, in order. `ticks`: whether the log holds any.

    Without ticks the deadlines up to and including `until_ms` (default: the last entry's time) fire too.
    `partitions` gives the states to begin with, and holds those reached.
    """
    for happened in happenings(entries, ticks=ticks, until_ms=until_ms, partitions=partitions):
        if isinstance(happened, Emitted):
            yield happened


def happenings(
    entries: Iterable[Entry],
    *,
    ticks: bool,
    until_ms: int | None = None,
    partitions: dict[int, Partition] | None = None,
) -> Iterator[Happening]:
    """Yields what `run` does, and each entry where it happened: after the deadlines before it, before what follows from it."""
    routers = {} if partitions is None else partitions
    last_ms: int | None = None
    for entry in entries:
        router = routers.get(entry.partition)
        if router is None:
            router = routers[entry.partition] = Partition(entry.partition, exact=not ticks)
        if not ticks:
            yield from _before(routers, entry.at_ms)
        yield entry
        yield from router.apply(entry)
        last_ms = entry.at_ms if last_ms is None else max(last_ms, entry.at_ms)
    if not ticks and last_ms is not None:
        yield from _before(routers, (last_ms if until_ms is None else until_ms) + 1)


def _before(routers: dict[int, Partition], at_ms: int) -> Iterator[Emitted]:
    """Fires the deadlines due before `at_ms`, over all partitions in the order of time."""
    while True:
        due = [(router.next_due_ms(), number) for number, router in routers.items()]
        first = min(((due_ms, number) for due_ms, number in due if due_ms is not None), default=None)
        if first is None or first[0] >= at_ms:
            return
        yield from routers[first[1]].fire_due(first[0])
