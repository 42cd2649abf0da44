"""What an account at Sell has a few of and changes rarely: sources of leads, stages, users, custom fields.

The one rule: each list is read when it is first needed and kept for a while; a conversation costs no request for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Literal

from cachetools import TTLCache

from services.crm_sync.connectors.zendesk_sell.api import MANY_NAMED, NAMED, Named, Sell
from services.runtime.effects import Refused
from services.runtime.logs import log

Things = Mapping[int, Named]
FieldOwner = Literal["lead", "deal", "contact"]

KEPT_S = 600.0
LISTS_MAX = 16
USERS_MAX = 1_000
_log = log(__name__)


class SellLists:
    """The lists of one account. `now_s`: any clock that only goes forward."""

    def __init__(self, sell: Sell, *, now_s: Callable[[], float] = monotonic) -> None:
        self._sell = sell
        self._lists: TTLCache[str, Things] = TTLCache(LISTS_MAX, KEPT_S, timer=now_s)
        self._users: TTLCache[int, Named] = TTLCache(USERS_MAX, KEPT_S, timer=now_s)

    async def stages(self) -> Things:
        """Return the stages of all pipelines."""
        return await self._list("stages", lambda: self._sell.all("stages", MANY_NAMED))

    async def sources(self) -> Things:
        """Return the sources of leads."""
        return await self._list("lead_sources", lambda: self._sell.all("lead_sources", MANY_NAMED))

    async def custom_fields(self, of: FieldOwner) -> Things:
        """Return the custom fields of leads, deals or contacts. They come on one page, however many they are."""
        path = f"{of}/custom_fields"
        return await self._list(path, lambda: self._sell.page(path, MANY_NAMED))

    async def user(self, user_id: int) -> Named | None:
        """Return a user, or None where they are there no more."""
        known: Named | None = self._users.get(user_id)
        if known is None:
            try:
                known = self._users[user_id] = await self._sell.one(f"users/{user_id}", NAMED)
            except Refused:
                return None
        return known

    async def source_id(self, name: str) -> int | None:
        """Return the source of this name, made where it is missing; None where Sell does not let it be made."""
        there = await self._source(name)
        if there is not None:
            return there
        try:
            made = await self._sell.create("lead_sources", {"name": name}, NAMED)
        except Refused as refused:
            # Another worker may have made it. If none has, a lead matters more than its source.
            self._lists.pop("lead_sources", None)
            there = await self._source(name)
            if there is None:
                _log.warning("sell_source_not_made", code=refused.code)
            return there
        self._lists["lead_sources"] = {**await self.sources(), made.id: made}
        return made.id

    async def _source(self, name: str) -> int | None:
        known = (await self.sources()).values()
        return next((one.id for one in known if one.name.casefold() == name.casefold()), None)

    async def _list(self, name: str, read: Callable[[], Awaitable[list[Named]]]) -> Things:
        known: Things | None = self._lists.get(name)
        if known is None:
            known = self._lists[name] = {one.id: one for one in await read()}
        return known
