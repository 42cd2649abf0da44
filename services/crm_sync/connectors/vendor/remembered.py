"""What an account was asked and is taken as known for a while: which fields a card can show, what an owner is called.

The one rule: an answer is as old as `KEPT_S` at most. Whatever changes more often than people look at cards is not kept.
"""

from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

from cachetools import TTLCache

KEPT_S = 600.0
KEPT_MAX = 1_000

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class Remembered(Generic[Key, Answer]):
    """Answers by what they are about. `now_s`: any clock that only goes forward."""

    def __init__(self, *, now_s: Callable[[], float] = monotonic) -> None:
        self._kept: TTLCache[Key, Answer] = TTLCache(KEPT_MAX, KEPT_S, timer=now_s)

    async def of(self, key: Key, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what is known, or what `ask` returns, which is kept, or raises, which is not."""
        known = self._kept.get(key)
        if known is None:
            known = self._kept[key] = await ask()
        return known
