"""The worker as a process, and the settings it follows, on a real Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import codec, topics
from schemas.topics import Topic
from services.crm_sync.configuration import Configuration
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.views import FeedFilter
from services.crm_sync.store import Store
from services.local.topics import ensure_topics
from services.runtime.connection import KafkaSettings
from tests.crm_sync.material import settings, transcript

pytestmark = pytest.mark.kafka

LIMIT_S = 40.0
CHATS = 40


@asynccontextmanager
async def publishing(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=uuid.uuid4().hex, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def record(data: Any, workspace_id: str) -> bytes:
    return codec.encode(
        data, event_id=uuid.uuid4().hex, source="/services/test", at_ms=0, workspace_id=workspace_id
    )


async def publish(producer: AIOKafkaProducer, topic: str, workspace_id: str, *values: Any) -> None:
    async with producer.transaction():
        for value in values:
            await producer.send_and_wait(topic, record(value, workspace_id), workspace_id.encode())


async def read(bootstrap: str, topic: str, workspace_id: str) -> list[Any]:
    """The envelopes of one workspace that stand in the topic now."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        places = list(consumer.assignment())
        ends = await consumer.end_offsets(places)
        found = []
        while not all([await consumer.position(place) >= end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [orjson.loads(one.value) for one in records if one.key == workspace_id.encode()]
        return found
    finally:
        await consumer.stop()


class Process:
    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.crm_sync.worker"],
                env={**os.environ, **environment},
                stdout=sink,
                stderr=sink,
            )

    def told(self) -> str:
        return self._log.read_text()[-4_000:]

    def url(self) -> str | None:
        for line in reversed(self._log.read_text().splitlines()):
            entry = orjson.loads(line)
            if entry.get("event") == "pages":
                return f"http://127.0.0.1:{entry['port']}"
        return None

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with asyncio.timeout(LIMIT_S):
            while (url := self.url()) is None:
                assert self.process.poll() is None, self.told()
                await asyncio.sleep(0.05)
        async with httpx.AsyncClient() as http:
            return await http.get(url + path, headers=headers)


@contextmanager
def running(environment: dict[str, str], log: Path) -> Iterator[Process]:
    worker = Process(environment, log)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


async def until(condition: Any, worker: Process) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            assert worker.process.poll() is None, worker.told()
            await asyncio.sleep(0.05)


@pytest.fixture
async def contract_topics(kafka: str) -> str:
    await ensure_topics(kafka, partitions=3, replicas=1)
    return kafka


async def test_killed_and_started_again_each_chat_stands_in_the_feed_once(
    contract_topics: str, tmp_path: Path
) -> None:
    workspace, quiet = f"w{uuid.uuid4().hex[:8]}", f"q{uuid.uuid4().hex[:8]}"
    environment = {
        "CHAT_BOOTSTRAP": contract_topics,
        "CHAT_GROUP": f"crm-{workspace}",
        "CHAT_INSTANCE_ID": f"crm-{workspace}",
        "CHAT_HTTP_PORT": "0",
        "CHAT_LEDGER_URL": f"sqlite+aiosqlite:///{tmp_path}/ledger.db",
        "CHAT_CRM_URL": f"sqlite:///{tmp_path}/crm.db",
        "CHAT_ARCHIVE_API_URL": "http://127.0.0.1:9",
    }
    crm = await EmbeddedCrm.open(environment["CHAT_CRM_URL"])
    await crm.add_person(
        kind="contact", name="Hanako", email="hanako@example.com", marker="seed", workspace_id=workspace
    )
    # Every second visitor is new, and wants a lead.
    chats = [
        transcript(
            chat_id=f"c{number}",
            visitor_email=f"new{number}@example.com" if number % 2 else "HANAKO@example.com",
        )
        for number in range(CHATS)
    ]
    configured = settings(lead_policy="always", pool=("a", "b"))
    async with publishing(contract_topics) as producer:
        await publish(producer, topics.NOTICES, workspace, configured)
        await publish(producer, topics.TRANSCRIPTS, workspace, *chats[: CHATS // 2])
        await publish(producer, topics.TRANSCRIPTS, quiet, transcript())

        async def in_feed() -> int:
            return (await crm.feed(FeedFilter(), workspace_id=workspace)).total

        async def some() -> bool:
            return await in_feed() >= 3

        async def ready() -> bool:
            return (await worker.get("/readyz")).status_code == 200

        async def reported() -> bool:
            found = await read(contract_topics, topics.ACTIVITIES, workspace)
            return len({one["id"] for one in found if one["data"]["kind"] == "activity"}) == CHATS

        with running(environment, tmp_path / "log") as worker:
            await until(some, worker)
            worker.process.kill()
            worker.process.wait()
        await publish(producer, topics.TRANSCRIPTS, workspace, *chats[CHATS // 2 :])
        (tmp_path / "log").unlink()
        with running(environment, tmp_path / "log") as worker:
            await until(reported, worker)
            await until(ready, worker)
            page = await worker.get(f"/crm/{workspace}/feed")
            assert "Chat with 山田 花子" in page.text
            card = f"/v1/{workspace}/crm/card?chat=c1"
            assert (await worker.get(card)).status_code == 401
            away = await worker.get(card, authorization="Bearer of-an-agent")
            assert away.json()["detail"] == "the archive does not answer"
            metrics = (await worker.get("/metrics")).text
            assert "chat_effects_total" in metrics
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, LIMIT_S) == 0, worker.told()
        assert "@example.com" not in worker.told()
        assert "of-an-agent" not in worker.told()

    assert await in_feed() == CHATS
    by_id = {one["id"]: one for one in await read(contract_topics, topics.ACTIVITIES, workspace)}
    told = sorted((one["data"]["kind"], one["data"]["result"]) for one in by_id.values())
    assert told == (
        [("activity", "done")] * CHATS + [("lead", "done")] * (CHATS // 2) + [("ticket", "done")] * CHATS
    )
    owners = []
    for number in range(1, CHATS, 2):
        (lead,) = await crm.find_people(f"new{number}@example.com", workspace_id=workspace)
        assert lead.owner is not None
        owners.append(lead.owner.id)
    assert owners.count("a") == owners.count("b") == CHATS // 4
    assert not await read(contract_topics, topics.ACTIVITIES, quiet), "no CRM, no record"
    await crm.close()


async def test_settings_made_before_a_moment_are_known_at_it(kafka: str, tmp_path: Path) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}.notices"
    await ensure_topics(kafka, partitions=3, replicas=1, topics=(Topic(topic),))
    store = await Store.open(f"sqlite:///{tmp_path}/ledger.db")
    configuration = Configuration(KafkaSettings(bootstrap=kafka), store, topic=topic)
    await configuration.start()
    following = asyncio.create_task(configuration.run())
    try:
        async with publishing(kafka) as producer, asyncio.timeout(LIMIT_S):
            for number in range(12):
                workspace = f"w{number}"
                assert await configuration.of(workspace) is None
                await publish(producer, topic, workspace, settings(owner_id=workspace))
                assert await configuration.of(workspace) == settings(owner_id=workspace)
            await producer.begin_transaction()
            await producer.send_and_wait(topic, record(settings(), "aborted"), b"aborted")
            await producer.abort_transaction()
            assert await configuration.of("aborted") is None
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"notice.crm_configured.v1, and no JSON", b"poison")
            await producer.commit_transaction()
            assert await configuration.of("poison") is None
    finally:
        await configuration.stop()
        await following
    again = Configuration(KafkaSettings(bootstrap=kafka), store, topic=topic)
    await again.start()
    try:
        assert await again.of("w3") == settings(owner_id="w3"), "what is remembered needs no Kafka"
    finally:
        await again.stop()
    await store.close()
