"""The embedded broker is a real Kafka, and whatever ends us, it leaves nothing behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.topics import Topic
from services.local.errors import LocalError
from services.local.kafka import EmbeddedKafka
from services.local.topics import ensure_topics
from tests.local.programs import eventually, is_running, is_served, python

pytestmark = pytest.mark.kafka

RUN_A_BROKER = """
import json, sys, time
from pathlib import Path
from services.local.kafka import EmbeddedKafka

def tell(stage, *, done, total):
    print(json.dumps([stage, done]), flush=True)

with EmbeddedKafka(Path(sys.argv[1]), progress=tell) as kafka:
    print(json.dumps(["up", kafka.pids[1]]), flush=True)
    time.sleep(600)
"""


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def values(bootstrap: str, topic: str, *, count: int) -> list[bytes]:
    """Read the first `count` committed records of a topic."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with asyncio.timeout(20), consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_only_committed_transactions_are_read(kafka: str) -> None:
    await ensure_topics(kafka, partitions=1, topics=(Topic("local.transactions"),))
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="local-transactions") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait("local.transactions", b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait("local.transactions", b"committed")
    assert await values(kafka, "local.transactions", count=1) == [b"committed"]


async def test_a_short_session_is_accepted(kafka: str) -> None:
    await ensure_topics(kafka, partitions=1, topics=(Topic("local.sessions"),))
    await produce(kafka, "local.sessions", b"one")
    consumer = AIOKafkaConsumer(
        "local.sessions",
        bootstrap_servers=kafka,
        group_id="local-sessions",
        session_timeout_ms=2_000,
        heartbeat_interval_ms=500,
        auto_offset_reset="earliest",
    )
    async with asyncio.timeout(20), consumer:
        assert (await consumer.getone()).value == b"one"


def test_data_and_addresses_survive_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Kundendaten, 日本"
    with EmbeddedKafka(folder) as first:
        bootstrap, pid = first.bootstrap, first.pids[1]
        asyncio.run(ensure_topics(bootstrap, partitions=1, topics=(Topic("local.kept"),)))
        asyncio.run(produce(bootstrap, "local.kept", b"kept"))
        with pytest.raises(LocalError, match="in use by another run"), EmbeddedKafka(folder):
            pass
    assert not is_running(pid)
    assert not any(is_served(int(address.rpartition(":")[2])) for address in bootstrap.split(","))
    with EmbeddedKafka(folder) as second:
        assert second.bootstrap == bootstrap
        assert asyncio.run(values(bootstrap, "local.kept", count=1)) == [b"kept"]
        second.kill_broker(1)
        assert second.pids == {}
        second.start_broker(1)
        assert asyncio.run(values(bootstrap, "local.kept", count=1)) == [b"kept"]


def test_a_temporary_folder_goes_with_the_broker() -> None:
    with EmbeddedKafka() as kafka:
        folder, pid = kafka.data, kafka.pids[1]
        assert folder.exists()
    assert not is_running(pid)
    assert not folder.exists()


def test_three_brokers_lose_one_and_go_on() -> None:
    with EmbeddedKafka(brokers=3) as kafka:
        asyncio.run(ensure_topics(kafka.bootstrap, partitions=3, topics=(Topic("local.three"),)))
        kafka.kill_broker(1)
        assert sorted(kafka.pids) == [2, 3]
        asyncio.run(produce(kafka.bootstrap, "local.three", b"without the first"))
        kafka.start_broker(1)
        kafka.kill_broker(2)
        assert asyncio.run(values(kafka.bootstrap, "local.three", count=1)) == [b"without the first"]


@contextmanager
def broker_program(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with python(RUN_A_BROKER, str(folder)) as program:
        try:
            yield program
        finally:
            program.kill()


def heard(program: subprocess.Popen[str], stage: str, *, done: int | None = None) -> int:
    """Read what the program says until it names the stage; return its number."""
    assert program.stdout is not None
    for line in program.stdout:
        said, number = json.loads(line)
        if said == stage and done in (None, number):
            return int(number)
    raise AssertionError(f"the program ended before {stage}")


def ports_of(folder: Path) -> list[int]:
    return [int(port) for port in json.loads((folder / "ports.json").read_text())]


def test_a_killed_parent_leaves_no_java_behind(tmp_path: Path) -> None:
    with broker_program(tmp_path) as program:
        pid = heard(program, "up")
        assert is_running(pid)
        assert all(is_served(port) for port in ports_of(tmp_path))
        program.send_signal(signal.SIGKILL)
        program.wait()
        eventually(lambda: not is_running(pid), what="the broker is gone")
        # The process is a zombie before its last thread has closed the sockets.
        eventually(lambda: not any(map(is_served, ports_of(tmp_path))), what="the ports are free")


@pytest.mark.parametrize("file", ["java.out", "server.log"], ids=["formatting", "starting"])
def test_an_interrupted_start_leaves_nothing_and_works_the_next_time(tmp_path: Path, file: str) -> None:
    with broker_program(tmp_path) as program:
        if file == "server.log":
            heard(program, "starting Kafka", done=1)
        eventually((tmp_path / "broker-1" / file).exists, what="Java runs")
        os.kill(program.pid, signal.SIGINT)
        assert program.wait(30) != 0
    assert not any(is_served(port) for port in ports_of(tmp_path))
    with EmbeddedKafka(tmp_path) as kafka:
        assert kafka.pids


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps([29_999, port]))
        with pytest.raises(LocalError, match=rf"^Port {port} .* is taken by another program: stop .*\.$"):
            EmbeddedKafka(tmp_path).start()


def test_a_broker_that_dies_at_its_start_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        LocalError, match=r"(?s)did not .* \(exit code 1\), read .*server\.log.*num\.io\.threads"
    ):
        EmbeddedKafka(tmp_path, overrides={"num.io.threads": "none"}).start()
