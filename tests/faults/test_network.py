"""The faulty network does what it says: what stands between passes, waits, is lost or breaks, and never changes."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.local.ports import LOOPBACK
from tests.faults.network import END_TXN, AtCommit, Network

LIMIT_S = 10.0
QUIET_S = 0.2
FETCH = 1


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def request(kind: int, correlation: int, text: bytes = b"") -> bytes:
    return framed(kind.to_bytes(2, "big") + bytes(2) + correlation.to_bytes(4, "big") + text)


@dataclass(slots=True)
class Broker:
    """Answers each request with its correlation and its text."""

    seen: list[int] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                body = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
                self.seen.append(int.from_bytes(body[4:8], "big"))
                self.arrived.set()
                writer.write(framed(body[4:]))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def has_seen(self, correlation: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while correlation not in self.seen:
                self.arrived.clear()
                await self.arrived.wait()


@dataclass(slots=True)
class Client:
    """Sees each answer as its correlation number; 0 when the connection is broken."""

    reader: StreamReader
    writer: StreamWriter

    async def ask(self, kind: int, correlation: int, text: bytes = b"") -> int:
        self.writer.write(request(kind, correlation, text))
        return await self.answer()

    async def answer(self) -> int:
        async with asyncio.timeout(LIMIT_S):
            try:
                body = await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(4), "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0
            return int.from_bytes(body[:4], "big")

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(QUIET_S):
                return not await self.reader.read(1)
        except TimeoutError:
            return True


@dataclass(slots=True)
class World:
    """A broker, two hosts, and the network between them."""

    network: Network
    broker: Broker
    clients: list[Client] = field(default_factory=list)

    async def client(self, host: int) -> Client:
        door = self.network.doors[1][host]
        client = Client(*await asyncio.open_connection(LOOPBACK, door.advertised_port))
        self.clients.append(client)
        return client


@asynccontextmanager
async def opened() -> AsyncIterator[World]:
    broker = Broker()
    with Network(brokers=1, hosts=2) as network:
        servers = [await asyncio.start_server(broker.serve, LOOPBACK, d.port) for d in network.doors[1]]
        world = World(network, broker)
        try:
            yield world
        finally:
            for client in world.clients:
                client.writer.close()
            for server in servers:
                server.close()
    await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with opened() as made:
        yield made


async def test_all_passes_in_order_and_unchanged(world: World) -> None:
    assert world.network.bootstrap(1) == f"{LOOPBACK}:{world.network.doors[1][1].advertised_port}"
    client = await world.client(0)
    assert [await client.ask(FETCH, n) for n in (1, 2, 3)] == [1, 2, 3]
    large = b"x" * 3_000_000
    client.writer.write(request(FETCH, 4, large))
    body = await client.reader.readexactly(len(framed(bytes(4) + large)))
    assert body[8:] == large


async def test_a_stalled_host_gets_all_of_it_later_and_others_notice_nothing(world: World) -> None:
    stalled, other = await world.client(0), await world.client(1)
    assert await stalled.ask(FETCH, 1) == 1
    world.network.stall(0)
    stalled.writer.write(request(FETCH, 2))
    stalled.writer.write(request(FETCH, 3))
    assert await stalled.hears_nothing()
    assert await other.ask(FETCH, 4) == 4
    assert world.broker.seen == [1, 4]
    world.network.heal(0)
    assert [await stalled.answer(), await stalled.answer()] == [2, 3]


async def test_a_cut_host_loses_its_connections_and_gets_no_new_ones_until_healed(world: World) -> None:
    client, other = await world.client(0), await world.client(1)
    assert await client.ask(FETCH, 1) == 1
    world.network.cut(0)
    assert await client.answer() == 0
    assert await (await world.client(0)).ask(FETCH, 2) == 0
    assert await other.ask(FETCH, 3) == 3
    world.network.heal(0)
    assert await (await world.client(0)).ask(FETCH, 4) == 4
    assert world.broker.seen == [1, 3, 4]


async def test_answers_come_late(world: World) -> None:
    client = await world.client(0)
    world.network.late(0, 300)
    began_s = asyncio.get_running_loop().time()
    assert await client.ask(FETCH, 1) == 1
    assert asyncio.get_running_loop().time() - began_s >= 0.3


async def test_a_commit_is_held_and_arrives_although_its_client_has_gone(world: World) -> None:
    client, other = await world.client(0), await world.client(0)
    met = world.network.at_commit(0, AtCommit.STALL)
    assert await client.ask(FETCH, 1) == 1
    client.writer.write(request(END_TXN, 2))
    assert await asyncio.to_thread(met.wait, LIMIT_S)
    assert await client.hears_nothing()
    client.writer.close()
    assert await other.ask(END_TXN, 3) == 3  # the fault befalls one commit, and its connection only
    assert world.broker.seen == [1, 3]
    world.network.heal(0)
    await world.broker.has_seen(2)


async def test_the_answer_to_a_commit_is_lost(world: World) -> None:
    client = await world.client(0)
    met = world.network.at_commit(0, AtCommit.LOSE_ANSWER)
    client.writer.write(request(END_TXN, 1))
    assert await asyncio.to_thread(met.wait, LIMIT_S)
    assert world.broker.seen == [1]
    assert await client.ask(END_TXN, 2) == 2


async def test_a_host_is_cut_off_after_its_commit(world: World) -> None:
    client, bystander = await world.client(0), await world.client(0)
    assert await bystander.ask(FETCH, 1) == 1
    met = world.network.at_commit(0, AtCommit.CUT_AFTER)
    assert await client.ask(END_TXN, 2) == 0
    assert met.is_set()
    assert world.broker.seen == [1, 2]
    assert await bystander.answer() == 0
    assert await (await world.client(0)).ask(FETCH, 3) == 0


async def test_a_callback_comes_before_the_commit_passes(world: World) -> None:
    client = await world.client(0)
    seen_before: list[int] = []
    met = world.network.at_commit(0, lambda: seen_before.extend([0, *world.broker.seen]))
    assert [await client.ask(END_TXN, n) for n in (1, 2)] == [1, 2]
    assert met.is_set()
    assert seen_before == [0]


async def test_a_broker_that_is_down_shows_as_a_lost_connection() -> None:
    with Network(brokers=1, hosts=1) as network:
        client = Client(*await asyncio.open_connection(LOOPBACK, network.doors[1][0].advertised_port))
        assert await client.ask(FETCH, 1) == 0
        client.writer.close()
