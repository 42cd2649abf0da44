"""Rebuilds a partition's state from inputs and the decisions that were recorded, without deciding anything.

The one rule: nothing here calls `decide`. What a step led to is given by whoever folds, and only `evolve` applies it.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import TypeAlias

from services.router.core.last_agents import LastAgent
from services.router.core.partition import Entry, Partition, Step
from services.router.core.state import Agent, Chat, Department, Monitor, Rota

_Entity: TypeAlias = Agent | Chat | Department | Monitor | Rota | LastAgent


class Fold:
    """A state under reconstruction; `partition` holds it."""

    def __init__(self, number: int, *, exact: bool = False) -> None:
        """`exact`: the log holds no ticks; deadlines fire at their exact time."""
        self.partition = Partition(number, exact=exact)

    def enter(self, entry: Entry) -> Iterator[Step]:
        """Applies a record; gives the step it makes, or those of the deadlines a tick reaches; none for one seen before."""
        if self.partition.clock.exact:
            yield from self.fire(entry.at_ms - 1)
        yield from self.partition.steps(entry)

    def fire(self, until_ms: int) -> Iterator[Step]:
        """Fires the deadlines due up to and including `until_ms` at their exact time: for a log without ticks."""
        yield from self.partition.due_steps(until_ms)


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
        if left.counts != right.counts:
            found.append(f"workspace {workspace_id}: counts")
        for kind, mine, theirs in (
            ("department", left.departments, right.departments),
            ("rota", left.rotas, right.rotas),
            ("agent", left.agents, right.agents),
            ("chat", left.chats, right.chats),
            ("monitor", left.monitors, right.monitors),
            (
                "last agent",
                {each.id: each for each in left.last_agents},
                {each.id: each for each in right.last_agents},
            ),
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
