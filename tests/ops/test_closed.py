"""What a stranger and an eavesdropper get of running workers: from the HTTP ports the probes and the APIs' documents, and of the secrets nothing.

The one rule: default deny. What is not listed in `OPEN` is refused to whoever brings no token, by every method and under every address.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import EVENTS
from services.local.acls import allow
from services.local.ports import LOOPBACK, free_ports
from services.local.principals import PRINCIPALS
from services.local.topics import ensure_topics
from services.runtime.links import LINK_PATH
from tests.ops.secured import Secured, secured
from tests.runtime.brokerage import Program

pytestmark = [pytest.mark.kafka, pytest.mark.ops, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "chat-router": "services.router.worker",
    "chat-transcript": "services.transcript.worker",
    "chat-notifier": "services.notifier.worker",
    "chat-crm-sync": "services.crm_sync.worker",
}
WORKSPACE = "acme"
OPEN = {"/healthz", "/readyz", "/v1/openapi.json"}
OWN = ("/healthz", "/readyz", "/metrics")
PAGES = {
    "chat-transcript": (f"{LINK_PATH}token",),
    "chat-crm-sync": (f"/crm/{WORKSPACE}/feed", f"/crm/{WORKSPACE}/tickets", f"/crm/{WORKSPACE}/people/1"),
}
SERVING = {"health.py", "api.py", "transcript/pages/routes.py", "crm_sync/pages.py"}
"""Where routes are made: what these serve is asked here."""
NOWHERE = ("/", "/v1", "/v1/", "/metrics/", "//metrics", "/v1/../metrics", "/docs", "/openapi.json", "/.env")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
SECRETS = {
    name: f"{name}-{secrets.token_urlsafe(24)}" for name in ("link", "api", "metrics", "feed", "smtp", "crm")
}
STUCK = ("chat-notifier", "chat-crm-sync")
"""What these log in at does not listen: failures are where secrets would slip out."""


@dataclass(frozen=True, slots=True)
class House:
    """The four workers as processes, everything they say, and all that nobody may ever see."""

    kafka: Secured
    programs: dict[str, Program]
    secrets: tuple[str, ...]

    @asynccontextmanager
    async def stranger(self, name: str, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """Somebody who asks a worker."""
        port = (await self.programs[name].wait_for("pages"))["port"]
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", headers=headers) as client:
            yield client

    async def metrics(self, name: str) -> str:
        async with self.stranger(name, authorization=f"Bearer {SECRETS['metrics']}") as reader:
            answer = await reader.get("/metrics")
        assert answer.status_code == 200
        return answer.text


def written(folder: Path, name: str, text: str) -> str:
    """The path of a secret's file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o400)
    return str(path)


def environment(kafka: Secured, user: str, folder: Path) -> dict[str, str]:
    (nobody,) = free_ports(1)
    account = {
        "connector": "tryton",
        "url": f"http://{LOOPBACK}:{nobody}",
        "database": "crm",
        "user": "chat",
        "password": SECRETS["crm"],
    }
    files = {name: written(folder, name, text) for name, text in SECRETS.items()}
    return {
        **kafka.environment(user),
        "CHAT_LOG_LEVEL": "DEBUG",
        "CHAT_HTTP_PORT": "0",
        "CHAT_METRICS_TOKEN_FILE": files["metrics"],
        "CHAT_LINK_SECRET_FILE": files["link"],
        "CHAT_API_SECRET_FILE": files["api"],
        "CHAT_SMTP_HOST": LOOPBACK,
        "CHAT_SMTP_PORT": str(nobody),
        "CHAT_SMTP_USER": "mailer",
        "CHAT_SMTP_PASSWORD_FILE": files["smtp"],
        "CHAT_CRM_FEED_TOKEN_FILE": files["feed"],
        "CHAT_CRM_ACCOUNTS_FILE": written(folder, "accounts", json.dumps({WORKSPACE: account})),
        "CHAT_ARCHIVE_API_URL": f"http://{LOOPBACK}:{nobody}",
        "CHAT_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
        "CHAT_CRM_URL": f"sqlite:///{folder / 'crm.db'}",
        "CHAT_ARCHIVE_URL": f"sqlite:///{folder / 'archive.db'}",
    }


@pytest.fixture(scope="module")
def kafka() -> Iterator[Secured]:
    with secured(*MODULES) as broker:
        yield broker


async def prepare(kafka: Secured) -> None:
    await ensure_topics(kafka.open, partitions=1, replicas=1)
    await allow(kafka.open, [(each.name, line) for each in PRINCIPALS for line in each.permissions()])


