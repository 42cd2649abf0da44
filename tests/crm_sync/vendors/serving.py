"""A vendor's API on loopback for tests, and the ways in which an answer of it gets lost.

The one rule: what a fault does is done to the next request that it is meant for, and to that one only; all that follows goes well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from socket import socket
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.crm_sync.connector_world import Line, Loss

START_LIMIT_S = 10
HOST = "127.0.0.1"

Writes = Callable[[str, str], bool]
"""Whether a request with this method and path changes something."""


class _Server(uvicorn.Server):
    """uvicorn for one test: it ends at once, where uvicorn looks ten times a second and then waits. Signals are the test run's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:  # noqa: ARG002  # it has none but its own
        for listening in self.servers:
            listening.close()
        for connection in list(self.server_state.connections):
            known: Any = connection
            known.transport.abort()
        answering = list(self.server_state.tasks)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        for listening in self.servers:
            await listening.wait_closed()


class Serving:
    """An app on a free port of loopback, with what was asked of it. Use `open`."""

    def __init__(self, app: ASGIApp, *, writes: Writes) -> None:
        self._app = app
        self._writes = writes
        self._server = _Server(
            uvicorn.Config(
                self._called,
                interface="asgi3",
                host=HOST,
                port=0,
                log_config=None,
                log_level="critical",
                lifespan="off",
            )
        )
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request, in order."""
        self.loss: Loss | None = None
        self.turned_away: tuple[int, dict[str, str], bytes] | None = None
        """Status, headers and body for the next request, which is not carried out."""

    def asked_since(self) -> list[str]:
        """Return what was asked since this was asked for last: method and path of each request."""
        asked = [f"{method} {path}" for method, path in self.asked]
        self.asked.clear()
        return asked

    @property
    def url(self) -> str:
        """The address of the API."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://{HOST}:{port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Serving"]:
        """Serve until the block ends."""
        serving = asyncio.create_task(self._server.serve())
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while not self._server.started:
                    assert not serving.done()
                    await asyncio.sleep(0.005)
            yield self
        finally:
            self._server.ended.set()
            await serving

    async def _called(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        self.asked.append((method, path))
        if self.turned_away is not None:
            (status, headers, body), self.turned_away = self.turned_away, None
            await _answer(send, status, headers, body)
            return
        loss = None
        if self.loss is not None and self._writes(method, path):
            loss, self.loss = self.loss, None
        if loss is None:
            await self._app(scope, receive, send)
            return
        if loss == "before":
            self._hang_up(scope)
            return
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        assert messages[0]["status"] < 300, "the request was to succeed, and its answer to get lost"
        body = b"".join(one.get("body", b"") for one in messages[1:])
        if loss == "after" or (loss == "half" and not body):
            self._hang_up(scope)
        elif loss == "half":
            await send(messages[0])
            # The head promises more, and the server ends the connection.
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        else:
            await _answer(send, 502, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>")

    def _hang_up(self, scope: Scope) -> None:
        for connection in self._server.server_state.connections:
            known: Any = connection
            if known.client == scope["client"]:
                known.transport.abort()


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Door(Protocol):
    """Where a vendor asks for the login."""

    locked_out: bool
    """Whether it is taken no more."""


class HttpLine(Line):
    """The faults of any API over HTTP. `too_many`: the body of a vendor's 429; `doors`: all that have to let the connector in."""

    losses = frozenset[Loss]({"before", "after", "half", "gateway"})
    limits_rate = True
    asks_login = True

    def __init__(self, serving: Serving, *doors: Door, too_many: bytes) -> None:
        self._serving = serving
        self._doors = doors
        self._too_many = too_many

    async def lose(self, how: Loss) -> None:
        self._serving.loss = how

    async def ask_to_wait(self, wait_s: int) -> None:
        headers = {"content-type": "application/json", "retry-after": str(wait_s)}
        self._serving.turned_away = (429, headers, self._too_many)

    async def lock_out(self) -> None:
        for door in self._doors:
            door.locked_out = True

    async def let_in(self) -> None:
        for door in self._doors:
            door.locked_out = False
