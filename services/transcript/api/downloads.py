"""Answers that are files: sent as they are made, however long they are, a few at a time.

The one rule: a place is taken before the first byte and given back whatever ends the answer: its last byte, a reader who is gone or reads
nothing, a database that fails. A file that is not whole is never ended as if it were.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.runtime.logs import explain, log
from services.runtime.problems import HEADERS, NotNow

DOWNLOADS_MAX = 4
"""Under way at once: half of the database's connections (`services.runtime.database`) are left to lists and pages."""
DOWNLOADS_OF_WORKSPACE_MAX = 2
"""So nobody takes all of them."""
RETRY_AFTER_S = 30
SEND_WAIT_MAX_S = 60
"""How long a reader may take for a piece of a file."""

_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Download:
    """A file to be saved under a name. `pieces` read the archive as they are asked for; a name may hold anything."""

    name: str
    media_type: str
    pieces: AsyncGenerator[bytes, None]


class Downloads:
    """Those under way, by workspace."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    def answer(self, download: Download, *, workspace_id: str, head: bool) -> Response:
        """The file as a response; `head`: without the file. Raises NotNow where too many are under way."""
        headers = {**HEADERS, "Content-Disposition": _attachment(download.name)}
        if head:
            return Response(headers=headers, media_type=download.media_type)
        if self._under_way[workspace_id] >= DOWNLOADS_OF_WORKSPACE_MAX:
            told = f"{DOWNLOADS_OF_WORKSPACE_MAX} exports of the workspace are under way: wait for one to end"
            raise NotNow(told, retry_after_s=RETRY_AFTER_S)
        if self._under_way.total() >= DOWNLOADS_MAX:
            raise NotNow("as many exports as may be are under way", retry_after_s=RETRY_AFTER_S)
        self._under_way[workspace_id] += 1
        return _File(download, headers, ended=lambda: self._end(workspace_id))

    def _end(self, workspace_id: str) -> None:
        self._under_way[workspace_id] -= 1
        self._under_way += Counter()  # forgets those of whom none is left


def _attachment(name: str) -> str:
    """RFC 6266: the name as it is, and for older readers what is left of it in ASCII."""
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _File(StreamingResponse):
    def __init__(self, download: Download, headers: dict[str, str], *, ended: Callable[[], None]) -> None:
        super().__init__(download.pieces, headers=headers, media_type=download.media_type)
        self._pieces = download.pieces
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(SEND_WAIT_MAX_S):
                await send(message)

        try:
            async with aclosing(self._pieces):
                await super().__call__(scope, receive, send_soon)
        except (SQLAlchemyError, OSError) as error:
            # Nothing more is sent, the end of the answer neither: so the server closes the connection, and the reader knows.
            _log.warning("download_broken", error=explain(error))
        finally:
            self._ended()
