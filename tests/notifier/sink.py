"""A mail server on loopback that answers as a test tells it to, and keeps the bytes as they came."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult


@dataclass
class Sink:
    """What came, and what to answer: `rcpt` and `data` return an SMTP answer, or None to accept; `rcpt` may take its time over it."""

    rcpt: Callable[[str], str | Awaitable[str | None] | None] = lambda _address: None
    data: Callable[[bytes], str | None] = lambda _message: None
    login: bool = False
    drop_after_data: int = 0
    silent_after_data: bool = False
    port: int = 0
    mails: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    connections: int = 0
    logins: int = 0

    @property
    def messages(self) -> list[bytes]:
        return [message for _recipients, message in self.mails]

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        answer = self.rcpt(address)
        if isawaitable(answer):
            answer = await answer
        if answer is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        answer = self.data(envelope.original_content)
        if answer is not None:
            return answer
        self.mails.append((tuple(envelope.rcpt_tos), envelope.original_content))
        if self.drop_after_data:
            self.drop_after_data -= 1
            server.transport.abort()
        if self.silent_after_data:
            await asyncio.get_running_loop().create_future()
        return "250 OK"

    def _authenticate(self, *arguments: Any) -> AuthResult:
        self.logins += 1
        credentials = arguments[-1]
        return AuthResult(success=credentials.login == b"user" and credentials.password == b"right")

    @asynccontextmanager
    async def open(self, **named: Any) -> AsyncIterator["Sink"]:
        """Serves on `port`, or on any free one."""

        def connected() -> SMTP:
            self.connections += 1
            return SMTP(
                self,
                hostname="localhost",
                enable_SMTPUTF8=True,
                authenticator=self._authenticate if self.login else None,
                auth_required=self.login,
                auth_require_tls=False,
                **named,
            )

        server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
