"""The network between the hosts and the brokers: a proxy on loopback that stalls, cuts and answers late.

The one rule: it never changes a byte. Whatever it lets pass stays in order, so all that goes wrong is what a real network
does. It knows Kafka's framing only so far as to tell a commit (EndTxn) and its answer.

A Kafka client follows the addresses the brokers advertise, so every broker has a listener (a "door") for every host,
advertised as a port of this proxy:

    with Network(brokers=3, hosts=2) as network, EmbeddedKafka(brokers=3, doors=network.doors) as kafka:
        …  # a worker with CHAT_BOOTSTRAP=network.bootstrap(0) reaches all brokers, coordinators too, through the proxy
"""

import asyncio
import contextlib
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self, TypeAlias, TypeVar

from services.local.broker_files import Door
from services.local.ports import LOOPBACK, free_ports

Result = TypeVar("Result")

END_TXN = 26
CONTROL_LIMIT_S = 30.0
"""How long a fault may take to come into force."""


class AtCommit(Enum):
    """What may befall a commit on its way."""

    STALL = "its connection stands still before the broker sees it; what was held arrives, late, when the host is healed"
    LOSE_ANSWER = "the broker commits, its answer never comes, and the connection stays"
    CUT_AFTER = "the broker commits, its answer is lost, and the host is cut off"


Action: TypeAlias = AtCommit | Callable[[], None]
"""A callback runs in the proxy's thread, before the commit passes; it must not call the network."""


@dataclass(slots=True)
class _Commit:
    """A fault that waits for the next commit of a host."""

    action: Action
    met: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True, eq=False)
class _Host:
    """One host's side of the network."""

    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    is_cut: bool = False
    delay_s: float = 0.0
    commit: _Commit | None = None
    connections: set["asyncio.Task[None]"] = field(default_factory=set)

    def heal(self) -> None:
        self.is_cut, self.delay_s, self.commit = False, 0.0, None
        self.flowing.set()
        self.released.set()

    def cut(self) -> None:
        self.is_cut = True
        for connection in self.connections:
            connection.cancel()


async def _frame(reader: StreamReader) -> bytes:
    """Read one request or answer, with its length."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))


@contextlib.asynccontextmanager
async def _closing(writer: StreamWriter) -> AsyncIterator[None]:
    """Flush and close at an ordinary end; when cancelled, break off."""
    try:
        yield
        writer.close()
        await writer.wait_closed()
    finally:
        writer.transport.abort()


class _Connection:
    """One connection of a host to one broker."""

    def __init__(
        self,
        host: _Host,
        client: tuple[StreamReader, StreamWriter],
        broker: tuple[StreamReader, StreamWriter],
    ) -> None:
        self._host = host
        self._from_client, self._to_client = client
        self._from_broker, self._to_broker = broker
        self._commits: dict[bytes, _Commit] = {}

    async def run(self) -> None:
        """Pass on what comes until one side is done; what a client sent before it closed still reaches the broker."""
        pumps = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _requests(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _frame(self._from_client)
                if int.from_bytes(request[4:6], "big") == END_TXN and self._host.commit is not None:
                    await self._befall(self._host.commit, correlation=request[8:12])
                await self._host.flowing.wait()
                self._to_broker.write(request)
                await self._to_broker.drain()

    async def _befall(self, commit: _Commit, *, correlation: bytes) -> None:
        self._host.commit = None
        match commit.action:
            case AtCommit.LOSE_ANSWER | AtCommit.CUT_AFTER:
                self._commits[correlation] = commit
                return
            case AtCommit.STALL:
                self._host.released.clear()
                commit.met.set()
                await self._host.released.wait()
            case call:
                call()
                commit.met.set()

    async def _answers(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                answer = await _frame(self._from_broker)
                commit = self._commits.pop(answer[4:8], None)
                if commit is not None:
                    if commit.action is AtCommit.CUT_AFTER:
                        self._host.cut()
                    commit.met.set()
                    continue
                if self._host.delay_s:
                    await asyncio.sleep(self._host.delay_s)
                await self._host.flowing.wait()
                self._to_client.write(answer)
                await self._to_client.drain()


class Network:
    """The proxy, in a thread with an event loop of its own, as a context manager. Brokers count from 1, hosts from 0.

    Each method returns when its fault is in force, and may be called from any thread but the proxy's own.
    """

    def __init__(self, *, brokers: int, hosts: int) -> None:
        ports = iter(free_ports(2 * brokers * hosts))
        self.doors: Mapping[int, tuple[Door, ...]] = {
            number: tuple(Door(next(ports), next(ports)) for _ in range(hosts))
            for number in range(1, brokers + 1)
        }
        self._hosts: list[_Host] = []
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._do(self._open())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_LIMIT_S)
        self._loop.close()

    def bootstrap(self, host: int) -> str:
        """Return the addresses of all brokers as this host sees them."""
        return ",".join(f"{LOOPBACK}:{doors[host].advertised_port}" for doors in self.doors.values())

    def stall(self, host: int) -> None:
        """Hold all bytes of a host, in both directions; its connections stay."""
        self._do(self._call(self._hosts[host].flowing.clear))

    def cut(self, host: int) -> None:
        """Break all connections of a host, what is on its way is lost; new ones break at once."""
        self._do(self._call(self._hosts[host].cut))

    def late(self, host: int, delay_ms: int) -> None:
        """Hold every answer to a host back for so long."""
        self._do(self._call(lambda: setattr(self._hosts[host], "delay_s", delay_ms / 1000)))

    def heal(self, host: int) -> None:
        """End all faults of a host; what was held passes on."""
        self._do(self._call(self._hosts[host].heal))

    def at_commit(self, host: int, action: Action) -> threading.Event:
        """Let this befall the next commit of a host, once. The event is set when it has happened."""
        commit = _Commit(action)
        self._do(self._call(lambda: setattr(self._hosts[host], "commit", commit)))
        return commit.met

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_LIMIT_S)

    async def _call(self, change: Callable[[], None]) -> None:
        change()

    async def _open(self) -> None:
        for doors in self.doors.values():
            for number, door in enumerate(doors):
                if number == len(self._hosts):
                    self._hosts.append(_Host())
                    self._hosts[number].heal()
                self._servers.append(await self._listen(self._hosts[number], door))

    async def _listen(self, host: _Host, door: Door) -> asyncio.Server:
        def accept(reader: StreamReader, writer: StreamWriter) -> None:
            connection = asyncio.create_task(self._pass_on(host, door, (reader, writer)))
            host.connections.add(connection)
            connection.add_done_callback(host.connections.discard)

        return await asyncio.start_server(accept, LOOPBACK, door.advertised_port)

    async def _pass_on(self, host: _Host, door: Door, client: tuple[StreamReader, StreamWriter]) -> None:
        """Serve one connection. A broker that is down shows in that it ends at once."""
        with contextlib.suppress(ConnectionError):
            async with _closing(client[1]):
                if not host.is_cut:
                    broker = await asyncio.open_connection(LOOPBACK, door.port)
                    async with _closing(broker[1]):
                        await _Connection(host, client, broker).run()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        connections = [each for host in self._hosts for each in host.connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)  # transports say goodbye in the loop's next round
