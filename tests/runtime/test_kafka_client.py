"""What becomes of aiokafka's clients when the network breaks under them."""

import asyncio
import gc
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import GroupLoadInProgressError, KafkaConnectionError, NotCoordinatorForGroupError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK
from services.runtime.broker import Row
from services.runtime.failures import TaskCorrupted, TaskMigrated
from services.runtime.kafka import KafkaWriter
from services.runtime.settings import RuntimeSettings
from tests.faults.network import Network
from tests.runtime.brokerage import Scene, read_all, scene

LIMIT_S = 30
OFFSET_FETCH = OffsetFetchRequest.API_KEY
VERSIONS = struct.pack(">hihhh", 0, 1, OFFSET_FETCH, 0, 3)
"""The answer to ApiVersions: no error, and a list of one request with its oldest and newest version."""
LOADING, NOT_COORDINATOR = 14, 16


async def serve(reader: StreamReader, writer: StreamWriter, *, error_code: int = 0) -> None:
    """A broker that tells its versions, and of every group that it has no offsets, or why it does not know."""
    try:
        while True:
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            key = int.from_bytes(request[:2], "big")
            offsets = OffsetFetchResponse_v3(0, [], error_code).encode()
            answer = request[4:8] + (offsets if key == OFFSET_FETCH else VERSIONS)
            writer.write(len(answer).to_bytes(4, "big") + answer)
    except asyncio.IncompleteReadError:
        writer.close()


async def write_to_a_closed_transport() -> None:
    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        closed: list[object] = []
        connection = await conn.create_conn(
            *server.sockets[0].getsockname(), on_close=lambda _connection, reason: closed.append(reason)
        )
        await connection.send(ApiVersionRequest())
        connection._writer.transport.abort()  # as the network does
        await asyncio.sleep(0)  # uvloop has closed it now, and the reader has not begun to see it
        with pytest.raises(KafkaConnectionError, match="broken"):
            await connection.send(ApiVersionRequest())
        assert closed == [conn.CloseReason.CONNECTION_BROKEN]
        assert not connection.connected()


@pytest.mark.usefixtures("mended")
def test_a_write_to_a_connection_that_uvloop_has_closed_is_a_lost_connection() -> None:
    uvloop.run(asyncio.wait_for(write_to_a_closed_transport(), LIMIT_S))


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    ("error_code", "error"),
    [(LOADING, GroupLoadInProgressError), (NOT_COORDINATOR, NotCoordinatorForGroupError)],
)
async def test_a_broker_that_does_not_know_the_offsets_is_not_taken_for_one_that_has_none(
    error_code: int, error: type[Exception]
) -> None:
    """aiokafka reads past this error; a partition whose group's coordinator moved then began again from its beginning."""
    broker = partial(serve, error_code=error_code)
    async with await asyncio.start_server(broker, LOOPBACK, 0) as server:
        connection = await conn.create_conn(*server.sockets[0].getsockname())
        try:
            with pytest.raises(error):
                await connection.send(OffsetFetchRequest("group", [("topic", [0])]))
        finally:
            await connection.close()


@pytest.fixture
def network() -> Iterator[tuple[Network, str]]:
    """A network, and the address of its broker past it."""
    with Network(brokers=1, hosts=1) as between, EmbeddedKafka(doors=between.doors) as kafka:
        yield between, kafka.bootstrap


@pytest.mark.kafka
async def test_a_producer_cut_off_in_its_commit_is_closed_and_writes_no_more(
    network: tuple[Network, str],
) -> None:
    between, past = network
    of = await scene(past)
    before = asyncio.all_tasks()
    settings = RuntimeSettings(
        bootstrap=between.bootstrap(0), group=of.name, io_limit_s=1, start_limit_s=LIMIT_S, stop_limit_s=4
    )
    writer = KafkaWriter(settings, 0)
    await writer.start()
    await writer.begin()
    for sent in await writer.send(of.output, [Row(b"key", b"half", ())]):
        await sent
    between.cut(0)
    with pytest.raises(TaskCorrupted):
        await writer.commit()
    await writer.close()
    between.heal(0)
    left = asyncio.all_tasks() - before
    if left:
        await asyncio.wait(left, timeout=LIMIT_S)
    assert asyncio.all_tasks() == before

    following = KafkaWriter(settings, 0)
    await following.start()
    await following.begin()
    for sent in await following.send(of.output, [Row(b"key", b"whole", ())]):
        await sent
    await following.commit()
    await following.close()
    found = await read_all(of, of.output, count=1)
    assert [record.value for record in found[0]] == [b"whole"]


@pytest.mark.kafka
async def test_a_fenced_producer_is_told_of_once(kafka: str) -> None:
    of = await scene(kafka)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    settings = RuntimeSettings(bootstrap=kafka, group=of.name, io_limit_s=LIMIT_S)
    old, new = KafkaWriter(settings, 0), KafkaWriter(settings, 0)
    await old.start()
    await old.begin()
    await new.start()
    (sent,) = await old.send(of.output, [Row(b"key", b"late", ())])
    with pytest.raises(TaskMigrated):
        await sent
    await old.close()
    await new.close()
    del old, sent
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def add(writer: KafkaWriter, of: Scene) -> None:
    """Write one row more and wait for it."""
    for sent in await writer.send(of.output, [Row(b"key", b"later", ())]):
        await sent


STEPS: dict[str, Callable[[KafkaWriter, Scene], Awaitable[None]]] = {
    "begin": lambda writer, _of: writer.begin(),
    "send": add,
    "offsets": lambda writer, of: writer.send_offsets({of.inputs[0]: 1}),
    "commit": lambda writer, _of: writer.commit(),
}


@pytest.mark.kafka
@pytest.mark.parametrize("step", STEPS)
async def test_each_step_after_the_fence_says_so(kafka: str, step: str) -> None:
    """aiokafka tells it to whoever waits for the batch; afterwards it only says that there is no transaction."""
    of = await scene(kafka)
    settings = RuntimeSettings(bootstrap=kafka, group=of.name, io_limit_s=LIMIT_S)
    old, new = KafkaWriter(settings, 0), KafkaWriter(settings, 0)
    try:
        await old.start()
        await old.begin()
        await new.start()
        with pytest.raises(TaskMigrated):
            await add(old, of)
        with pytest.raises(TaskMigrated):
            await STEPS[step](old, of)
    finally:
        await old.close()
        await new.close()
