"""Which records a workspace has seen: the same (source, id) again within a day changes nothing.

The one rule: an id is forgotten by log time and count alone, never by when it was stored, so every run forgets alike.
"""

from collections.abc import Iterator

SEEN_MS = 24 * 3600 * 1000
SEEN_MAX = 200_000
"""Both limits per workspace (the contract, Envelope)."""


class Seen:
    """The ids of the last day, per workspace, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, int]] = {}
        self.fresh: dict[str, list[tuple[str, int]]] = {}
        """What was noted since the changelog was last written: (id, time), per workspace."""

    def note(self, workspace_id: str, source: str, event_id: str, *, at_ms: int) -> bool:
        """Takes an id; False if it was there already."""
        key = f"{source}\n{event_id}"
        ids = self._ids.setdefault(workspace_id, {})
        self._forget(ids, at_ms)
        if key in ids:
            return False
        ids[key] = at_ms
        if len(ids) > SEEN_MAX:
            del ids[next(iter(ids))]
        self.fresh.setdefault(workspace_id, []).append((key, at_ms))
        return True

    def restore(self, workspace_id: str, key: str, at_ms: int) -> None:
        """Takes a stored id; they come oldest first. One that was forgotten and came again stands at its later time."""
        ids = self._ids.setdefault(workspace_id, {})
        ids.pop(key, None)
        ids[key] = at_ms
        if len(ids) > SEEN_MAX:
            del ids[next(iter(ids))]

    def oldest_ms(self, workspace_id: str) -> int | None:
        """The time of the oldest id kept of a workspace, or None."""
        ids = self._ids.get(workspace_id)
        return next(iter(ids.values())) if ids else None

    def all(self) -> Iterator[tuple[str, str, int]]:
        """Every id kept: (workspace, id, time)."""
        for workspace_id, ids in self._ids.items():
            for key, at_ms in ids.items():
                yield workspace_id, key, at_ms

    @staticmethod
    def _forget(ids: dict[str, int], at_ms: int) -> None:
        while ids:
            oldest = next(iter(ids))
            if ids[oldest] >= at_ms - SEEN_MS:
                return
            del ids[oldest]
