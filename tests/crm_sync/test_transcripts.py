"""Reading a conversation again where it stands, and the whole way of one that ended before its lead was asked for, on a real Kafka."""

import signal
import uuid
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas import topics
from schemas.topics import Topic
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.views import FeedFilter
from services.crm_sync.transcripts import Transcripts
from services.local.topics import ensure_topics
from services.runtime.connection import KafkaSettings
from services.runtime.failures import WorkerFailed
from tests.crm_sync.material import lead_request, settings, transcript
from tests.crm_sync.test_worker import publish, publishing, read, record, running, until

pytestmark = pytest.mark.kafka


async def test_a_conversation_is_read_again_where_it_stands(kafka: str) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}.transcripts"
    await ensure_topics(kafka, partitions=1, replicas=1, topics=(Topic(topic),))
    first, second = transcript(), transcript(chat_id="c2", question="花" * 4_000)
    async with publishing(kafka) as producer:
        await publish(
            producer, topic, "acme", first, second
        )  # at 0 and 1; the end of the transaction is at 2
        async with producer.transaction():
            await producer.send_and_wait(topic, b"no JSON", b"acme")
        await producer.begin_transaction()
        await producer.send_and_wait(topic, record(transcript(chat_id="c3"), "acme"), b"acme")
        await producer.abort_transaction()
        await publish(producer, topic, "acme", first)
    transcripts = Transcripts(KafkaSettings(bootstrap=kafka))

    async def at(offset: int) -> str | None:
        found = await transcripts.at((topic, 0, offset))
        return None if found is None else found.data.chat_id

    assert [await at(offset) for offset in range(9)] == [
        "c1",
        "c2",
        None,  # a transaction's end
        None,  # no conversation
        None,
        None,  # one that was taken back
        None,
        "c1",
        None,  # not written yet
    ]
    found = await transcripts.at((topic, 0, 1))
    assert found is not None
    assert (found.data, found.workspaceid) == (second, "acme")

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=1)})
    finally:
        await admin.close()
    assert [await at(offset) for offset in (0, 1)] == [None, "c2"]


async def test_a_kafka_that_is_away_stops_the_worker() -> None:
    with pytest.raises(WorkerFailed, match="could not be read again"):
        await Transcripts(KafkaSettings(bootstrap="127.0.0.1:9")).at((topics.TRANSCRIPTS, 0, 0))


async def test_a_chat_that_ended_before_its_lead_was_asked_for_joins_it(kafka: str, tmp_path: Path) -> None:
    await ensure_topics(kafka, partitions=3, replicas=1)
    workspace = f"w{uuid.uuid4().hex[:8]}"
    environment = {
        "CHAT_BOOTSTRAP": kafka,
        "CHAT_GROUP": f"crm-{workspace}",
        "CHAT_INSTANCE_ID": f"crm-{workspace}",
        "CHAT_HTTP_PORT": "0",
        "CHAT_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "CHAT_CRM_URL": f"sqlite:///{tmp_path}/crm.db",
        "CHAT_CRM_TICKETS": "missed",
    }
    crm = await EmbeddedCrm.open(environment["CHAT_CRM_URL"])
    told: list[tuple[str, str]] = []

    async def reported(count: int) -> bool:
        # Killed after it wrote, the worker writes the same record again.
        found = {one["id"]: one["data"] for one in await read(kafka, topics.ACTIVITIES, workspace)}
        told[:] = [(data["kind"], data["result"]) for data in found.values()]
        return len(found) >= count

    async with publishing(kafka) as producer:
        await publish(producer, topics.NOTICES, workspace, settings())
        await publish(producer, topics.TRANSCRIPTS, workspace, transcript(chat_id="c0"), transcript())
        with running(environment, tmp_path / "log") as worker:
            await until(lambda: reported(2), worker)
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait()
        await publish(producer, topics.NOTICES, workspace, lead_request())
        (tmp_path / "log").unlink()
        with running(environment, tmp_path / "log") as worker:
            await until(lambda: reported(4), worker)
    assert told == [
        ("activity", "no_match"),
        ("activity", "no_match"),
        ("activity", "done"),
        ("lead", "done"),
    ]
    assert (await crm.feed(FeedFilter(), workspace_id=workspace)).total == 1
    (lead,) = await crm.find_people("hanako@example.com", workspace_id=workspace)
    assert lead.kind == "lead"
    await crm.close()
