"""What the workers' answers say, put together: their pages in, one `Standing` out.

One rule: pure. It asks nobody and has no clock, so that every picture can be made in a test.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from schemas.topics import EVENTS, ROUTING
from services.local.standing.look import EXACTLY_ONCE, READ, ROUTER, Look, Page, Rates, service_of
from services.runtime.metrics import MetricName

LAG_CONCERN_RECORDS = 10_000
DEADLINE_CONCERN_S = 5.0
"""Under overload no time-out fires (the contract, Time); two ticks' lateness is usual."""
UNDELIVERED_CONCERN_S = 900.0
_OF_QUEUES: tuple[MetricName, ...] = ("waiting_chats", "longest_wait_seconds", "agents_available")

Lags = Mapping[str, Mapping[int, int]]
"""Records after the committed offset, by consumer group and partition."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process. `state`: `ready`, or why not; rates are None after one look, or a restart."""

    name: str
    service: str
    address: str
    answers: bool
    state: str
    partitions: int
    in_per_s: float | None
    out_per_s: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """One partition of one service. `owner`: the worker's name; None where none runs it. `lag`: None where nobody knows."""

    owner: str | None
    state: str
    lag: int | None


@dataclass(frozen=True, slots=True)
class Queue:
    """Chats that wait in a department, or in all that have no name of their own in the metrics."""

    workspace: str
    department: str
    waiting: int
    longest_s: float
    available: int


@dataclass(frozen=True, slots=True)
class Agents:
    """Agents by standing; `occupancy`: what is taken of what those online can carry, None where nobody is."""

    room: int
    full: int
    away: int
    offline: int
    occupancy: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Effects that wait for a server or a CRM. `left_s`: infinite while nothing gets through."""

    target: str
    records: int
    oldest_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything is at a moment."""

    workers: tuple[Worker, ...]
    partitions: dict[int, dict[str, Held]]
    events_per_s: float | None
    decisions_per_s: float | None
    queues: tuple[Queue, ...]
    agents: Agents
    live: dict[str, int]
    missed: dict[str, int]
    circuits_open: dict[str, int]
    waiting: tuple[Waiting, ...]
    undelivered_s: float
    dead_letters: int
    deadline_lag_s: float
    unaccounted: int
    concerns: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Return whether nothing needs attention."""
        return not self.concerns


def unowned(look: Look) -> bool:
    """Return whether the pages can't tell all lags: a worker is silent, or none speaks for a partition."""
    rows = _partitions(look, {}).values()
    return len(look.pages) < len(look.answers) or any(
        held.lag is None for row in rows for held in row.values()
    )


def standing(now: Look, before: Look | None, lags: Lags | None) -> Standing:
    """Put two looks together. `before`: an earlier one, for rates; `lags`: what Kafka says where it was asked, None if it did not answer."""
    rates = Rates(now, before)
    pages = list(now.pages.values())
    found = Standing(
        workers=tuple(_worker(name, now, rates) for name in now.answers),
        partitions=_partitions(now, lags or {}),
        events_per_s=rates.less("records_in", "ticks", service=ROUTER, topic=EVENTS),
        decisions_per_s=rates.of("records_out", service=ROUTER, topic=ROUTING),
        queues=_queues(pages),
        agents=_agents(pages),
        live={phase: int(count) for phase, count in _by_label(pages, "chats_live", "phase").items()},
        missed={
            reason: int(count)
            for reason, count in _by_label(pages, "chats_missed", "reason").items()
            if count
        },
        circuits_open={
            target: int(count)
            for target, count in _by_label(pages, "circuit_open", "target").items()
            if count
        },
        waiting=_waiting(pages),
        undelivered_s=_greatest(pages, "effects_undelivered_seconds"),
        dead_letters=int(sum(page.total("dead_letters") for page in pages)),
        deadline_lag_s=_greatest(pages, "deadline_lag_seconds"),
        unaccounted=int(sum(page.total("chats_unaccounted") for page in pages)),
    )
    silent = (
        () if lags is not None else ("Kafka does not answer: how far silent workers are behind is not known",)
    )
    return replace(found, concerns=(*_concerns(found), *silent))


def _worker(name: str, now: Look, rates: Rates) -> Worker:
    answer = now.answers[name]
    page = now.pages.get(name)
    return Worker(
        name=name,
        service=service_of(name) or name,
        address=answer.address,
        answers=page is not None,
        state=_state(answer.unready),
        partitions=int(page.total("partitions_assigned")) if page else 0,
        in_per_s=rates.of_worker("records_in", name),
        out_per_s=rates.of_worker("records_out", name),
    )


def _state(unready: str) -> str:
    """Why a worker is not ready, partitions that stand alike together; or `ready`."""
    alike: dict[str, list[int]] = defaultdict(list)
    for number, told in _standings(unready).items():
        alike[told.partition(", ")[0]].append(number)
    others = [reason for reason in unready.split("; ") if reason and not _standings(reason)]
    return (
        "; ".join([*others, *(f"{_numbers(numbers)} {told}" for told, numbers in alike.items())]) or "ready"
    )


def _partitions(now: Look, lags: Lags) -> dict[int, dict[str, Held]]:
    """Every partition of every service whose workers were asked."""
    services = {service for name in now.answers if (service := service_of(name)) is not None}
    held: dict[str, dict[int, Held]] = {service: {} for service in services}
    for name, page in now.pages.items():
        service = service_of(name)
        if service is not None:
            held[service] |= dict(_held(name, page, _standings(now.answers[name].unready)))
    numbers = {number for each in held.values() for number in each}
    numbers |= {number for service in services for number in lags.get(service, {})}
    return {
        number: {
            service: held[service].get(number) or _lone(service, lags.get(service, {}).get(number))
            for service in READ
            if service in services
        }
        for number in range(max(numbers, default=-1) + 1)
    }


