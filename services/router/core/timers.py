"""Deadlines: one agenda per partition, ordered by (due, creation), and the timers each chat or agent carries.

The one rule: a timer lives on the entity it belongs to (so it is stored with it); the agenda is only an index of them.
"""

from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple

from schemas.frozen import dataclass

Scope = Literal["chat", "agent"]
DISARMED_MIN = 1_000
"""A heap is not made anew for fewer disarmed timers than that."""


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
    """All armed timers of a partition.

    Most timers are disarmed long before they are due. They stay in the heap until they come up, or until half of it is such.
    """

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._armed: dict[tuple[str, int], Due] = {}
        """By workspace and creation number."""

    def add(self, due: Due) -> None:
        """Enters an armed timer."""
        self._armed[due.workspace_id, due.sequence] = due
        heappush(self._heap, due)

    def remove(self, workspace_id: str, sequence: int) -> None:
        """Takes a disarmed timer out; it must be there."""
        del self._armed[workspace_id, sequence]
        if len(self._heap) > 2 * len(self._armed) + DISARMED_MIN:
            self._heap = list(self._armed.values())
            heapify(self._heap)

    def first(self) -> Due | None:
        """The next timer to go off, or None."""
        heap = self._heap
        while heap:
            due = heap[0]
            if (due.workspace_id, due.sequence) in self._armed:
                return due
            heappop(heap)
        return None
