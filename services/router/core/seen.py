"""Which records a workspace has seen: the same (source, id) again within a day changes nothing.

The one rule: an id is forgotten by log time and count alone, never by when it was stored, so every run forgets alike.
"""

from collections import deque
from collections.abc import Iterable, Iterator

SEEN_MS = 24 * 3600 * 1000
SEEN_MAX = 200_000
"""Both limits per workspace (the contract, Envelope)."""


class _Ids:
    """The ids of one workspace with their times, and in order: to find the first key of a dictionary takes long once many before it are gone."""

    __slots__ = ("at_ms", "order")

    def __init__(self) -> None:
        self.at_ms: dict[str, int] = {}
        self.order: deque[str] = deque()

    def add(self, key: str, at_ms: int) -> None:
        self.at_ms[key] = at_ms
        self.order.append(key)
        if len(self.order) > SEEN_MAX:
            del self.at_ms[self.order.popleft()]

    def forget(self, before_ms: int) -> None:
        at_ms, order = self.at_ms, self.order
        while order and at_ms[order[0]] < before_ms:
            del at_ms[order.popleft()]


class Seen:
    """The ids of the last day, per workspace, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, _Ids] = {}
        self.fresh: dict[str, list[tuple[str, int]]] = {}
        """What was noted since the changelog was last written: (id, time), per workspace."""

    def note(self, workspace_id: str, source: str, event_id: str, *, at_ms: int) -> bool:
        """Takes an id; False if it was there already."""
        key = f"{source}\n{event_id}"
        ids = self._of(workspace_id)
        ids.forget(at_ms - SEEN_MS)
        if key in ids.at_ms:
            return False
        ids.add(key, at_ms)
        self.fresh.setdefault(workspace_id, []).append((key, at_ms))
        return True

    def restore(self, workspace_id: str, noted: Iterable[tuple[str, int]]) -> None:
        """Takes stored ids; they come oldest first. One that was forgotten and came again stands at its later time."""
        ids = self._of(workspace_id)
        known, order = ids.at_ms, ids.order
        for key, at_ms in noted:
            if key in known:
                order.remove(key)
            known[key] = at_ms
            order.append(key)
        while len(order) > SEEN_MAX:
            del known[order.popleft()]

    def oldest_ms(self, workspace_id: str) -> int | None:
        """The time of the oldest id kept of a workspace, or None."""
        ids = self._ids.get(workspace_id)
        return ids.at_ms[ids.order[0]] if ids and ids.order else None

    def all(self) -> Iterator[tuple[str, str, int]]:
        """Every id kept: (workspace, id, time)."""
        for workspace_id, ids in self._ids.items():
            for key in ids.order:
                yield workspace_id, key, ids.at_ms[key]

    def _of(self, workspace_id: str) -> _Ids:
        ids = self._ids.get(workspace_id)
        if ids is None:
            ids = self._ids[workspace_id] = _Ids()
        return ids
