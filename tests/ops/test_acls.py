"""Each service works with exactly what `principals.py` allows it, breaks without any line of it, and loses nothing when it is back."""

import asyncio
import json
import secrets
import signal
import sqlite3
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from schemas.topics import (
    ACTIVITIES,
    DELIVERIES,
    EVENTS,
    NOTICES,
    ROUTING,
    TRANSCRIPTS,
    dead_letters,
)
from services.local.acls import allow, withdraw
from services.local.mailbox import Mailbox
from services.local.ports import LOOPBACK, free_ports
from services.local.principals import PRINCIPALS, Permission
from services.local.topics import ensure_topics
from services.runtime.connection import KafkaSettings
from tests.ops.secured import Secured, secured
from tests.runtime.brokerage import Program

pytestmark = [pytest.mark.kafka, pytest.mark.ops, pytest.mark.timeout(900)]

MODULES = {
    "chat-router": "services.router.worker",
    "chat-transcript": "services.transcript.worker",
    "chat-notifier": "services.notifier.worker",
    "chat-crm-sync": "services.crm_sync.worker",
}
LINES = [(each.name, line) for each in PRINCIPALS if each.name in MODULES for line in each.permissions()]
FRONTEND = "chat-frontend"
LIMIT_S = 40.0
STILL_S = 15.0
"""A round takes a third of this where nothing is missing."""
REFUSED = b"uthori"
"""In what aiokafka and we say: not authorized to read, TopicAuthorizationFailedError."""
POLL_S = 0.1
WAIT_TIMEOUT_S = 1.0
READ = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES)
WATCHED = (*READ, *(dead_letters(topic) for topic in READ))
POISON = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, ACTIVITIES)
WANTED = Counter(
    {
        "chat.closed.v1": 2,
        "notice.unattended.v1": 1,
        "transcript.completed.v1": 2,
        "mail.settled.v1": 2,
        "crm.settled.v1": 3,
        # By the router; the assembler; notifier and crm_sync; both again; the notifier.
        dead_letters(EVENTS): 1,
        dead_letters(ROUTING): 1,
        dead_letters(NOTICES): 2,
        dead_letters(TRANSCRIPTS): 2,
        dead_letters(ACTIVITIES): 1,
    }
)
"""What follows from one round, at least: a chat that is handled, one that nobody takes, and a poison record in each topic."""


