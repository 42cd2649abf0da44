"""Deadlines: one agenda per partition, ordered by (due, creation), and the timers each chat or agent carries.

The one rule: a timer lives on the entity it belongs to (so it is stored with it); the agenda is only an index of them.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sortedcontainers import SortedList

Scope = Literal["chat", "agent"]


class Due(NamedTuple):
    """One armed timer, in firing order."""

    due_ms: int
    sequence: int
    workspace_id: str
    scope: Scope
    subject: str
    key: str


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """A timer went off: an event like any record. `key` is its kind, with an argument after a slash."""

    scope: Scope
    subject: str
    key: str
    due_ms: int

    @property
    def kind(self) -> str:
        """What ran out: wait, offer, reply and so on."""
        return self.key.partition("/")[0]

    @property
    def argument(self) -> str:
        """What it ran out for, where a chat has several of a kind (the agent of a cool-down)."""
        return self.key.partition("/")[2]

    @property
    def name(self) -> str:
        """The name a decision gives as its cause."""
        return f"{self.key}/{self.subject}@{self.due_ms}"


class Agenda:
    """All armed timers of a partition."""

    def __init__(self) -> None:
        self._due: SortedList[Due] = SortedList()

    def add(self, due: Due) -> None:
        """Enters an armed timer."""
        self._due.add(due)

    def remove(self, due: Due) -> None:
        """Takes a disarmed timer out; it must be there."""
        self._due.remove(due)

    def first(self) -> Due | None:
        """The next timer to go off, or None."""
        return self._due[0] if self._due else None