def _lone(service: str, lag: int | None) -> Held:
    """A partition no worker speaks for: those of effects say nothing of a partition before its first record."""
    return Held(None, "nobody" if service in EXACTLY_ONCE else "unknown", lag)


def _held(worker: str, page: Page, standings: Mapping[int, str]) -> Iterator[tuple[int, Held]]:
    """The partitions a worker has, by the lag it shows for each, and by what it says of those it is taking over."""
    lags: Counter[int] = Counter()
    for labels, value in page.of("lag_records"):
        lags[int(labels["partition"])] += int(value)
    for number in lags.keys() | standings.keys():
        yield number, Held(worker, standings.get(number, "running"), lags.get(number))


def _standings(unready: str) -> dict[int, str]:
    """What `/readyz` says of partitions that do not run: `partition 3: restoring, 5 of 9 records read, …; partition 4: …`."""
    found: dict[int, str] = {}
    for reason in unready.split("; "):
        where, _, state = reason.partition(": ")
        word, _, number = where.partition(" ")
        if word == "partition" and number.isdecimal():
            found[int(number)] = state
    return found


def _by_label(pages: Iterable[Page], name: MetricName, label: str) -> dict[str, float]:
    """Sum a metric over all workers, by one label."""
    found: dict[str, float] = defaultdict(float)
    for page in pages:
        for labels, value in page.of(name):
            found[labels[label]] += value
    return dict(found)


def _greatest(pages: Iterable[Page], name: MetricName) -> float:
    return max((value for page in pages for _, value in page.of(name)), default=0.0)


def _waiting(pages: Iterable[Page]) -> tuple[Waiting, ...]:
    """Workers of one service share the table of what is parked, so the most that one says is what there is."""
    found: dict[str, Waiting] = {}
    for page in pages:
        for labels, records in page.of("effects_waiting_records"):
            target = labels["target"]
            one = Waiting(
                target,
                int(records),
                page.total("effects_waiting_seconds", target=target),
                page.total("effects_waiting_left_seconds", target=target),
            )
            if one.records and (target not in found or one.records > found[target].records):
                found[target] = one
    return tuple(sorted(found.values(), key=lambda each: (-each.oldest_s, each.target)))


def _concerns(found: Standing) -> Iterator[str]:
    for worker in found.workers:
        if worker.state != "ready":
            yield f"{worker.name}: {worker.state}"
    for service in EXACTLY_ONCE:
        lone = [
            number
            for number, row in found.partitions.items()
            if service in row and row[service].owner is None
        ]
        if lone:
            yield f"{service}: nobody runs {_numbers(lone)}"
    for service in READ:
        late = [
            number
            for number, row in found.partitions.items()
            if service in row and (row[service].lag or 0) > LAG_CONCERN_RECORDS
        ]
        if late:
            yield f"{service}: more than {LAG_CONCERN_RECORDS:,} records behind in {_numbers(late)}"
    if found.deadline_lag_s > DEADLINE_CONCERN_S:
        yield f"{ROUTER}: time-outs fire {found.deadline_lag_s:.0f} s late"
    for target, count in sorted(found.circuits_open.items()):
        yield f"{target}: left alone for now, it failed too often ({count} {'circuit' if count == 1 else 'circuits'} open)"
    if found.undelivered_s > UNDELIVERED_CONCERN_S:
        yield f"an effect has been waiting for {found.undelivered_s / 60:.0f} min"
    if found.unaccounted:
        yield f"{ROUTER}: {found.unaccounted:,} chats lost or doubled: arrivals are not outcomes and live chats"


def _numbers(numbers: list[int]) -> str:
    """`partition 3`, or `partitions 1, 4–6`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"partition{'' if len(numbers) == 1 else 's'} {told}"


def _queues(pages: Iterable[Page]) -> tuple[Queue, ...]:
    """Every department's, the longest wait first. A workspace is in one partition, but `other` may be in several."""
    places: dict[tuple[str, str], Queue] = {}
    for page in pages:
        by_name = {
            name: {(labels["workspace"], labels["department"]): value for labels, value in page.of(name)}
            for name in _OF_QUEUES
        }
        for place in set().union(*by_name.values()):
            chats, longest_s, free = (by_name[name].get(place, 0.0) for name in _OF_QUEUES)
            had = places.get(place) or Queue(*place, waiting=0, longest_s=0.0, available=0)
            places[place] = replace(
                had,
                waiting=had.waiting + int(chats),
                longest_s=max(had.longest_s, longest_s),
                available=had.available + int(free),
            )
    named = sorted(places.values(), key=lambda each: (each.workspace, each.department))
    return tuple(sorted(named, key=lambda each: (each.longest_s, each.waiting), reverse=True))


def _agents(pages: list[Page]) -> Agents:
    by_standing = _by_label(pages, "agents", "standing")
    capacity = sum(page.total("agent_capacity") for page in pages)
    return Agents(
        **{name: int(by_standing.get(name, 0)) for name in ("room", "full", "away", "offline")},
        occupancy=sum(page.total("agent_load") for page in pages) / capacity if capacity else None,
    )
