"""A mail server that throws every mail away and counts, in a process of its own.

One rule: it costs next to nothing, so that what is measured is the sender; it takes whatever it is told, in order, one command at a time.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import uvloop

from services.local.ports import LOOPBACK

SLOW_PREFIX = b"slow"
"""An address that begins with it is answered `slow_s` late."""
_START_LIMIT_S = 20.0
_GREETING = b"220 sink ESMTP\r\n"
_CAPABILITIES = b"250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
_OK, _GO_ON, _BYE = b"250 OK\r\n", b"354 go on\r\n", b"221 bye\r\n"
_END = b"\r\n.\r\n"


class Counts:
    """How many mails have come so far; `quick` are those to nobody slow."""

    def __init__(self, quick: "Synchronized[int]", slow: "Synchronized[int]") -> None:
        self._quick = quick
        self._slow = slow

    @property
    def quick(self) -> int:
        return int(self._quick.value)

    @property
    def slow(self) -> int:
        return int(self._slow.value)


class _Session(asyncio.Protocol):
    def __init__(self, came: Callable[[bool], None], slow_s: float) -> None:
        self._came = came
        self._slow_s = slow_s
        self._waiting = b""
        self._in_data = False
        self._is_slow = False

    def connection_made(self, transport: Any) -> None:  # uvloop's are no asyncio.Transport
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while self._data() if self._in_data else self._command():
            pass

    def _data(self) -> bool:
        if not self._waiting.endswith(_END):
            return False
        self._waiting, self._in_data = b"", False
        self._came(self._is_slow)
        self._transport.write(_OK)
        return False

    def _command(self) -> bool:
        line, end, rest = self._waiting.partition(b"\r\n")
        if not end:
            return False
        self._waiting = rest
        match line[:4].upper():
            case b"EHLO":
                self._transport.write(_CAPABILITIES)
            case b"DATA":
                self._in_data = True
                self._transport.write(_GO_ON)
            case b"MAIL":
                self._is_slow = False
                self._transport.write(_OK)
            case b"RCPT" if line[len(b"RCPT TO:<") :].startswith(SLOW_PREFIX):
                self._is_slow = True
                asyncio.get_running_loop().call_later(self._slow_s, self._transport.write, _OK)
            case b"QUIT":
                self._transport.write(_BYE)
                self._transport.close()
            case _:
                self._transport.write(_OK)
        return True


async def _serve(
    told: Connection, quick: "Synchronized[int]", slow: "Synchronized[int]", slow_s: float
) -> None:
    def came(is_slow: bool) -> None:
        count = slow if is_slow else quick
        count.value += 1  # nobody else writes it

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(came, slow_s), LOOPBACK, 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(told: Connection, quick: "Synchronized[int]", slow: "Synchronized[int]", slow_s: float) -> None:
    uvloop.run(_serve(told, quick, slow, slow_s))


@contextmanager
def running(*, slow_s: float) -> Iterator[tuple[int, Counts]]:
    """Give the port of a sink, and its counts, as long as it is entered."""
    context = get_context("spawn")
    told, tells = context.Pipe(duplex=False)
    quick, slow = context.Value("q", 0), context.Value("q", 0)
    process = context.Process(target=_run, args=(tells, quick, slow, slow_s), name="sink", daemon=True)
    process.start()
    try:
        if not told.poll(_START_LIMIT_S):
            raise RuntimeError(f"the sink has not started within {_START_LIMIT_S:g} s")
        yield told.recv(), Counts(quick, slow)
    finally:
        process.terminate()
        process.join()