@pytest.fixture(scope="module")
def house(kafka: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    asyncio.run(prepare(kafka))
    programs: dict[str, Program] = {}
    try:
        for user, module in MODULES.items():
            folder = tmp_path_factory.mktemp(user)
            programs[user] = Program(environment(kafka, user, folder), folder / "log", module=module)
            asyncio.run(programs[user].ready())
        yield House(kafka, programs, (*SECRETS.values(), *kafka.passwords.values()))
    finally:
        for program in programs.values():
            program.kill()


async def paths_of(house: House, name: str) -> set[str]:
    """All a worker serves, by its own document where it has one."""
    found = {*OWN, *PAGES.get(name, ())}
    async with house.stranger(name) as client:
        document = await client.get("/v1/openapi.json")
    if document.status_code == 200:
        described = {re.sub(r"{\w+}", WORKSPACE, path) for path in document.json()["paths"]}
        assert described
        found |= {"/v1/openapi.json", *described}
    return found


def test_routes_are_made_where_this_test_looks_for_them() -> None:
    making = {
        path.as_posix()
        for path in (ROOT / "services").rglob("*.py")
        if re.search(r"\b(Route|Mount|WebSocketRoute)\(", path.read_text("utf-8"))
    }
    assert len(making) == len(SERVING)
    assert all(any(path.endswith(f"/{each}") for each in SERVING) for path in making)


async def test_a_stranger_is_shown_the_probes_and_nothing_else(house: House) -> None:
    documented = set()
    for name in MODULES:
        paths = await paths_of(house, name)
        documented |= {name} if "/v1/openapi.json" in paths else set()
        async with house.stranger(name) as client:
            for path in sorted({*paths, *OPEN, *NOWHERE}):
                shown = path in OPEN & paths
                for method in METHODS:
                    answer = await client.request(method, path)
                    told = f"{name}: {method} {path} → {answer.status_code}"
                    if shown and method in ("GET", "HEAD"):
                        assert answer.status_code == 200, told
                    else:
                        assert 400 <= answer.status_code < 500, told
                    assert not [value for value in house.secrets if value in answer.text], told
    assert documented == {"chat-transcript", "chat-crm-sync"}


@pytest.mark.parametrize(
    "token",
    ["", "Bearer", "Bearer wrong", f"Basic {SECRETS['metrics']}", f"bearer {SECRETS['metrics'][:-1]}"],
)
async def test_metrics_are_for_whoever_has_their_token(house: House, token: str) -> None:
    for name in MODULES:
        async with house.stranger(name) as client:
            answer = await client.get("/metrics", headers=[("authorization", token)])
        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "chat_" not in answer.text
        assert "chat_loop_delay_seconds" in await house.metrics(name)


async def ask_for_a_mail_and_a_lead(kafka: Secured) -> None:
    """Let a chat be missed whose department is mailed and whose workspace has a CRM: neither answers."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.open)

    async def say(number: int, kind: str, **data: Any) -> None:
        event = {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": "/frontends/test",
            "type": kind,
            "time": "2026-11-22T00:00:00.000Z",
            "workspaceid": WORKSPACE,
            "data": data,
        }
        await producer.send_and_wait(EVENTS, json.dumps(event).encode(), WORKSPACE.encode())

    async with producer:
        await say(1, "workspace.configured.v1", name="Acme", timezone="UTC", language="en")
        await say(
            2,
            "department.configured.v1",
            department_id="empty",
            name="Empty",
            agent_ids=[],
            routing={"wait_timeout_s": 1, "after_hours": "queue"},
            email={"unattended": {"enabled": True, "addresses": "team@example.com"}},
        )
        await say(3, "crm.configured.v1", connector="tryton", lead_policy="always")
        await say(
            4,
            "chat.requested.v1",
            chat_id="chat-1",
            channel="web",
            question="Is anybody there?",
            visitor={"visitor_id": "v-1", "name": "Taro", "email": "taro@example.com"},
            department_id="empty",
        )


async def test_no_secret_is_in_arguments_logs_or_metrics(house: House) -> None:
    await ask_for_a_mail_and_a_lead(house.kafka)
    for name in STUCK:
        await house.programs[name].wait_for("downstream_unavailable")
    for name, program in house.programs.items():
        told = {
            "arguments": program.arguments,
            "metrics": await house.metrics(name),
            "log": program.log.read_text("utf-8"),
        }
        assert all(told.values()), name
        for where, text in told.items():
            assert not [value for value in house.secrets if value in text], f"{name}: {where}"


@pytest.mark.parametrize("user", [name for name in MODULES if name != "chat-router"])
async def test_no_databases_password_is_told_when_it_is_away(
    kafka: Secured, tmp_path: Path, user: str
) -> None:
    password = secrets.token_urlsafe(24)
    (nobody,) = free_ports(1)
    url = f"postgresql://chat:{password}@{LOOPBACK}:{nobody}/chat"
    names = ("CHAT_LEDGER_URL", "CHAT_CRM_URL", "CHAT_ARCHIVE_URL")
    given = {**environment(kafka, user, tmp_path), **dict.fromkeys(names, url)}
    program = Program(given, tmp_path / "log", module=MODULES[user])
    try:
        code = await program.ended() if user != "chat-transcript" else None
        if code is None:
            await program.wait_for("archive_failed")
        assert code != 0
        assert password not in program.log.read_text("utf-8")
    finally:
        program.kill()
