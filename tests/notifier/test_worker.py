"""The whole notifier as a process, on a real Kafka and a real SMTP server."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from pydantic import SecretStr, ValidationError

from schemas import codec, topics
from services.notifier.settings import NotifierSettings
from services.notifier.slow import SLOW_AFTER_S
from services.notifier.worker import rules_of
from services.runtime.links import LinkExpired, read_link
from tests import waiting
from tests.notifier.samples import letter, transcript, unattended
from tests.notifier.sink import Sink

LIMIT_S = 40
until = partial(waiting.until, limit_s=LIMIT_S)
WORKSPACE = "notifier-test"
SECRET = "the secret of the tests"
READ = (topics.NOTICES, topics.TRANSCRIPTS, topics.ACTIVITIES)


async def make_topics(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = (*READ, *map(topics.dead_letters, READ), topics.DELIVERIES)
        answer = await admin.create_topics([NewTopic(name, 12, 1) for name in names])
    finally:
        await admin.close()
    for _name, code, *_rest in answer.topic_errors:
        error = for_code(code)
        assert code == 0 or error is TopicAlreadyExistsError, error


async def publish(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=WORKSPACE.encode())
    finally:
        await producer.stop()


def encoded(data: Any, number: int) -> bytes:
    return codec.encode(data, event_id=f"e{number}", source="/test", at_ms=1, workspace_id=WORKSPACE)


async def outcomes(bootstrap: str, expected: int) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Any] = []
    try:
        consumer.assign([TopicPartition(topics.DELIVERIES, number) for number in range(12)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(LIMIT_S):
            while len(found) < expected:
                envelope = codec.deliveries.decode((await consumer.getone()).value)
                if envelope.workspaceid == WORKSPACE:
                    found.append(envelope.data)
    finally:
        await consumer.stop()
    return found


class Worker:
    """A notifier process; its log is read while it runs."""

    def __init__(self) -> None:
        self.log = ""
        self.reload: Callable[[], None]

    @asynccontextmanager
    async def running(self, environment: dict[str, str]) -> AsyncIterator["Worker"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.notifier.worker",
            env={**os.environ, **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        reading = asyncio.create_task(self._read(process))
        self.reload = partial(process.send_signal, signal.SIGHUP)
        try:
            yield self
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0, self.log
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.log += line.decode()

    @property
    def port(self) -> int | None:
        match = re.search(r'"port": (\d+), "event": "pages"|"event": "pages".*?"port": (\d+)', self.log)
        return int(match.group(1) or match.group(2)) if match else None


@pytest.mark.kafka
async def test_notices_become_mails_once_and_the_process_stops_cleanly(kafka: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    await make_topics(kafka)
    notices = [
        encoded(
            unattended("ja", notice_id=f"n{number}", letter=letter("ja", f"to{number}@example.com")), number
        )
        for number in range(40)
    ]
    await publish(kafka, topics.NOTICES, *notices[:20], b"not JSON", *notices[20:])
    await publish(kafka, topics.TRANSCRIPTS, encoded(transcript(), 100))
    async with Sink().open() as sink:
        environment = {
            "CHAT_BOOTSTRAP": kafka,
            "CHAT_GROUP": "notifier-test",
            "CHAT_HTTP_PORT": "0",
            "CHAT_SMTP_PORT": str(sink.port),
            "CHAT_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "CHAT_LINK_SECRET_FILE": str(secret),
            "CHAT_PUBLIC_URL": "https://chat.example.com",
        }
        async with Worker().running(environment) as worker:
            await until(lambda: len(sink.mails) == 41 or "worker_failed" in worker.log)
            settled = await outcomes(kafka, 41)
            await until(lambda: worker.port is not None)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}") as pages:
                assert (await pages.get("/healthz")).status_code == 200
                assert (await pages.get("/readyz")).status_code == 200
                metrics = (await pages.get("/metrics")).text
        assert sorted(each.notice_id for each in settled if each.kind == "unattended") == sorted(
            f"n{number}" for number in range(40)
        )
        assert {each.result for each in settled} == {"sent"}
        assert f'chat_dead_letters_total{{topic="{topics.NOTICES}"}} 1.0' in metrics
        assert 'chat_effects_total{kind="unattended",result="sent"} 40.0' in metrics
        assert "example.com" not in worker.log
        assert "山田" not in worker.log
        links = [
            b"https://chat.example.com/t/" in message.replace(b"=\r\n", b"") for message in sink.messages
        ]
        assert any(links)

        # A second life does nothing again, and goes on.
        await publish(kafka, topics.NOTICES, encoded(unattended(notice_id="late"), 200))
        async with Worker().running(environment):
            await until(lambda: len(sink.mails) > 41)
        assert len(sink.mails) == 42
        assert b"<late.unattended@example.com>" in sink.messages[-1]


def to_each(address: str, *, first: int, mails: int) -> list[bytes]:
    """Return notices, each to another recipient; `address` has their number in it."""
    return [
        encoded(
            unattended(
                notice_id=f"{address}{number}{first}", letter=letter("en", address.format(number=number))
            ),
            first + number,
        )
        for number in range(mails)
    ]


@pytest.mark.kafka
async def test_twenty_slow_recipients_hold_up_nobody_else(kafka: str, tmp_path: Path) -> None:
    await make_topics(kafka)
    woken = asyncio.Event()

    async def rcpt(address: str) -> None:
        if address.startswith("slow"):
            await woken.wait()

    sink = Sink(rcpt=rcpt)

    def arrived(name: str) -> int:
        return sum(to.startswith(name) for (to,), _message in sink.mails)

    environment = {
        "CHAT_BOOTSTRAP": kafka,
        "CHAT_GROUP": "notifier-slow-test",
        "CHAT_HTTP_PORT": "0",
        "CHAT_SMTP_PORT": "0",
        "CHAT_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CHAT_LINK_SECRET": SECRET,
    }
    async with sink.open():
        environment["CHAT_SMTP_PORT"] = str(sink.port)
        slow = [to_each("slow{number}@example.com", first=first, mails=20) for first in (0, 100, 200)]
        quick = [to_each("quick{number}@example.com", first=first, mails=100) for first in (300, 400)]
        await publish(kafka, topics.NOTICES, *slow[0], *quick[0])
        async with Worker().running(environment) as worker:

            async def until_there(name: str, mails: int) -> None:
                await until(lambda: arrived(name) == mails or "worker_failed" in worker.log)

            await until_there("quick", 100)
            found_s = monotonic() + SLOW_AFTER_S
            await until(lambda: monotonic() > found_s)
            # They have been found out: now more of them than there are connections for.
            await publish(kafka, topics.NOTICES, *slow[1], *slow[2], *quick[1])
            await until_there("quick", 200)
            assert arrived("slow") == 0
            woken.set()
            await until_there("slow", 60)
    assert (arrived("quick"), arrived("slow")) == (200, 60)


def test_without_a_secret_it_says_what_to_do() -> None:
    with pytest.raises(ValidationError, match="CHAT_LINK_SECRET_FILE"):
        NotifierSettings()


def test_links_in_mails_live_as_long_as_the_settings_say() -> None:
    rules = rules_of(NotifierSettings(link_secret=SecretStr(SECRET), link_lifetime_s=2))
    token = rules.link("acme", "c1", 1, 5_000).rpartition("/")[2]
    assert read_link(token, SECRET, now_ms=6_999).expires_at_ms == 7_000
    with pytest.raises(LinkExpired):
        read_link(token, SECRET, now_ms=7_000)
