"""TLS, passwords and certificates on a broker that insists on them, and what is said when they are wrong."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from pydantic import ValidationError

from schemas.topics import Topic
from services.local.acls import allow, withdraw
from services.local.principals import Permission
from services.local.topics import ensure_topics
from services.runtime.connection import KafkaSettings
from services.runtime.kafka import KafkaChangelog
from services.runtime.settings import RuntimeSettings
from tests.ops.secured import Secured, certify, secured

TOPIC = "letters"
LIMIT_S = 30.0
CLOSE_LIMIT_S = 2.0
READERS = 10
"""Without the correction one of three hung."""
DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
"""Who may write to no topic at all is refused as a producer already."""
WRITE = Permission("topic", TOPIC, "write")


@pytest.fixture(scope="module")
def kafka() -> Iterator[Secured]:
    with secured("writer", "stranger") as broker:
        asyncio.run(ensure_topics(broker.open, partitions=1, replicas=1, topics=(Topic(TOPIC, {}),)))
        asyncio.run(allow(broker.open, [("writer", WRITE)]))
        yield broker


def by_password(kafka: Secured, user: str = "writer", **changed: Any) -> KafkaSettings:
    settings: dict[str, Any] = {
        "bootstrap": kafka.by_password,
        "kafka_ca_file": kafka.authority,
        "kafka_user": user,
        "kafka_password": kafka.passwords[user],
    }
    return KafkaSettings(**(settings | changed))


def by_certificate(kafka: Secured, user: str = "writer", **changed: Any) -> KafkaSettings:
    certificate, key = kafka.certificate(user)
    settings: dict[str, Any] = {
        "bootstrap": kafka.by_certificate,
        "kafka_ca_file": kafka.authority,
        "kafka_certificate_file": certificate,
        "kafka_key_file": key,
    }
    return KafkaSettings(**(settings | changed))


async def write(settings: KafkaSettings) -> int:
    """The offset of a record written with these settings."""
    producer = AIOKafkaProducer(**settings.client(), enable_idempotence=True, request_timeout_ms=5_000)
    try:
        await asyncio.wait_for(producer.start(), LIMIT_S)
        sent = await asyncio.wait_for(producer.send_and_wait(TOPIC, b"hello", partition=0), LIMIT_S)
    finally:
        await producer.stop()
    offset: int = sent.offset
    return offset


@pytest.mark.kafka
@pytest.mark.parametrize("way", [by_password, by_certificate])
async def test_whoever_is_named_in_the_lists_is_let_in(kafka: Secured, way: Any) -> None:
    first = await write(way(kafka))
    assert await write(way(kafka)) == first + 1


@pytest.mark.kafka
@pytest.mark.parametrize("way", [by_password, by_certificate])
async def test_whoever_is_not_is_not(kafka: Secured, way: Any) -> None:
    with pytest.raises(DENIED):
        await write(way(kafka, "stranger"))


@pytest.mark.kafka
async def test_what_was_allowed_can_be_withdrawn(kafka: Secured) -> None:
    await withdraw(kafka.open, [("writer", WRITE)])
    try:
        with pytest.raises(DENIED):
            await write(by_password(kafka))
    finally:
        await allow(kafka.open, [("writer", WRITE)])
    await write(by_password(kafka))


@pytest.mark.kafka
@pytest.mark.parametrize(
    "changed",
    [{"kafka_password": "another one"}, {"kafka_ca_file": None}, {"bootstrap": "localhost"}],
    ids=["password", "authority", "host name"],
)
async def test_a_wrong_password_authority_or_name_is_no_way_in(
    kafka: Secured, changed: dict[str, Any]
) -> None:
    if "bootstrap" in changed:  # the broker's certificate names an address, not this name
        changed = {"bootstrap": kafka.by_password.replace("127.0.0.1", "localhost")}
    with pytest.raises(KafkaError):
        await write(by_password(kafka, **changed))


@pytest.mark.kafka
async def test_a_certificate_nobody_vouches_for_is_no_way_in(kafka: Secured) -> None:
    certify(kafka.folder, "forger")
    trusted = by_certificate(kafka)
    kafka.certificate("writer", authority="forger")
    with pytest.raises(KafkaConnectionError):
        await write(trusted)


@pytest.mark.kafka
async def test_a_renewed_certificate_is_taken_without_a_restart(kafka: Secured, tmp_path: Path) -> None:
    certificate, key = (tmp_path / "own.pem", tmp_path / "own.key")

    def renew(user: str) -> None:
        for path, made in zip((certificate, key), kafka.certificate(user), strict=True):
            path.write_bytes(made.read_bytes())
            later_ns = time.time_ns() + 1_000_000  # a coarse clock of the disk must not hide the change
            os.utime(path, ns=(later_ns, later_ns))

    renew("stranger")
    settings = by_certificate(kafka, kafka_certificate_file=certificate, kafka_key_file=key)
    with pytest.raises(DENIED):
        await write(settings)
    renew("writer")
    await write(settings)
    key.write_text("half of it", encoding="ascii")
    await write(settings)  # what was read before is still good


@pytest.mark.kafka
@pytest.mark.usefixtures("mended")
def test_a_reader_is_closed_at_once_while_an_answer_is_on_its_way(kafka: Secured) -> None:
    """aiokafka waits for the broker's farewell, and uvloop half a minute for it where an answer comes in between."""
    asyncio.run(allow(kafka.open, [("writer", Permission("topic", TOPIC, "read"))]))
    uvloop.run(asyncio.wait_for(open_and_close(by_password(kafka)), LIMIT_S))


async def open_and_close(settings: KafkaSettings) -> None:
    await write(settings)
    for _ in range(READERS):
        reader = KafkaChangelog(
            RuntimeSettings(**settings.model_dump(), stop_limit_s=CLOSE_LIMIT_S), TOPIC, 0
        )
        begin, end = await reader.start()
        position = begin
        while position < end:
            position = (await reader.poll()).position
        await reader.close()  # raises WorkerFailed beyond the limit


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_user": "writer"}, "CHAT_KAFKA_USER and its password"),
        ({"kafka_password": "x"}, "CHAT_KAFKA_USER and its password"),
        (
            {"kafka_user": "w", "kafka_password_file": Path("/nowhere")},
            "CHAT_KAFKA_PASSWORD_FILE can't be read",
        ),
        ({"kafka_user": "w", "kafka_password": "x", "kafka_password_file": Path("/x")}, "set either"),
        ({"kafka_certificate_file": Path("/nowhere")}, "CHAT_KAFKA_CERTIFICATE_FILE and CHAT_KAFKA_KEY_FILE"),
        ({"kafka_ca_file": Path("/nowhere")}, "must name readable files"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        KafkaSettings(**given)
    assert "'x'" not in str(refused.value.errors(include_input=False))


def test_without_any_of_them_the_connection_is_plain() -> None:
    assert KafkaSettings(bootstrap="b:1").client() == {"bootstrap_servers": "b:1"}
    assert KafkaSettings(kafka_tls=True).client()["security_protocol"] == "SSL"
