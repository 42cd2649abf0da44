"""Who may be worked on while a workspace's CRM takes only so many requests a second: the others are turned away, and brought in turn.

    from its topic   at most two of a queue, and none while others of it are parked: each holds a slot that other workspaces need
    parked           as many of a queue as keep the workspace's pace busy

The one rule: a record is let in as a whole. One that is turned away between its requests asks the CRM anew for what it had learned.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from services.runtime.effects import BUSY_RETRY_S, PARKED, Away

FROM_TOPIC_MAX = 2
PLACES_MAX = 32
"""As many as are brought from the parking at a time."""
REQUESTS = "/requests"
"""Ends the name of the queue of a workspace's agents, who would not wait behind thousands of conversations."""


class Admission:
    """The places of all workspaces of one connector in this worker."""

    def __init__(self, name: str, *, per_s_max: float, waits: Callable[[str], bool]) -> None:
        """`waits` says whether any record of a queue is parked."""
        self._name = name
        # Half as many as requests in a second: enough also where a CRM takes half a second to answer.
        self._places = min(max(1, int(per_s_max) // 2), PLACES_MAX)
        self._waits = waits
        self._inside: Counter[str] = Counter()

    @asynccontextmanager
    async def admitted(self, workspace_id: str, *, of_agent: bool = False) -> AsyncIterator[None]:
        """Hold a place while a record is worked on. Raises Away when there is none for it."""
        queue = f"{self._name}/{workspace_id}{REQUESTS if of_agent else ''}"
        places = self._places
        if not PARKED.get():
            places = 0 if self._waits(queue) else min(places, FROM_TOPIC_MAX)
        if self._inside[queue] >= places:
            raise Away(queue, retry_s=BUSY_RETRY_S)
        self._inside[queue] += 1
        try:
            yield
        finally:
            self._inside[queue] -= 1
            if not self._inside[queue]:
                del self._inside[queue]

    def room(self, queue: str) -> int:
        """Return how many more of a queue would be let in from the parking."""
        return self._places - self._inside[queue]


def room_in(admissions: Mapping[str, Admission], queue: str) -> int | None:
    """Return how many more of a queue the connector it waits for would let in; None where it lets everybody in."""
    admission = admissions.get(queue.partition("/")[0])
    return None if admission is None else admission.room(queue)
