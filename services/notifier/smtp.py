"""Sending over SMTP: connections, and what a server's answers mean.

    421, no answer, no connection, TLS or login failing   Unavailable: the server, not the mail
    4xx, no answer about one of several recipients        Transient: this mail or recipient, minutes later
    no answer after the message                           Unknown: it may have been taken
    5xx                                                   Refused, for all or for one recipient

The one rule: a connection serves a few mails in a row, then a fresh one is made; one on which anything went wrong is
thrown away with all that was not sent yet, never reconnected.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Literal, Self, cast

import aiosmtplib
from aiosmtplib import SMTPException, SMTPReadTimeoutError, SMTPRecipientRefused, SMTPResponseException

from services.notifier.core import RECIPIENTS_MAX
from services.notifier.message import Written
from services.runtime.effects import Limits, Refused, Transient, Unavailable, Unknown

MAILS_PER_CONNECTION_MAX = 50
IDLE_S_MAX = 2.0
COMMAND_S_MAX = 20.0
RECIPIENT_S_MAX = 300.0
"""For the answer to a recipient's name (RFC 5321, 4.5.3.2.3): some servers look far for it, or make whoever asks wait."""
ANSWER_S_MAX = 600.0
"""For the message and the answer after its final dot; less brings double mails (RFC 5321, 4.5.3.2.6)."""
UNKNOWN_WAIT_S = 30.0
"""Before a mail is sent again that may have been taken."""
CONNECT_STEPS_MAX = 10
"""Commands before and after a mail's recipients: connecting, greetings, TLS, login, sender."""
MAIL_LIMITS = Limits(
    call_ms_max=int(
        1000 * (CONNECT_STEPS_MAX * COMMAND_S_MAX + RECIPIENTS_MAX * RECIPIENT_S_MAX + ANSWER_S_MAX)
    ),
    attempts_max=15,
    wait_max_ms=60_000,
)
"""Tries of a 4xx over six minutes, since grey lists commonly turn a mail away for five."""
SMTPUTF8_MISSING: Final = "smtputf8_not_supported"
Tls = Literal["auto", "starttls", "tls", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An SMTP server. `tls="auto"` requires STARTTLS unless the server is on this machine."""

    host: str
    port: int
    tls: Tls = "auto"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    local_hostname: str = "localhost"

    @property
    def on_loopback(self) -> bool:
        """Whether mails to it stay on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class _Silent(Exception):
    """The server says nothing about one of several recipients."""

    def __init__(self, recipient: str) -> None:
        super().__init__()
        self.recipient = recipient


class _Client(aiosmtplib.SMTP):
    """Closed, it is gone at once: nothing that waits is still sent, and nobody is waited for, as TLS would do for 30 s."""

    def close(self) -> None:
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()
        super().close()

    def leave(self) -> None:
        """Say QUIT, and go without hearing the answer, on which nothing depends (RFC 5321, 4.1.1.10)."""
        if self.is_connected:
            cast(asyncio.WriteTransport, self.transport).write(b"QUIT\r\n")
        self.close()


@dataclass(slots=True, eq=False)
class _Connection:
    client: _Client
    mails: int = 0


class Post:
    """Sends mails through one server. Use it as an async context manager; its caller bounds how many at a time."""

    def __init__(
        self, server: Server, *, answer_s_max: float = ANSWER_S_MAX, unknown_wait_s: float = UNKNOWN_WAIT_S
    ) -> None:
        self._server = server
        self._answer_s_max = answer_s_max
        self._unknown_wait_s = unknown_wait_s
        self._idle: dict[_Connection, asyncio.TimerHandle] = {}
        """With what ends each, the last given back last."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections that nobody uses; those under way end by themselves, soon after their mails."""
        while self._idle:
            self._leave(next(reversed(self._idle)))

    async def send(self, written: Written, recipients: Sequence[str]) -> dict[str, Refused | Transient]:
        """Sends one mail; returns the recipients the server would not take. Raises what holds for all of them."""
        try:
            async with self._lent() as client:
                return await self._sent(client, written, recipients)
        except _Silent as silent:
            # Nothing was handed over. The others get theirs; whoever is left over has the server to themselves next time.
            others = [each for each in recipients if each != silent.recipient]
            return {**await self.send(written, others), silent.recipient: Transient("smtp_timeout")}
        except SMTPResponseException as error:
            raise _meaning(error) from None
        except (SMTPException, OSError) as error:
            raise Unavailable(f"smtp_{type(error).__name__.lower()}") from None

    async def _sent(
        self, client: _Client, written: Written, recipients: Sequence[str]
    ) -> dict[str, Refused | Transient]:
        options = []
        if written.smtputf8:
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            if not client.supports_extension("smtputf8"):
                raise Refused(SMTPUTF8_MISSING)
            options.append("SMTPUTF8")
        encoding = "utf-8" if written.smtputf8 else "ascii"
        await client.mail(written.sender, options=options, encoding=encoding)
        refused: dict[str, Refused | Transient] = {}
        for recipient in recipients:
            try:
                await client.rcpt(recipient, encoding=encoding, timeout=RECIPIENT_S_MAX)
            except SMTPReadTimeoutError:
                if len(recipients) == 1:
                    raise
                raise _Silent(recipient) from None
            except SMTPRecipientRefused as error:
                meaning = _meaning(error)
                if isinstance(meaning, Unavailable):
                    raise meaning from None
                refused[recipient] = meaning
        if len(refused) < len(recipients):
            await self._handed_over(client, written)
        else:
            await client.rset()
        return refused

    async def _handed_over(self, client: _Client, written: Written) -> None:
        try:
            await client.data(written.message, timeout=self._answer_s_max)
        except SMTPResponseException:
            raise
        except (SMTPException, OSError):
            raise Unknown("smtp_unknown", retry_after_s=self._unknown_wait_s) from None

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[_Client]:
        connection = await self._connected()
        try:
            yield connection.client
        except BaseException:
            connection.client.close()
            raise
        self._give_back(connection)

    async def _connected(self) -> _Connection:
        if self._idle:
            connection, expiry = self._idle.popitem()
            expiry.cancel()
            if connection.client.is_connected:
                return connection
        return await self._connect()

    async def _connect(self) -> _Connection:
        server = self._server
        tls = server.tls if server.tls != "auto" else ("off" if server.on_loopback else "starttls")
        client = _Client(
            hostname=server.host,
            port=server.port,
            use_tls=tls == "tls",
            start_tls=tls == "starttls",
            username=server.user,
            password=server.password,
            local_hostname=server.local_hostname,
            timeout=COMMAND_S_MAX,
        )
        try:
            await client.connect()
        except aiosmtplib.SMTPAuthenticationError:
            raise Unavailable("smtp_login") from None
        except ssl.SSLError:
            raise Unavailable("smtp_tls") from None
        except (SMTPException, OSError) as error:
            raise Unavailable(f"smtp_{type(error).__name__.lower()}") from None
        return _Connection(client)

    def _give_back(self, connection: _Connection) -> None:
        connection.mails += 1
        if connection.mails >= MAILS_PER_CONNECTION_MAX:
            connection.client.leave()
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.call_later(IDLE_S_MAX, self._leave, connection)

    def _leave(self, connection: _Connection) -> None:
        self._idle.pop(connection).cancel()
        connection.client.leave()


def _meaning(error: SMTPResponseException) -> Refused | Transient | Unavailable:
    """The failure a server's answer stands for; 421 and 530 are about the connection, not about the mail."""
    code = f"smtp_{error.code}"
    if error.code in {421, 530} or error.code < 400:
        return Unavailable(code)
    return Transient(code) if error.code < 500 else Refused(code)
