"""Rebuilds a partition's state from inputs and the decisions that were recorded, without deciding anything.

The one rule: nothing here calls `decide`. What a step led to is given by whoever folds, and only `evolve` applies it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

from schemas.decisions import Cause, Position
from schemas.envelope import PartitionEnvelope
from schemas.events import Event
from services.router.core.evolve import evolve
from services.router.core.partition import Entry, Partition
from services.router.core.state import Agent, Chat, Department, Workspace
from services.router.core.timers import DeadlineReached

_Entity: TypeAlias = Agent | Chat | Department


@dataclass(frozen=True, slots=True)
class Step:
    """An event that has just been applied. The recorded decisions it caused must be applied before the next step is asked for."""

    ws: Workspace
    event: Event | DeadlineReached
    cause: Cause
    number: int
    """How many decisions and notices the workspace had made before: the next one's number is one more."""


class Fold:
    """A state under reconstruction; `partition` holds it."""

    def __init__(self, number: int, *, exact: bool = False) -> None:
        """`exact`: the log holds no ticks; deadlines fire at their exact time."""
        self.partition = Partition(number, exact=exact)
        self._offset = 0

    def enter(self, entry: Entry) -> Iterator[Step]:
        """Applies a record; gives the step it makes, or those of the deadlines a tick reaches; none for one seen before."""
        partition, envelope = self.partition, entry.envelope
        if partition.clock.exact:
            yield from self.fire(entry.at_ms - 1)
        at_ms = partition.clock.record(entry.at_ms)
        self._offset = entry.offset
        if isinstance(envelope, PartitionEnvelope):
            yield from self._fire_reached(partition.clock.tick(envelope.data.limit_ms))
        elif partition.seen.note(envelope.workspaceid, envelope.source, envelope.id, at_ms=at_ms):
            ws = partition.workspace(envelope.workspaceid)
            ws.begin(
                envelope.data,
                request_id=envelope.id,
                now_ms=at_ms,
                clock_ms=partition.clock.deadline_ms(),
                cause=f"{envelope.id}@{entry.partition}:{entry.offset}",
                position=Position(entry.partition, entry.offset),
            )
            evolve(ws, envelope.data)
            cause = Cause(event_id=envelope.id, partition=entry.partition, offset=entry.offset)
            yield Step(ws, envelope.data, cause, ws.profile.decided)

    def fire(self, until_ms: int) -> Iterator[Step]:
        """Fires the deadlines due up to and including `until_ms` at their exact time: for a log without ticks."""
        agenda, clock = self.partition.agenda, self.partition.clock
        while (due := agenda.first()) is not None and due.due_ms <= until_ms:
            clock.record(due.due_ms)
            yield from self._fire_reached(due.due_ms)

    def _fire_reached(self, clock_ms: int) -> Iterator[Step]:
        """Fires what the deadline clock has reached, in order; the steps between may arm more."""
        partition = self.partition
        while (due := partition.agenda.first()) is not None and due.due_ms <= clock_ms:
            ws = partition.workspaces[due.workspace_id]
            event = ws.take_timer(due)
            ws.begin(
                event,
                request_id="",
                now_ms=partition.clock.last_ms,
                clock_ms=partition.clock.last_ms if partition.clock.exact else clock_ms,
                cause=event.name,
                position=Position(partition.number, self._offset),
            )
            evolve(ws, event)
            yield Step(ws, event, Cause(timer=event.name), ws.profile.decided)


def differences(one: Partition, other: Partition) -> list[str]:
    """What two states of a partition do not have in common, by name; the clock does not count."""
    found = [
        f"workspace {workspace_id} stands in one only"
        for workspace_id in sorted(one.workspaces.keys() ^ other.workspaces.keys())
    ]
    for workspace_id in sorted(one.workspaces.keys() & other.workspaces.keys()):
        left, right = one.workspaces[workspace_id], other.workspaces[workspace_id]
        if left.profile != right.profile:
            found.append(f"workspace {workspace_id}: profile")
        for kind, mine, theirs in (
            ("department", left.departments, right.departments),
            ("agent", left.agents, right.agents),
            ("chat", left.chats, right.chats),
        ):
            found += [
                f"workspace {workspace_id}: {kind} {entity_id}: {_fields(mine.get(entity_id), theirs.get(entity_id))}"
                for entity_id in sorted(mine.keys() | theirs.keys())
                if mine.get(entity_id) != theirs.get(entity_id)
            ]
    return found


def _fields(one: _Entity | None, other: _Entity | None) -> str:
    """The names of the fields in which two entities differ."""
    if one is None or other is None:
        return "stands in one only"
    return ", ".join(
        field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)
    )
