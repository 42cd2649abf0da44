"""The runner on a real Kafka: processes are killed, suspended and stopped, and every output stands there once."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import EVENT_BYTES_MAX, dead_letters
from services.runtime.broker import Row
from services.runtime.failures import TaskMigrated, WorkerFailed
from services.runtime.kafka import KafkaAppender, KafkaChangelog, KafkaWriter
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings
from tests.runtime.brokerage import LIMIT_S, Program, Scene, publish, read_all, scene
from tests.runtime.counting import POISON, Counting

pytestmark = pytest.mark.kafka

SESSION_S = 6.0


@pytest.fixture
async def of(kafka: str) -> Scene:
    return await scene(kafka)


@contextmanager
def programs(*environments: dict[str, str], folder: Path) -> Iterator[list[Program]]:
    running: list[Program] = []
    try:
        for number, environment in enumerate(environments):
            running.append(Program(environment, folder / f"{number}.log"))
        yield running
    finally:
        for program in running:
            program.kill()


def numbered(count: int, *, start: int = 0) -> list[tuple[int, bytes, bytes]]:
    return [(n % 3, b"key%d" % (n % 7), b"v%d" % n) for n in range(start, start + count)]


async def plain_run(of: Scene) -> dict[int, list[bytes]]:
    """What the outputs of each partition are when nothing goes wrong."""
    outputs: dict[int, list[bytes]] = {}
    for partition, records in (await read_all(of, of.inputs[0])).items():
        processor = Counting(of.output)
        outputs[partition] = [
            output.value or b""
            for r in records
            for output in processor.process(
                InputRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value)
            )
        ]
    return outputs


async def outputs(of: Scene, count: int) -> dict[int, list[bytes]]:
    """The outputs of each partition, once there are at least `count`, up to the end."""
    await read_all(of, of.output, count=count)
    found = await read_all(of, of.output)
    return {partition: [record.value for record in records] for partition, records in found.items()}


async def committed(of: Scene) -> dict[int, int | None]:
    async with AIOKafkaConsumer(
        bootstrap_servers=of.bootstrap, group_id=of.name, enable_auto_commit=False
    ) as consumer:
        return {n: await consumer.committed(TopicPartition(of.inputs[0], n)) for n in range(of.partitions)}


async def test_killed_workers_are_replaced_and_every_output_stands_there_once(
    of: Scene, tmp_path: Path
) -> None:
    alone = {**of.environment(), "CHAT_BATCH_RECORDS_MAX": "200"}
    environments = [{**alone, "CHAT_INSTANCE_ID": name} for name in ("one", "two")]
    with programs(*environments, folder=tmp_path) as (one, two):
        await one.wait_for("restored")
        await two.wait_for("restored")
        publishing = asyncio.create_task(publish(of, numbered(9_000)))
        await read_all(of, of.output, count=1_000)
        one.kill()
        await publishing
        again = Program(environments[0], tmp_path / "again.log")
        try:
            await publish(of, numbered(6_000, start=9_000))
            found = await outputs(of, 15_000)
            assert found == await plain_run(of)
            assert sum(map(len, found.values())) == 15_000
            for program in (again, two):
                program.send(signal.SIGTERM)
                assert await program.ended() == 0, program.log.read_text()
        finally:
            again.kill()
    assert await committed(of) == dict.fromkeys(range(3), 5_000)


async def test_a_suspended_worker_is_fenced_when_it_wakes(of: Scene, tmp_path: Path) -> None:
    environment = {**of.environment(), "CHAT_BATCH_RECORDS_MAX": "50"}
    with programs(environment, environment, folder=tmp_path) as (zombie, heir):
        await zombie.wait_for("restored")
        await heir.wait_for("restored")
        publishing = asyncio.create_task(publish(of, numbered(3_000)))
        await read_all(of, of.output, count=300)
        zombie.send(signal.SIGSTOP)
        await publishing
        await outputs(of, 3_000)  # the heir has taken over and done the rest
        assert len(heir.entries("restored")) >= 3
        zombie.send(signal.SIGCONT)
        await publish(of, numbered(3_000, start=3_000))
        assert await outputs(of, 6_000) == await plain_run(of)
        await zombie.ready()
        await heir.ready()
        assert await outputs(of, 6_000) == await plain_run(of)


async def test_sigterm_commits_and_exits_0(of: Scene, tmp_path: Path) -> None:
    with programs(of.environment(inputs=2), folder=tmp_path) as (program,):
        await program.ready()
        assert (await program.get("/healthz")).status_code == 200
        for topic in of.inputs:
            await publish(of, [*numbered(30), (1, b"key", b"silent")], topic=topic)
        await read_all(of, of.output, count=60)
        metrics = (await program.get("/metrics")).text
        for number in range(3):
            assert f'chat_records_out_total{{partition="{number}",topic="{of.output}"}} 20.0' in metrics
        program.send(signal.SIGTERM)
        assert await program.ended() == 0, program.log.read_text()
    assert await committed(of) == {0: 10, 1: 11, 2: 10}


async def test_every_codec_is_read_and_records_near_the_limit_are(of: Scene, tmp_path: Path) -> None:
    with programs(of.environment(), folder=tmp_path) as (program,):
        for codec in (None, "gzip", "snappy", "lz4", "zstd"):
            await publish(of, numbered(6), compression=codec)
        large = EVENT_BYTES_MAX - 200
        await publish(of, [(0, b"large", b"x" * large)], request_bytes_max=2 * EVENT_BYTES_MAX)
        await publish(of, [(0, b"poison", POISON), *numbered(3)])
        found = await outputs(of, 34)
        assert sum(map(len, found.values())) == 34
        assert any(value.endswith(b":%d" % large) for value in found[0])
        (letter,) = (await read_all(of, dead_letters(of.inputs[0]), count=1))[0]
        assert (letter.key, letter.value) == (b"poison", POISON)
        assert dict(letter.headers)["__streams.errors.exception"] == b"Poison"
        program.send(signal.SIGTERM)
        assert await program.ended() == 0


async def test_ticks_come_while_the_partition_has_caught_up(of: Scene, tmp_path: Path) -> None:
    with programs({**of.environment(), "CHAT_TICK_INTERVAL_MS": "100"}, folder=tmp_path) as (program,):
        await program.ready()
        found = await read_all(of, of.inputs[0], count=15)
    ticks = [json.loads(record.value) for record in found[1]]
    assert {tick["type"] for tick in ticks} == {"router.tick.v1"}
    assert {tick["data"]["partition"] for tick in ticks} == {1}
    assert {record.key for record in found[2]} == {b"2"}
    assert len({tick["id"] for tick in ticks}) == len(ticks)


async def test_an_older_writer_is_fenced_by_a_newer_one(of: Scene) -> None:
    settings = RuntimeSettings(bootstrap=of.bootstrap, group=of.name)
    older, newer = KafkaWriter(settings, 0), KafkaWriter(settings, 0)
    try:
        await older.start()
        await older.begin()
        for delivery in await older.send(of.output, [Row(b"k", b"older")]):
            await delivery
        await newer.start()
        with pytest.raises(TaskMigrated):
            await older.send_offsets({of.inputs[0]: 7})
        await newer.begin()
        for delivery in await newer.send(of.output, [Row(b"k", b"newer")]):
            await delivery
        await newer.send_offsets({of.inputs[0]: 8})
        await newer.commit()
    finally:
        await older.close()
        await newer.close()
    assert [record.value for record in (await read_all(of, of.output))[0]] == [b"newer"]
    assert (await committed(of))[0] == 8


async def test_outputs_larger_than_a_batch_are_split_and_one_too_large_is_fatal(of: Scene) -> None:
    settings = RuntimeSettings(bootstrap=of.bootstrap, group=of.name)
    writer = KafkaWriter(settings, 0)
    rows = [Row(b"k", b"%03d" % number + b"x" * 40_000) for number in range(60)]
    try:
        await writer.start()
        await writer.begin()
        deliveries = await writer.send(of.output, rows)
        assert len(deliveries) > 3
        for delivery in deliveries:
            await delivery
        await writer.commit()
        await writer.begin()
        (too_large,) = await writer.send(of.output, [Row(b"k", b"x" * 2 * EVENT_BYTES_MAX)])
        with pytest.raises(WorkerFailed, match=r"max\.message\.bytes"):
            await too_large
    finally:
        await writer.close()
    found = (await read_all(of, of.output))[0]
    assert [record.value for record in found] == [row.value for row in rows]


async def test_a_restore_reaches_an_end_that_holds_only_markers(of: Scene) -> None:
    """Aborted records and markers at the end: a count of records would wait for ever, or stop early."""
    settings = RuntimeSettings(bootstrap=of.bootstrap, group=of.name)
    async with AIOKafkaProducer(
        bootstrap_servers=of.bootstrap, transactional_id=f"{of.name}-test"
    ) as producer:
        for value, commit in ((b"1", True), (b"2", False), (b"3", True), (b"4", False)):
            await producer.begin_transaction()
            await producer.send_and_wait(of.state, value, b"key", partition=0)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    changelog = KafkaChangelog(settings, of.state, 0)
    found: list[Any] = []
    try:
        position, end = await changelog.start()
        assert (position, end) == (0, 8)
        async with asyncio.timeout(LIMIT_S):
            while position < end:
                page = await changelog.poll()
                found.extend(page.records)
                position = page.position
    finally:
        await changelog.close()
    assert found == [(b"key", b"1"), (b"key", b"3")]


async def test_an_appender_tells_the_offset_of_what_it_wrote(of: Scene) -> None:
    appender = KafkaAppender(RuntimeSettings(bootstrap=of.bootstrap, group=of.name))
    try:
        assert [await appender.append(of.inputs[0], 2, Row(b"2", b"tick")) for _ in range(3)] == [0, 1, 2]
    finally:
        await appender.close()


async def test_missing_topics_end_the_worker_with_a_sentence(of: Scene, tmp_path: Path) -> None:
    environment = {**of.environment(), "CHAT_STATE": f"{of.name}.absent", "CHAT_START_LIMIT_S": "0.1"}
    with programs(environment, folder=tmp_path) as (program,):
        assert await program.ended() == 1
        assert "run `chat-routing topics`" in program.entries("worker_failed")[0]["reason"]
