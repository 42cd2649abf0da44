"""Access tokens of one account: a fixed one, or one that the vendor gives for a while and that is renewed.

The one rule: who was turned away says with which token; only that one is renewed, so a hundred who are turned away make one renewal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from services.runtime.wall_clock import now_ms

RENEWED_EARLY_MS = 60_000
"""A token that ends sooner is not used any more: a request takes its time, and clocks differ."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a vendor gave. `until_ms`: None if it has no end; `refresh`: where the vendor gives a new one each time; `url`: of the API."""

    access: str
    until_ms: int | None = None
    refresh: str | None = None
    url: str | None = None


class Login(Protocol):
    """Where the tokens of an account come from."""

    async def token(self, *, turned_away: str | None = None) -> Token | None:
        """Return a token that is good as far as anybody knows; None where there is no other than the one turned away.

        Raises Unavailable, with `login_refused` where the vendor does not renew it.
        """


class Fixed:
    """A token that somebody made at the vendor by hand, and that does not end."""

    def __init__(self, access: str) -> None:
        self._token = Token(access)

    async def token(self, *, turned_away: str | None = None) -> Token | None:
        """Return the one there is."""
        return None if turned_away == self._token.access else self._token


Renew = Callable[[Token | None], Awaitable[Token]]
"""Asks the vendor for a token; it is given the last one, whose `refresh` may be what to ask with. Raises Unavailable."""


class Kept(Protocol):
    """Where renewed tokens are kept for all workers."""

    async def renewed(self, credentials: str, *, is_good: Callable[[Token], bool], renew: Renew) -> Token:
        """Return the kept token of these credentials if it is good, or the renewed one. Raises Unavailable."""


class Renewed:
    """A token that ends. `credentials`: all that it is got with, as one text; it never leaves this process."""

    def __init__(
        self, credentials: str, *, renew: Renew, kept: Kept, now_ms: Callable[[], int] = now_ms
    ) -> None:
        self._credentials = credentials
        self._renew = renew
        self._kept = kept
        self._now_ms = now_ms
        self._token: Token | None = None
        self._renewing = asyncio.Lock()

    async def token(self, *, turned_away: str | None = None) -> Token | None:
        """Return the one in use, or the next one."""

        def is_good(token: Token) -> bool:
            lasts = token.until_ms is None or token.until_ms - RENEWED_EARLY_MS > self._now_ms()
            return lasts and token.access != turned_away

        async with self._renewing:
            if self._token is None or not is_good(self._token):
                self._token = await self._kept.renewed(self._credentials, is_good=is_good, renew=self._renew)
            return self._token
