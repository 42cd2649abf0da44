"""Which department a chat goes to: the one asked for, the default one, or down an overflow chain.

The one rule: `resolve` is read by `evolve` (which puts the chat there) and its notes by `decide` (which says why), so both
see one answer.
"""

from typing import Literal

from schemas.frozen import dataclass
from schemas.types import Channel, MissedDetail
from services.router.core import hours
from services.router.core.state import Department, Workspace

OVERFLOW_HOPS_MAX = 3
Obstacle = Literal["after_hours", "queue_full", "nobody_online"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a chat goes; `turned_away` says why it can't wait there."""

    department_id: str
    turned_away: MissedDetail | None = None
    notes: tuple[str, ...] = ()


def resolve(ws: Workspace, wanted: str | None, *, by_visitor: bool) -> Entry:
    """The department for a chat that asked for `wanted`, at the step's time. A visitor may not name a private one."""
    department, notes = _reachable(ws, wanted, by_visitor=by_visitor)
    if not department.open:
        return Entry(department.id, "department_unavailable", notes)
    obstacle = _obstacle(ws, department)
    if obstacle is None:
        return Entry(department.id, None, notes)
    overflow = _overflow(ws, department)
    if overflow is not None:
        return Entry(overflow.id, None, (*notes, f"overflow from {department.id}: {obstacle}"))
    detail: MissedDetail | None = None if obstacle == "nobody_online" else obstacle
    if detail == "after_hours" and department.settings.routing.after_hours == "queue":
        detail = None
    return Entry(department.id, detail, notes)


def choose(ws: Workspace, wanted: str | None, *, by_visitor: bool) -> Entry:
    """The department without looking at its queue and hours: for a chat that a bot serves first."""
    department, notes = _reachable(ws, wanted, by_visitor=by_visitor)
    return Entry(department.id, None, notes)


def resolve_again(ws: Workspace, department_id: str) -> Entry:
    """The department for a chat that was taken in before: its own, whatever its queue's length or hours; only a closed one sends it on."""
    entry = choose(ws, department_id, by_visitor=False)
    if ws.departments[entry.department_id].open:
        return entry
    return Entry(entry.department_id, "department_unavailable", entry.notes)


def cost(department: Department, channel: Channel) -> int:
    """What a chat of a channel takes of an agent's room; fixed as it enters a queue, and kept by whoever has it from there."""
    return department.settings.routing.channel_cost.get(channel, 1)


def _reachable(ws: Workspace, wanted: str | None, *, by_visitor: bool) -> tuple[Department, tuple[str, ...]]:
    default = ws.departments[ws.default_id]
    if wanted is None:
        return default, ()
    asked = ws.departments.get(wanted)
    if asked is None:
        return default, ("default: the department asked for is unknown",)
    if not asked.open:
        return default, (f"default: {asked.id} is {'deleted' if asked.removed else 'disabled'}",)
    if by_visitor and asked.settings.visibility == "private":
        return default, (f"default: {asked.id} is private",)
    return asked, ()


def _obstacle(ws: Workspace, department: Department) -> Obstacle | None:
    """Why a chat should go elsewhere, if it can."""
    routing = department.settings.routing
    index = ws.indexes[department.id]
    if not within_hours(ws, department):
        return "after_hours"
    if routing.max_queue and len(index.waiting) >= routing.max_queue:
        return "queue_full"
    return None if index.online else "nobody_online"


def within_hours(ws: Workspace, department: Department) -> bool:
    """Whether a department's hours, or its workspace's, are open at the step's time."""
    opening = department.settings.hours or ws.profile.settings.hours
    return hours.is_open(opening, timezone=ws.profile.settings.timezone, at_ms=ws.now_ms)


def _overflow(ws: Workspace, start: Department) -> Department | None:
    """The first department down the chain that has no obstacle. No chain leads from public ones to private ones, which only receive transfers."""
    passed = [start.id]
    department = start
    for _ in range(OVERFLOW_HOPS_MAX):
        target = ws.departments.get(department.settings.routing.overflow_department_id or "")
        if target is None or not target.open or target.id in passed:
            return None
        if target.settings.visibility == "private" and start.settings.visibility == "public":
            return None
        if _obstacle(ws, target) is None:
            return target
        passed.append(target.id)
        department = target
    return None
