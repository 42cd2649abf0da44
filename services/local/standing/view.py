"""How things stand, for people: lines of at most 80 columns without colour; and as a record for programs.

One rule: what is left out for room is counted, and what came from a publisher is made fit to be shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from math import isfinite
from operator import itemgetter
from textwrap import wrap
from typing import Any

from rich.cells import cell_len, set_cell_size

from services.local.display import visible
from services.local.standing.look import EXACTLY_ONCE, READ
from services.local.standing.model import Agents, Held, Queue, Standing, Worker

WIDTH = 80
PARTITIONS_SHOWN_MAX = 12
QUEUES_SHOWN_MAX = 10
WORKERS_SHOWN_MAX = 20
CONCERNS_SHOWN_MAX = 8
WAITING_SHOWN_MAX = 6
_STATE_CHARS = 13
"""`restoring 42%`"""


def lines(standing: Standing, *, at_ms: int) -> Iterator[str]:
    """Give the picture, each line at most 80 columns wide."""
    now = datetime.fromtimestamp(at_ms // 1000, UTC)
    yield _row(("chat-routing", 40), (f"{now:%Y-%m-%d %H:%M:%S} UTC", -40))
    yield from _concerns(standing.concerns)
    yield ""
    yield _row(
        (f"events/s {_rate(standing.events_per_s)}", 20),
        (f"decisions/s {_rate(standing.decisions_per_s)}", 23),
        (f"dead letters {standing.dead_letters:,}", 18),
        (f"time-outs {_span(standing.deadline_lag_s)} late", 0),
    )
    numbers = {worker.name: number for number, worker in enumerate(standing.workers, start=1)}
    yield ""
    yield from _workers(standing.workers)
    yield ""
    yield from _partitions(standing.partitions, numbers)
    yield ""
    yield from _queues(standing.queues)
    yield ""
    yield from _told("AGENTS     ", _agents(standing.agents))
    live = ", ".join(f"{visible(phase)} {count:,}" for phase, count in sorted(standing.live.items()) if count)
    yield from _told("CHATS LIVE ", live or "none")
    missed = ", ".join(
        f"{visible(reason)} {count:,}" for reason, count in sorted(standing.missed.items()) if count
    )
    yield from _told("MISSED     ", missed or "none since the workers began")
    opened = ", ".join(
        f"{visible(target)} {count}" for target, count in sorted(standing.circuits_open.items())
    )
    yield from _told("CIRCUITS   ", f"open: {opened}" if opened else "all closed")
    waiting = "; ".join(_waiting(standing)) or "no effect waits for a server or a CRM"
    oldest = f"; the oldest undone effect: {_span(standing.undelivered_s)}" if standing.undelivered_s else ""
    yield from _told("WAITING    ", waiting + oldest)


def record(standing: Standing, *, at_ms: int) -> dict[str, Any]:
    """Return it for programs; an infinite time is null, as JSON has none."""
    waiting = [
        {**asdict(each), "left_s": each.left_s if isfinite(each.left_s) else None}
        for each in standing.waiting
    ]
    return {"at_ms": at_ms, "well": standing.well, **asdict(standing), "waiting": waiting}


def _concerns(concerns: tuple[str, ...]) -> Iterator[str]:
    if not concerns:
        yield "All is well."
        return
    yield f"NEEDS ATTENTION ({len(concerns)})"
    for concern in concerns[:CONCERNS_SHOWN_MAX]:
        yield from wrap(visible(concern), WIDTH, initial_indent="  ! ", subsequent_indent="    ")
    if len(concerns) > CONCERNS_SHOWN_MAX:
        yield f"  and {len(concerns) - CONCERNS_SHOWN_MAX} more"


def _workers(workers: tuple[Worker, ...]) -> Iterator[str]:
    yield _row(("WORKERS", 30), ("partitions", -10), ("in/s", -9), ("out/s", -9), ("  state", 22))
    # Those that are not ready first: they are why somebody looks.
    ranked = sorted(enumerate(workers, start=1), key=lambda each: each[1].state == "ready")
    for number, worker in ranked[:WORKERS_SHOWN_MAX]:
        state = ("ready" if worker.state == "ready" else "not ready") if worker.answers else "does not answer"
        yield _row(
            (f"{number:>3} {visible(worker.name)}", 30),
            (f"{worker.partitions:,}" if worker.answers else "?", -10),
            (_rate(worker.in_per_s), -9),
            (_rate(worker.out_per_s), -9),
            (f"  {visible(state)}", 22),
        )
    if len(workers) > WORKERS_SHOWN_MAX:
        yield f"    and {len(workers) - WORKERS_SHOWN_MAX} more"


def _partitions(partitions: Mapping[int, Mapping[str, Held]], numbers: Mapping[str, int]) -> Iterator[str]:
    """Who runs each partition of each service, and how far behind it is; a worker is named by its number above. Those alike are one line."""
    services = [service for service in READ if any(service in row for row in partitions.values())]
    if not services:
        yield "PARTITIONS unknown"
        return
    widths = {service: 24 if service in EXACTLY_ONCE else 12 for service in services}
    yield _row(("PART", 7), *((f"  {name.removeprefix('chat-')}", width) for name, width in widths.items()))
    alike = [
        ([number for number, _ in run], row)
        for row, run in groupby(sorted(partitions.items()), key=itemgetter(1))
    ]
    ranked = sorted(alike, key=lambda each: (-_trouble(each[1].values()), each[0]))
    for run, row in sorted(ranked[:PARTITIONS_SHOWN_MAX], key=itemgetter(0)):
        label = str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
        yield _row(
            (f"{label:>6}", 7), *((_cell(row[name], name, numbers), width) for name, width in widths.items())
        )
    rest = ranked[PARTITIONS_SHOWN_MAX:]
    if rest:
        most = max(held.lag or 0 for _, row in rest for held in row.values())
        yield f"       and {sum(len(run) for run, _ in rest)} more, at most {most:,} records behind"


def _trouble(row: Iterable[Held]) -> int:
    """What to show where there is no room for all: what nobody runs or is not running, then who is farthest behind."""
    return max(held.lag or 0 if held.state in ("running", "unknown") else 10**18 for held in row)


def _cell(held: Held, service: str, numbers: Mapping[str, int]) -> str:
    owner = "" if held.owner is None else str(numbers[held.owner])
    lag = "?" if held.lag is None else _lag(held.lag)
    if service not in EXACTLY_ONCE:
        return f"  {owner:>2} {lag:>7}"
    state, _, more = held.state.partition(", ")
    done = next((part for part in more.split(", ") if part.endswith("done")), "").removesuffix(" done")
    return f"  {owner:>2} {f'{state} {done}'.strip():<{_STATE_CHARS}}{lag:>6}"


def _lag(records: int) -> str:
    """At most six characters."""
    if records < 100_000:
        return f"{records:,}"
    return f"{records // 1_000:,}k" if records < 10_000_000 else f"{records // 1_000_000:,}M"


def _queues(queues: tuple[Queue, ...]) -> Iterator[str]:
    waiting = sum(queue.waiting for queue in queues)
    yield _row(("QUEUES", 43), ("waiting", -9), ("longest wait", -14), ("agents free", -14))
    for queue in queues[:QUEUES_SHOWN_MAX]:
        yield _row(
            (f"    {visible(queue.workspace)}", 21),
            (f"  {visible(queue.department)}", 22),
            (f"{queue.waiting:,}", -9),
            (_span(queue.longest_s), -14),
            (f"{queue.available:,}", -14),
        )
    if len(queues) > QUEUES_SHOWN_MAX:
        more = sum(queue.waiting for queue in queues[QUEUES_SHOWN_MAX:])
        yield f"    and {len(queues) - QUEUES_SHOWN_MAX} more, {more:,} of {waiting:,} waiting"
    if not queues:
        yield "    none known"


def _agents(agents: Agents) -> str:
    taken = "" if agents.occupancy is None else f"; {agents.occupancy:.0%} of what they can carry is taken"
    return f"{agents.room:,} with room, {agents.full:,} full, {agents.away:,} away, {agents.offline:,} offline{taken}"


def _waiting(standing: Standing) -> Iterator[str]:
    for each in standing.waiting[:WAITING_SHOWN_MAX]:
        left = f"about {_span(each.left_s)} left" if isfinite(each.left_s) else "nothing gets through"
        yield f"{visible(each.target)} {each.records:,}, the oldest for {_span(each.oldest_s)}, {left}"
    if len(standing.waiting) > WAITING_SHOWN_MAX:
        yield f"and {len(standing.waiting) - WAITING_SHOWN_MAX} more"


def _told(label: str, text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=label, subsequent_indent=" " * len(label))


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return "-"
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}"


def _span(seconds: float) -> str:
    """`45 s`, `3 min 5 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _row(*cells: tuple[str, int]) -> str:
    """Put texts into columns: so many cells wide, right-aligned where negative, as long as it is where 0; ideographs are two wide."""
    told = []
    for text, width in cells:
        room = abs(width) or cell_len(text)
        cut = text if cell_len(text) <= room else f"{set_cell_size(text, room - 1)}…"
        padding = " " * (room - cell_len(cut))
        told.append(padding + cut if width < 0 else cut + padding)
    return "".join(told).rstrip()
