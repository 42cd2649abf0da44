"""The wire to a mail server: a proxy on loopback that is slow, or breaks while a message is on its way.

The one rule: it never changes a byte; it holds answers back, or drops what comes, with the connection.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from services.local.ports import LOOPBACK

PIECE_BYTES_MAX = 65_536
DATA = b"DATA\r\n"
END = b"\r\n.\r\n"


class Break(Enum):
    """What may befall a message."""

    IN_THE_MIDDLE = "the server gets half of a piece of it, and then nothing"
    AFTER_THE_END = "the server takes it, and its answer is lost"


@dataclass
class Wire:
    """Where it leads, how long each answer is held back, and what befalls the next messages, one by one."""

    server_port: int
    delay_s: float = 0.0
    breaks: list[Break] = field(default_factory=list)
    port: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Serve on any free port."""
        server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, from_client: StreamReader, to_client: StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(LOOPBACK, self.server_port)
        lost = asyncio.Event()
        pumps = [
            asyncio.create_task(self._answers(from_server, to_client, lost)),
            asyncio.create_task(self._requests(from_client, to_server, lost)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for writer in (to_client, to_server):
            writer.close()

    async def _answers(self, reader: StreamReader, writer: StreamWriter, lost: asyncio.Event) -> None:
        while answer := await reader.read(PIECE_BYTES_MAX):
            if lost.is_set():
                return
            await asyncio.sleep(self.delay_s)
            writer.write(answer)

    async def _requests(self, reader: StreamReader, writer: StreamWriter, lost: asyncio.Event) -> None:
        last = b""
        while piece := await reader.read(PIECE_BYTES_MAX):
            if last == DATA and self.breaks and self.breaks[0] is Break.IN_THE_MIDDLE:
                self.breaks.pop(0)
                writer.write(piece[: len(piece) // 2])
                return
            last = (last + piece)[-len(DATA) :]
            if last.endswith(END) and self.breaks:
                self.breaks.pop(0)
                lost.set()
            writer.write(piece)
            await writer.drain()
