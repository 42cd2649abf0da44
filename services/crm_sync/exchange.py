"""Connectors that are exchanged while they are in use, as other accounts are taken.

The one rule: a call ends with the connectors it began with; those that are replaced close once the last call of theirs has ended.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.requests import OPERATIONS
from services.crm_sync.connectors.vendor.opened import Closing


@dataclass(slots=True, eq=False)
class Connectors:
    """Connectors by name, made of the same accounts; `parts` are what has to be closed. `calls`: those under way."""

    by_name: Mapping[str, Connector]
    parts: Sequence[Closing]
    calls: int = 0

    async def close(self) -> None:
        """Close all connections."""
        for part in self.parts:
            await part.close()


class Exchange:
    """The connectors of now."""

    def __init__(self, first: Connectors) -> None:
        self.now = first
        self._closing: set[asyncio.Task[None]] = set()
        self._names = tuple(first.by_name)

    def connectors(self) -> dict[str, Connector]:
        """Return what stands for each connector, whichever it is at a time."""
        return {name: cast("Connector", _Standing(self, name)) for name in self._names}

    def take(self, following: Connectors) -> None:
        """From now on calls go to these, which have the same names and declare the same."""
        assert tuple(following.by_name) == self._names, "what they declare never changes"
        before, self.now = self.now, following
        self.close_if_over(before)

    def close_if_over(self, connectors: Connectors) -> None:
        """Close those that were replaced, unless calls of theirs are under way."""
        if connectors is not self.now and connectors.calls == 0:
            closing = asyncio.create_task(connectors.close(), name="connectors")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections, those of replaced connectors too."""
        await asyncio.gather(*self._closing)
        await self.now.close()


class _Standing:
    """Stands for the connector of a name."""

    def __init__(self, exchange: Exchange, name: str) -> None:
        self._exchange = exchange
        self._name = name

    def __getattr__(self, operation: str) -> Any:
        if operation not in OPERATIONS:
            return getattr(self._exchange.now.by_name[self._name], operation)

        async def call(*arguments: Any, **named: Any) -> Any:
            connectors = self._exchange.now
            connectors.calls += 1
            try:
                return await getattr(connectors.by_name[self._name], operation)(*arguments, **named)
            finally:
                connectors.calls -= 1
                self._exchange.close_if_over(connectors)

        return call
