"""Waiting for what sends no event: another process, a file, a server's books."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_INTERVAL_S = 0.02


async def until(condition: Callable[[], bool | Awaitable[bool]], *, limit_s: float) -> None:
    """Return when the condition holds. Raises TimeoutError after the limit."""
    async with asyncio.timeout(limit_s):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(POLL_INTERVAL_S)
