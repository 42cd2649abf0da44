"""The worker's settings, and the whole worker on a real Kafka."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import ValidationError

from schemas import codec
from schemas.topics import TRANSCRIPT_STATE, TRANSCRIPTS
from services.runtime.failures import WorkerFailed
from services.runtime.wall_clock import now_ms
from services.transcript.api.access import Token, make_token
from services.transcript.archive.database import Archive
from services.transcript.archive.rows import TOPICS
from services.transcript.worker import TranscriptSettings, run
from tests.transcript.sources import contents
from tests.transcript.world import World

SECRET = "0123456789abcdef-test"
LIMIT_S = 60
"""Longer than the archive's longest wait between two tries."""


def test_one_secret_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="either"):
        TranscriptSettings()
    monkeypatch.setenv("CHAT_LINK_SECRET_FILE", str(file))
    assert TranscriptSettings().secret == SECRET
    monkeypatch.setenv("CHAT_LINK_SECRET", SECRET)
    with pytest.raises(ValidationError, match="either"):
        TranscriptSettings()
    monkeypatch.delenv("CHAT_LINK_SECRET_FILE")
    assert SECRET not in repr(TranscriptSettings())
    monkeypatch.setenv("CHAT_LINK_SECRET", "short")
    with pytest.raises(ValidationError, match="16 characters"):
        TranscriptSettings()


@pytest.mark.parametrize("url", ["no database", "mysql://host/archive", "postgresql://host:port/archive"])
async def test_a_url_of_no_database_fails_at_the_start(url: str) -> None:
    settings = TranscriptSettings(archive_url=url, link_secret=SECRET)
    with pytest.raises(WorkerFailed, match="CHAT_ARCHIVE_URL"):
        await run(settings, asyncio.Event())


async def publish(bootstrap: str, world: World) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for record in [*world.routing, *world.events]:
            await producer.send(record.topic, record.value, key=record.key, partition=0)
        await producer.flush()
    finally:
        await producer.stop()


async def first_transcript(bootstrap: str) -> bytes:
    consumer = AIOKafkaConsumer(
        TRANSCRIPTS,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), LIMIT_S)
        assert record.key == b"acme"
        assert record.value is not None
        return bytes(record.value)
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_the_worker_on_kafka(own_kafka: str, tmp_path: Path) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka)
    await admin.start()
    known = set(await admin.list_topics())
    wanted = {*TOPICS, TRANSCRIPT_STATE} - known
    await admin.create_topics(
        [NewTopic(topic, num_partitions=2, replication_factor=1) for topic in sorted(wanted)]
    )
    await admin.close()
    world = World()
    world.request("c1")
    world.say("c1", "こんにちは")
    world.end("c1")
    await publish(own_kafka, world)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "folder"
    folder.write_text("in the way of the archive", encoding="utf-8")
    settings = TranscriptSettings(
        bootstrap=own_kafka,
        http_port=port,
        public_url=f"http://127.0.0.1:{port}",
        group="test-transcript-worker",
        archive_url=f"sqlite:///{folder}/archive.sqlite3",
        link_secret=SECRET,
        api_secret=SECRET,
    )
    stop = asyncio.Event()
    worker = asyncio.create_task(run(settings, stop))
    try:
        found = codec.transcripts.decode(await first_transcript(own_kafka)).data
        assert [message.text for message in found.messages] == ["こんにちは"]
        folder.unlink()
        archive = await Archive.open(settings.archive_url)
        async with asyncio.timeout(LIMIT_S):
            while not (await contents(archive))["transcripts"]:
                await asyncio.wait({worker}, timeout=0.1)
                assert not worker.done()
        await archive.close()
        async with httpx.AsyncClient() as client:
            page = await client.get(found.link)
            assert (page.status_code, "こんにちは" in page.text) == (200, True)
            token = Token(workspace="acme", role="admin", expires_at_ms=now_ms() + 60_000)
            headers = {"authorization": f"Bearer {make_token(token, secret=SECRET)}"}
            asked = await client.get(f"{settings.public_url}/v1/acme/chats", headers=headers)
            assert (asked.status_code, asked.json()["next"]) == (200, None)
            assert (await client.get(f"{settings.public_url}/v1/acme/chats")).status_code == 401
            assert (await client.get(f"{settings.public_url}/readyz")).status_code == 200
    finally:
        stop.set()
        await asyncio.wait_for(worker, LIMIT_S)