@dataclass
class Office:
    """The broker, the four services as processes, and somebody who sees all that is written."""

    kafka: Secured
    folder: Path
    producer: AIOKafkaProducer
    eye: AIOKafkaConsumer
    smtp_port: int
    running: dict[str, Program] = field(default_factory=dict)
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    """By workspace: how many of each type, and letters by topic."""
    written: dict[str, dict[str, int]] = field(default_factory=dict)
    """By workspace: the offset of its last good record in each topic."""

    def start(self, user: str) -> Program:
        program = Program(self.environment(user), self.folder / f"{user}.log", module=MODULES[user])
        self.running[user] = program
        return program

    def environment(self, user: str) -> dict[str, str]:
        return {
            **self.kafka.environment(user),
            "CHAT_HTTP_PORT": "0",
            "CHAT_SMTP_HOST": LOOPBACK,
            "CHAT_SMTP_PORT": str(self.smtp_port),
            "CHAT_LINK_SECRET": "x" * 40,
            "CHAT_LEDGER_URL": f"sqlite:///{self.folder / user}.db",
            "CHAT_CRM_URL": f"sqlite:///{self.folder / 'crm.db'}",
            "CHAT_ARCHIVE_URL": f"sqlite:///{self.folder / 'archive.db'}",
        }

    async def stop(self, user: str) -> None:
        program = self.running.pop(user)
        program.send(signal.SIGTERM)
        await program.ended()

    async def round(self) -> str:
        """Let one chat be handled and one be missed in a new workspace; return its id."""
        workspace = f"w-{uuid.uuid4().hex[:8]}"
        agent = {"kind": "agent", "id": "hanako"}
        chats = {department: uuid.uuid4().hex for department in ("staffed", "empty")}

        async def say(kind: str, **data: Any) -> None:
            event = {
                "specversion": "1.0",
                "id": uuid.uuid4().hex,
                "source": "/frontends/test",
                "type": kind,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "workspaceid": workspace,
                "data": data,
            }
            await self.producer.send_and_wait(EVENTS, json.dumps(event).encode(), workspace.encode())

        mails = {"enabled": True, "addresses": "team@example.com"}
        await say("workspace.configured.v1", name="W", timezone="UTC", language="en")
        await say("agent.configured.v1", agent_id="hanako", name="Hanako", max_chats=4)
        for name, agents, mail in (("staffed", ["hanako"], "transcript"), ("empty", [], "unattended")):
            await say(
                "department.configured.v1",
                department_id=name,
                name=name,
                agent_ids=agents,
                routing={"mode": "auto", "wait_timeout_s": WAIT_TIMEOUT_S, "after_hours": "queue"},
                email={mail: mails, "from_address": "chat@example.com"},
            )
        await say("crm.configured.v1", connector="embedded", lead_policy="always")
        await say("agent.presence.v1", agent_id="hanako", status="online")
        for department, chat in chats.items():
            visitor = {"visitor_id": "v", "name": "Taro", "email": "taro@example.com"}
            await say(
                "chat.requested.v1",
                chat_id=chat,
                channel="web",
                question="?",
                visitor=visitor,
                department_id=department,
            )
        handled = chats["staffed"]
        await say("chat.message.v1", chat_id=handled, message_id="m", sender=agent, text="!")
        await say("chat.end_requested.v1", chat_id=handled, by=agent)
        for topic in POISON:
            await self.producer.send_and_wait(topic, b"{poison", workspace.encode())
        return workspace

    async def look(self) -> None:
        """Take in what has been written."""
        for place, records in (await self.eye.getmany(timeout_ms=int(POLL_S * 1000))).items():
            for record in records:
                counts = self.seen.setdefault((record.key or b"").decode(), Counter())
                if place.topic.endswith(dead_letters("")):
                    counts[place.topic] += 1
                elif not record.value.startswith(b"{poison"):
                    counts[json.loads(record.value)["type"]] += 1
                    self.written.setdefault((record.key or b"").decode(), {})[place.topic] = record.offset

    async def missing(self, workspace: str) -> Counter[str]:
        """What is still to come of a round, and which of its topics the archive has not read so far."""
        await self.look()
        behind = WANTED - self.seen.get(workspace, Counter())
        if behind:
            return behind
        with closing(sqlite3.connect(self.folder / "archive.db")) as archive:
            read = dict(archive.execute("SELECT topic, next_offset FROM offsets").fetchall())
        return Counter(
            {
                f"{topic} in the archive": 1
                for topic, offset in self.written[workspace].items()
                if topic in READ and read.get(topic, 0) <= offset
            }
        )

    async def complete(self, workspace: str) -> None:
        behind = await self.missing(workspace)
        until_s = time.monotonic() + LIMIT_S
        while behind:
            assert time.monotonic() < until_s, (behind, json.dumps(self.words(), indent=1))
            behind = await self.missing(workspace)

    def words(self) -> dict[str, list[str]]:
        return {user: program.log.read_text().splitlines()[-4:] for user, program in self.running.items()}


@pytest.fixture(scope="module")
def kafka() -> Iterator[Secured]:
    with secured(*(principal.name for principal in PRINCIPALS)) as broker:
        asyncio.run(ensure_topics(broker.open, partitions=1, replicas=1))
        everything = [(each.name, line) for each in PRINCIPALS for line in each.permissions()]
        asyncio.run(allow(broker.open, everything))
        yield broker


