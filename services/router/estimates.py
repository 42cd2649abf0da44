"""How far announced waiting times were from the real ones: for a metric, never for a decision.

The one rule: nothing here is stored; a worker that takes a partition over begins without the estimates of the one before.
"""

from collections.abc import Iterable

from schemas.decisions import ChatAssigned, ChatClosed, ChatMissed, ChatQueued
from services.router.core.partition import Emitted

ESTIMATES_MAX = 100_000
"""Waiting chats of a partition whose estimates are kept; no more are taken in beyond that."""


class Estimates:
    """The announced waits of one partition, until the chat is assigned."""

    def __init__(self) -> None:
        self._announced: dict[tuple[str, str], float] = {}
        self._errors_s: list[float] = []

    def hear(self, emitted: Iterable[Emitted]) -> None:
        """Takes the decisions of one record."""
        for item in emitted:
            data = item.data
            match data:
                case ChatQueued() if data.estimated_wait_s is not None:
                    if len(self._announced) < ESTIMATES_MAX:
                        self._announced[item.workspace_id, data.chat_id] = data.estimated_wait_s
                case ChatAssigned() if self._announced:
                    announced_s = self._announced.pop((item.workspace_id, data.chat_id), None)
                    if announced_s is not None:
                        self._errors_s.append(abs(data.waited_ms / 1000 - announced_s))
                case ChatMissed() | ChatClosed() if self._announced:
                    self._announced.pop((item.workspace_id, data.chat_id), None)

    def errors(self) -> list[float]:
        """Gives the errors since the last call, in seconds."""
        errors, self._errors_s = self._errors_s, []
        return errors
