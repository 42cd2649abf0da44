"""How connections to a mail server end: what was given up is gone at once, and a server that was not at fault hears QUIT."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.notifier.message import Written
from services.notifier.smtp import Post, Server
from services.runtime.effects import Unknown

LIMIT_S = 20
PIECE_BYTES_MAX = 65_536
BEYOND_ALL_BUFFERS = Written(
    sender="chats@example.com", message=b"Subject: long\r\n\r\n" + 64 * 300_000 * b"x", smtputf8=False
)
END = b"\r\n.\r\n"
SHORT = Written(sender="chats@example.com", message=b"Subject: short\r\n\r\nshort\r\n", smtputf8=False)


class Sparing:
    """A mail server that reads a message only when it is let, and keeps the commands and the end of the last message."""

    def __init__(self) -> None:
        self.port = 0
        self.commands: list[bytes] = []
        self.end = b""
        self.reads = asyncio.Event()
        self.left = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Sparing"]:
        """Serve on any free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        try:
            while line := await reader.readline():
                self.commands.append(line.split()[0])
                if line == b"DATA\r\n":
                    writer.write(b"354 go on\r\n")
                    await self._message(reader)
                writer.write(b"250 OK\r\n")
        except ConnectionError:
            self.commands.append(b"(reset)")
        finally:
            writer.close()
            self.left.set()

    async def _message(self, reader: StreamReader) -> None:
        await self.reads.wait()
        self.end = b""
        while self.end != END and (piece := await reader.read(PIECE_BYTES_MAX)):
            self.end = (self.end + piece)[-len(END) :]


async def test_a_message_given_up_is_not_handed_over_afterwards() -> None:
    async with (
        Sparing().open() as server,
        Post(Server(host="127.0.0.1", port=server.port), answer_s_max=0.2) as post,
    ):
        with pytest.raises(Unknown):
            await post.send(BEYOND_ALL_BUFFERS, ["sales@example.com"])
        server.reads.set()
        await asyncio.wait_for(server.left.wait(), LIMIT_S)
    assert server.end != END


async def test_a_server_that_was_not_at_fault_hears_quit() -> None:
    async with Sparing().open() as server:
        server.reads.set()
        async with Post(Server(host="127.0.0.1", port=server.port)) as post:
            for _time in range(2):
                await post.send(SHORT, ["sales@example.com"])
        await asyncio.wait_for(server.left.wait(), LIMIT_S)
    assert server.commands[:8] == [b"EHLO", *2 * [b"MAIL", b"RCPT", b"DATA"], b"QUIT"]