@asynccontextmanager
async def opened(kafka: Secured, folder: Path) -> AsyncIterator[Office]:
    """The office with all four services at work."""
    async with AsyncExitStack() as stack:
        (smtp_port,) = free_ports(1)
        stack.enter_context(Mailbox(folder / "mails", port=smtp_port))
        producer = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=kafka.open))
        eye = AIOKafkaConsumer(
            *WATCHED,
            bootstrap_servers=kafka.open,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            client_id=secrets.token_hex(4),
        )
        await stack.enter_async_context(eye)
        office = Office(kafka, folder, producer, eye, smtp_port)
        try:
            for user in MODULES:
                office.start(user)
            yield office
        finally:
            for program in office.running.values():
                program.kill()


async def test_each_line_is_needed_and_all_together_are_enough(kafka: Secured, tmp_path: Path) -> None:
    needless: list[str] = []
    async with opened(kafka, tmp_path) as office:
        await office.complete(await office.round())
        for user, line in LINES:
            started_s = time.monotonic()
            await office.stop(user)
            await withdraw(kafka.open, [(user, line)])
            program = office.start(user)
            log_bytes = program.log.stat().st_size
            workspace = await office.round()
            verdict = await watched(office, program, workspace, log_bytes=log_bytes)
            await allow(kafka.open, [(user, line)])
            if program.running:
                await office.stop(user)
            office.start(user)
            await office.complete(workspace)
            took_s = time.monotonic() - started_s
            sys.stdout.write(
                f"{user:16} {line.operation:5} {line.kind:16} {line.name:32} {verdict} ({took_s:.1f} s)\n"
            )
            if verdict == "worked":
                needless.append(f"{user} {line}")
    assert not needless


async def watched(office: Office, program: Program, workspace: str, *, log_bytes: int) -> str:
    """What a service does that lacks a permission: it ends or waits and its log says who refuses, or it stands still.

    Kafka hides a topic from who may not read it; the transcript worker waits a minute for topics that are missing.
    """
    until_s = time.monotonic() + STILL_S
    while time.monotonic() < until_s:
        if not await office.missing(workspace):
            return "worked"
        if REFUSED in program.log.read_bytes()[log_bytes:]:
            return "waited" if program.running else "ended"
    return "stood still"


async def test_a_frontend_writes_events_and_reads_decisions_and_nothing_else(kafka: Secured) -> None:
    settings = KafkaSettings(
        bootstrap=kafka.by_password,
        kafka_ca_file=kafka.authority,
        kafka_user=FRONTEND,
        kafka_password=kafka.passwords[FRONTEND],
    )
    async with AIOKafkaProducer(**settings.client(), enable_idempotence=True) as producer:
        await producer.send_and_wait(EVENTS, b"{poison", b"w")
        for topic in (ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES):
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"{}", b"w", partition=0)
    async with AIOKafkaProducer(bootstrap_servers=kafka.open) as router:
        await router.send_and_wait(ROUTING, b"{}", b"w")
    assert await read(settings, ROUTING, group=f"{FRONTEND}-console-1") is None
    assert await read(settings, EVENTS, group=f"{FRONTEND}-console-1") is TopicAuthorizationFailedError
    assert await read(settings, NOTICES, group=f"{FRONTEND}-console-1") is TopicAuthorizationFailedError
    assert await read(settings, ROUTING, group="chat-router") is GroupAuthorizationFailedError


async def read(settings: KafkaSettings, topic: str, *, group: str) -> type[KafkaError] | None:
    """What keeps this user from reading a topic, or nothing."""
    reader = AIOKafkaConsumer(
        topic, **settings.client(), group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            await reader.start()
            while not await reader.getmany(timeout_ms=100):
                pass
    except KafkaError as error:
        return type(error)
    finally:
        await reader.stop()
    return None


def test_no_permission_is_listed_twice() -> None:
    lines: list[tuple[str, Permission]] = [
        (each.name, line) for each in PRINCIPALS for line in each.permissions()
    ]
    assert len(set(lines)) == len(lines)
