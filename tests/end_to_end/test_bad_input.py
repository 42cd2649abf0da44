"""What publishers get wrong: each record ends as the contract says, and the next one is processed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas import codec
from schemas.topics import EVENT_BYTES_MAX, EVENTS, ROUTING, dead_letters
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

LIMIT_S = 30.0
NEAR_LIMIT = EVENT_BYTES_MAX - 1_000
CODECS = (None, "gzip", "snappy", "lz4", "zstd")


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a broker with the topics and a router."""
    with EmbeddedKafka() as broker:
        asyncio.run(ensure_topics(broker.bootstrap, partitions=2))
        (port,) = free_ports(1)
        environment = {
            "CHAT_BOOTSTRAP": broker.bootstrap,
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_HTTP_PORT": str(port),
        }
        workers = [Worker("router", "services.router.worker", port, environment)]
        with Supervisor(workers, logs=tmp_path_factory.mktemp("logs"), settings=LocalSettings()):
            yield broker.bootstrap


class Publisher:
    """Publishes for one workspace, and waits for what follows."""

    def __init__(self, bootstrap: str, workspace: str, *, compression: str | None = None) -> None:
        self.bootstrap = bootstrap
        self.workspace = workspace
        self.count = 0
        self._compression = compression

    def event(self, kind: str, /, **data: Any) -> bytes:
        self.count += 1
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{self.workspace}-{self.count}",
                "source": "/tests",
                "type": kind,
                "time": "2026-11-21T09:00:00.000Z",
                "workspaceid": self.workspace,
                "data": data,
            }
        )

    def request(self, chat_id: str) -> bytes:
        return self.event(
            "chat.requested.v1",
            chat_id=chat_id,
            channel="web",
            question="?",
            visitor={"visitor_id": "v"},
        )

    async def publish(self, *values: bytes, key: str | None = None) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=self._compression,
            max_request_size=2 * EVENT_BYTES_MAX,
        )
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(EVENTS, value, key=(key or self.workspace).encode())
        finally:
            await producer.stop()

    async def decisions(self, count: int) -> list[Any]:
        """Return the workspace's decisions once there are so many, and fail if more come than that."""
        async with TopicLog(self.bootstrap, (ROUTING,)) as log, asyncio.timeout(LIMIT_S):
            while True:
                await log.catch_up()
                found = [
                    codec.decisions.decode(record.value).data
                    for record in log.all_of(ROUTING)
                    if record.key == self.workspace.encode()
                ]
                if len(found) >= count:
                    assert len(found) == count
                    return found
                await asyncio.sleep(0.05)

    async def letters(self, values: list[bytes]) -> dict[bytes, str]:
        """Return why each of these records was refused, once all of them have been."""
        topic = dead_letters(EVENTS)
        async with TopicLog(self.bootstrap, (topic,)) as log, asyncio.timeout(LIMIT_S):
            while True:
                await log.catch_up()
                found = {
                    record.value: dict(record.headers)["__streams.errors.message"].decode()
                    for record in log.all_of(topic)
                    if record.value in values
                }
                if len(found) == len(values):
                    return {value: found[value] for value in values if value is not None}
                await asyncio.sleep(0.05)


async def test_what_cannot_be_read_is_a_dead_letter_that_says_why(bootstrap: str) -> None:
    publisher = Publisher(bootstrap, "poison")
    wrong = {
        b"{not json": "not JSON",
        publisher.event("agent.configured.v1", agent_id=7, name="A"): "data.agent_id: number given",
        publisher.event("agent.configured.v1", name="A"): "data.agent_id: missing",
        b"x" * NEAR_LIMIT: "not JSON",
    }
    foreign = Publisher(bootstrap, "another").event("agent.deleted.v1", agent_id="a")
    await publisher.publish(*wrong)
    await publisher.publish(foreign, key="poison")
    await publisher.publish(publisher.request("c1"))
    reasons = await publisher.letters([*wrong, foreign])
    for value, expected in wrong.items():
        assert reasons[value].startswith(expected)
    assert reasons[foreign].startswith("key: differs from workspaceid")
    assert [type(decision).TYPE for decision in await publisher.decisions(1)] == ["chat.queued.v1"]


async def test_what_makes_no_sense_is_refused_and_what_is_new_is_skipped(bootstrap: str) -> None:
    publisher = Publisher(bootstrap, "nonsense")
    await Publisher(bootstrap, "neighbours").publish(
        Publisher(bootstrap, "neighbours").event("agent.configured.v1", agent_id="stranger", name="S")
    )
    duplicate = publisher.request("c1")
    await publisher.publish(
        publisher.event("chat.painted.v9", colour="red"),
        duplicate,
        duplicate,
        publisher.request("c1"),
        publisher.event("agent.configured.v1", agent_id="a", name="A"),
        publisher.event("offer.accepted.v1", offer_id="never", chat_id="c1", agent_id="a"),
        publisher.event("offer.accepted.v1", offer_id="never", chat_id="c1", agent_id="stranger"),
        publisher.event("chat.end_requested.v1", chat_id="c2", by={"kind": "visitor"}),
        publisher.request("c3"),
    )
    queued, reused, late, stranger, unknown, last = await publisher.decisions(6)
    assert (queued.chat_id, last.chat_id) == ("c1", "c3")
    refusals = [refused.code for refused in (reused, late, stranger, unknown)]
    assert refusals == ["chat_already_exists", "offer_not_open", "unknown_agent", "unknown_chat"]


async def test_a_large_record_is_read_when_it_is_sound(bootstrap: str) -> None:
    publisher = Publisher(bootstrap, "large")
    padded = orjson.loads(publisher.request("c1")) | {"padding": "p" * NEAR_LIMIT}
    raw = orjson.dumps(padded)
    assert NEAR_LIMIT < len(raw) < EVENT_BYTES_MAX
    await publisher.publish(raw)
    (queued,) = await publisher.decisions(1)
    assert queued.chat_id == "c1"


@pytest.mark.parametrize("compression", CODECS)
async def test_every_codec_is_read(bootstrap: str, compression: str | None) -> None:
    publisher = Publisher(bootstrap, f"codec-{compression}", compression=compression)
    await publisher.publish(publisher.request("c1"))
    (queued,) = await publisher.decisions(1)
    assert queued.chat_id == "c1"
