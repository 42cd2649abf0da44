"""`chat-routing archive rebuild` on a real Kafka: it says from when, and leaves what the topics no longer hold."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from sqlalchemy import text
from typer.testing import CliRunner

from schemas.topics import EVENTS, Topic
from services.local.cli import app
from services.local.errors import LocalError
from services.local.ports import LOOPBACK, free_ports
from services.local.topics import ensure_topics
from services.runtime.connection import KafkaSettings
from services.runtime.metrics import Metrics
from services.transcript.archive.database import Archive
from services.transcript.archive.kafka_log import KafkaLog
from services.transcript.archive.projector import Projector
from services.transcript.archive.rows import TOPICS
from tests.transcript.sources import contents, everything
from tests.transcript.test_archive import sample

KEPT = 3
"""The oldest event that is left."""


async def publish(bootstrap: str) -> None:
    topics = tuple(Topic(name, {}) for name in TOPICS)
    await ensure_topics(bootstrap, partitions=1, replicas=1, topics=topics)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for record in everything(sample()):
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, timestamp_ms=record.timestamp_ms
            )


async def archived(bootstrap: str, url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Reads all there is, then lets the topic of events forget its beginning, and spoils what was read."""
    archive = await Archive.open(url)
    async with KafkaLog(KafkaSettings(bootstrap=bootstrap), topics=TOPICS) as source:
        projector = Projector(archive, source, metrics=Metrics())
        held = await source.held()
        await projector.place()
        while any([await source.position(each) < held[each].end for each in held]):
            await projector.step()
    found = await contents(archive)
    async with archive.engine.begin() as connection:
        await connection.execute(text("UPDATE chats SET question = 'wrong'"))
    await archive.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(EVENTS, 0): RecordsToDelete(before_offset=KEPT)})
    await admin.close()
    return found


async def read(url: str) -> dict[str, list[tuple[Any, ...]]]:
    archive = await Archive.open(url)
    try:
        return await contents(archive)
    finally:
        await archive.close()


def rebuild(bootstrap: str, url: str, *arguments: str) -> str:
    result = CliRunner().invoke(
        app, ["archive", "rebuild", "--bootstrap", bootstrap, "--archive", url, *arguments]
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.kafka
def test_it_is_made_anew_and_says_from_when(own_kafka: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.sqlite3"
    asyncio.run(publish(own_kafka))
    before = asyncio.run(archived(own_kafka, url))
    told = rebuild(own_kafka, url)
    assert "chat.routing.v1        2026-11-21T09:00:00.000Z" in told
    assert asyncio.run(read(url)) == before
    assert "gone, but for 0 changes of settings" in rebuild(own_kafka, url, "--discard")
    after = asyncio.run(read(url))
    assert len(after["requests"]) == len(before["requests"]) - 1, "the one the topic has forgotten"
    assert after["chats"] == before["chats"]


def test_it_says_that_no_kafka_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.sqlite3"
    (nobody,) = free_ports(1)
    asyncio.run(read(url))
    where = ["--bootstrap", f"{LOOPBACK}:{nobody}", "--archive", url]
    result = CliRunner().invoke(app, ["archive", "rebuild", *where])
    assert isinstance(result.exception, LocalError)
    assert "No Kafka answers" in str(result.exception)
