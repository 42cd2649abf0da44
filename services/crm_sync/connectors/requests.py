"""A connector's way out: each request to a CRM is counted under the method that needed it, and waits for its turn.

    counted(connector, …)     what the worker wraps each connector in; a method's requests are counted under its name
    async with sending():     what a connector puts around each request it sends, a login's included
    SendingTransport()        does that for an httpx client: `httpx.AsyncClient(transport=SendingTransport())`

The one rule: a request is one that the CRM would count, so there is one place in each connector where requests are sent, and it is in
`sending()`. Outside the worker (nobody has wrapped the connector) nothing is counted and nobody waits. `Away` may come out of
`sending()`, and passes through a connector as it is.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Protocol, cast

import httpx

from services.crm_sync.connectors.interface import Connector
from services.runtime.effects import Transient, Unavailable
from services.runtime.metrics import Metrics

OPERATIONS = frozenset(
    name for name, member in vars(Connector).items() if iscoroutinefunction(member) and name != "close"
)
"""The connector's methods that ask the CRM."""


class Pace(Protocol):
    """Whose turn it is, for all who send requests to the account of a workspace."""

    def turn(self, workspace_id: str) -> AbstractAsyncContextManager[None]:
        """Hold a turn: enter before a request is sent, leave when it has been answered. Raises Away where that takes long."""

    async def told_to_wait(self, workspace_id: str, *, wait_s: float) -> None:
        """Let nobody have a turn for so long. Raises Away where whoever was told had better not wait for it."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A method of a connector that is being carried out."""

    connector: str
    operation: str
    workspace_id: str
    pace: Pace | None
    metrics: Metrics


_current: ContextVar[_Call | None] = ContextVar("crm_call", default=None)


@asynccontextmanager
async def sending() -> AsyncIterator[None]:
    """Around one request, until its answer begins. Raises Away when its turn is too far off."""
    call = _current.get()
    if call is None:
        yield
    elif call.pace is None:
        _count(call)
        yield
    else:
        async with call.pace.turn(call.workspace_id):
            _count(call)
            yield


def _count(call: _Call) -> None:
    call.metrics.add("crm_requests", connector=call.connector, operation=call.operation)


class SendingTransport(httpx.AsyncBaseTransport):
    """Sends each request of an httpx client, redirects and logins included, within `sending()`."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` is what sends in the end, httpx's own by default."""
        self._transport = transport or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response once its head is there."""
        async with sending():
            return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


class _Counted:
    """The connector itself, but that its methods say who is calling."""

    def __init__(self, connector: Connector, *, pace: Pace | None, metrics: Metrics) -> None:
        self._connector = connector
        self._pace = pace
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._connector, name)
        if name not in OPERATIONS:
            return member

        async def call(*arguments: Any, workspace_id: str, **named: Any) -> Any:
            current = _Call(self._connector.declared.name, name, workspace_id, self._pace, self._metrics)
            token = _current.set(current)
            try:
                return await member(*arguments, workspace_id=workspace_id, **named)
            except (Unavailable, Transient) as failure:
                if failure.retry_after_s is not None and self._pace is not None:
                    await self._pace.told_to_wait(workspace_id, wait_s=failure.retry_after_s)
                raise
            finally:
                _current.reset(token)

        return call


def counted(connector: Connector, *, pace: Pace | None, metrics: Metrics) -> Connector:
    """Return the connector with its requests counted and, where there is a pace, sent in turn."""
    return cast("Connector", _Counted(connector, pace=pace, metrics=metrics))
