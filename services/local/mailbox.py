"""A mail server on the loopback interface that keeps every mail as a file instead of delivering it.

One rule: `NNNN.eml` holds the bytes as they came over the wire, never re-encoded, so that tests can judge those; who
sent it to whom (the SMTP envelope) stands beside it in `NNNN.json`.
"""

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from services.local.errors import LocalError
from services.local.files import write_whole
from services.local.ports import LOOPBACK

_MAIL_BYTES_MAX = 32 * 1024 * 1024
_MAILS_MAX = 1_000_000
_START_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Mail:
    """One received mail: its file, the SMTP envelope, and the message as parsed from the file."""

    path: Path
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


class Mailbox:
    """The mail server, as a context manager; it runs in a thread of its own and continues an existing folder."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self.folder = folder
        self.port = port
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._end: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name="mailbox", daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        if not self._started.wait(_START_LIMIT_S):
            raise LocalError(
                f"The mail sink did not start within {_START_LIMIT_S:g} s: stop some programs and try again."
            )
        if self._failure is not None:
            raise LocalError(
                f"The mail sink cannot listen on {LOOPBACK}:{self.port} ({self._failure.strerror}): stop what does."
            ) from self._failure
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        assert self._end is not None, "entered"
        self._end()
        self._thread.join()

    def mails(self) -> list[Mail]:
        """Return all mails of the folder, in the order in which they came."""
        return [_read(path) for path in sorted(self.folder.glob("*.eml"), key=lambda path: int(path.stem))]

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        from aiosmtpd.smtp import SMTP  # the extra `local`, which the container image does without

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._end = partial(loop.call_soon_threadsafe, ended.set)
        sink = _Sink(self.folder)
        sessions: WeakSet[Any] = WeakSet()

        def session() -> Any:
            new = SMTP(
                sink,
                loop=loop,
                hostname="localhost",
                data_size_limit=_MAIL_BYTES_MAX,
                enable_SMTPUTF8=True,
            )
            sessions.add(new)
            return new

        try:
            server = await loop.create_server(session, host=LOOPBACK, port=self.port)
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        await ended.wait()
        server.close()
        # Not `wait_closed`: it would wait for the clients to go.
        for open_session in sessions:
            if open_session.transport is not None:
                open_session.transport.abort()
        await asyncio.sleep(0)  # the loop closes the sockets of aborted connections in its next round


class _Sink:
    """The handler aiosmtpd calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max((int(path.stem) for path in folder.glob("*.eml")), default=0)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Keep one mail; the answer goes to the client."""
        if self._last >= _MAILS_MAX:
            return "452 The mail folder is full"
        self._last += 1
        path = self._folder / f"{self._last:04d}.eml"
        about = {"sender": envelope.mail_from, "recipients": envelope.rcpt_tos}
        write_whole(path.with_suffix(".json"), json.dumps(about, ensure_ascii=False))
        draft = path.with_suffix(".new")
        draft.write_bytes(envelope.original_content)
        draft.replace(path)
        return "250 Kept"


def _read(path: Path) -> Mail:
    about = json.loads(path.with_suffix(".json").read_text("utf-8"))
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    return Mail(path, about["sender"], tuple(about["recipients"]), message)
