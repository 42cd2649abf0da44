"""Whom each visitor had last in a department, for departments that are sticky.

The one rule: what is forgotten depends on log time and count alone, so every run forgets alike.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

KNOWN_MS = 30 * 24 * 3600 * 1000
VISITORS_MAX = 100_000
"""Both limits per workspace (the contract, Memory)."""


@dataclass(slots=True)
class LastAgent:
    """The agent a visitor had last in a department. `sequence`: the workspace's running number of when."""

    id: str
    agent_id: str
    at_ms: int
    sequence: int


class LastAgents:
    """The last agents of one workspace, the longest unseen visitor first."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, LastAgent] = OrderedDict()

    def of(self, department_id: str, visitor_id: str, *, now_ms: int) -> str | None:
        """The agent's id, unless there was none within the last 30 days."""
        found = self._by_id.get(_id(department_id, visitor_id))
        return None if found is None or found.at_ms + KNOWN_MS < now_ms else found.agent_id

    def note(
        self, department_id: str, visitor_id: str, agent_id: str, *, at_ms: int, sequence: int
    ) -> tuple[LastAgent, list[LastAgent]]:
        """Takes down who has a visitor now; gives the entry, and those that are forgotten for it."""
        entry = LastAgent(_id(department_id, visitor_id), agent_id, at_ms, sequence)
        self._by_id.pop(entry.id, None)
        self._by_id[entry.id] = entry
        forgotten: list[LastAgent] = []
        while len(self._by_id) > VISITORS_MAX or next(iter(self._by_id.values())).at_ms + KNOWN_MS < at_ms:
            forgotten.append(self._by_id.popitem(last=False)[1])
        return entry, forgotten

    def take(self, entry: LastAgent) -> None:
        """Takes a stored entry, in any order; `rebuild` follows."""
        self._by_id[entry.id] = entry

    def rebuild(self) -> None:
        """Puts what was stored into its order."""
        self._by_id = OrderedDict(sorted(self._by_id.items(), key=lambda item: item[1].sequence))

    def __iter__(self) -> Iterator[LastAgent]:
        return iter(self._by_id.values())


def _id(department_id: str, visitor_id: str) -> str:
    return f"{department_id}\n{visitor_id}"
