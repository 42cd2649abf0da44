"""A Tryton to try out beside the workers: a shop with two sales people, some customers, and a chat with three of them.

    <folder>/crm.sqlite      the database, which stays
    <folder>/passwords.json  of the users, drawn once
    <folder>/accounts.json   what `CHAT_CRM_ACCOUNTS_FILE` names
    <folder>/ports.json      the port, chosen once

One rule: everything a newcomer needs to look into it follows from this folder.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas import codec
from schemas.events import (
    AgentConfigured,
    AgentPresence,
    By,
    ChatEndRequested,
    ChatMessage,
    ChatRequested,
    CrmConfigured,
    DepartmentConfigured,
    Routing,
    Sender,
    Visitor,
    WorkspaceConfigured,
)
from services.crm_sync.connectors.tryton.connector import NAME
from services.local.errors import LocalError
from services.local.files import last_words, tail, write_whole
from services.local.ports import LOOPBACK, demand_free, kept_ports
from services.local.progress import Progress
from services.local.publishing import Publisher, wall_ms
from services.local.tryton.server import Served, Tryton

DATABASE = "crm"
WORKSPACE = "tryton"
CONNECTOR, PERSON = "chat", "ken"
_SOURCE = "/tools/trial"
_EMPLOYEES = ("ken", "佐藤 健"), ("mia", "Mia O'Neil")
_PEOPLE = (
    ("lead", "山田 花子", "hanako@example.com", "ken"),
    ("deal", "Taro Suzuki", "taro@example.com", "mia"),
    ("contact", "Ann Smith", "ann@example.com", None),
)
_CHATS = (
    ("hanako@example.com", "山田 花子", "京都へ配送できますか。", "はい、翌日にお届けします。"),
    ("taro@example.com", "Taro Suzuki", "When does my order arrive?", "Tomorrow before noon."),
    ("new@example.com", "Noa Newcomer", "Do you ship to Kyoto?", "Yes, we do."),
)
"""Address, name, question and answer; the last one is somebody Tryton does not know yet."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A Tryton that runs: where, and who may look into it."""

    served: Served
    accounts: Path
    user: str
    password: str

    def check(self) -> None:
        """Raise LocalError if it has ended."""
        if not self.served.runs:
            log = self.served.log
            raise LocalError(f"Tryton ended by itself, read {log}; its last words:\n{last_words(tail(log))}")


@contextmanager
def running(home: Path, folder: Path, *, progress: Progress) -> Iterator[Trial]:
    """Serve the trial's database, made first where there is none. Raises LocalError."""
    program = Tryton(home)
    folder.mkdir(exist_ok=True)
    (port,) = kept_ports(folder / "ports.json", count=1)
    demand_free(port, owner=folder / "ports.json")
    passwords = _passwords(folder / "passwords.json")
    if not (folder / f"{DATABASE}.sqlite").exists():
        program.make_database(folder, DATABASE, _company(passwords), progress=progress)
    account = {
        "connector": NAME,
        "url": f"http://{LOOPBACK}:{port}",
        "database": DATABASE,
        "user": CONNECTOR,
        "password": passwords[CONNECTOR],
    }
    accounts = folder / "accounts.json"
    write_whole(accounts, json.dumps({WORKSPACE: account}), mode=0o600)
    with program.serving(folder, (DATABASE,), port=port) as served:
        yield Trial(served, accounts, PERSON, passwords[PERSON])


def _passwords(path: Path) -> dict[str, str]:
    if not path.exists():
        drawn = {user: secrets.token_urlsafe(12) for user in (CONNECTOR, PERSON)}
        write_whole(path, json.dumps(drawn), mode=0o600)
    return TypeAdapter(dict[str, str]).validate_json(path.read_bytes())


def _company(passwords: dict[str, str]) -> dict[str, Any]:
    return {
        "company": "山田商店",
        "currency": "JPY",
        "employees": [
            {"code": code, "name": name, "email": f"{code}@crm.example"} for code, name in _EMPLOYEES
        ],
        "users": [
            {"name": "Chat", "login": CONNECTOR, "password": passwords[CONNECTOR]},
            {"name": "佐藤 健", "login": PERSON, "password": passwords[PERSON], "employee": PERSON},
        ],
        "people": [
            {"kind": kind, "name": name, "email": email, "owner": owner, "description": "fair in Osaka"}
            for kind, name, email, owner in _PEOPLE
        ],
    }


async def act(bootstrap: str) -> None:
    """Publish the workspace's settings and its chats; the same ids again change nothing for a day."""
    desk = DepartmentConfigured(
        WORKSPACE, "山田商店", agent_ids=(PERSON,), routing=Routing(mode="auto", wait_timeout_s=0)
    )
    facts: list[Any] = [
        WorkspaceConfigured("山田商店", timezone="Asia/Tokyo", language="ja"),
        AgentConfigured(PERSON, "佐藤 健", max_chats=len(_CHATS), crm="user"),
        desk,
        CrmConfigured(NAME, lead_policy="always", pool=tuple(code for code, _ in _EMPLOYEES), region="JP"),
        AgentPresence(PERSON, "online"),
    ]
    for number, (email, name, question, answer) in enumerate(_CHATS):
        chat, agent = f"trial-{number}", Sender("agent", PERSON)
        facts += [
            ChatRequested(chat, "web", question, Visitor(f"visitor-{number}", name, email)),
            ChatMessage(chat, f"{chat}-1", agent, answer),
            ChatEndRequested(chat, By("agent", PERSON)),
        ]
    async with Publisher(bootstrap) as publisher:
        for number, fact in enumerate(facts):
            value = codec.encode(
                fact,
                event_id=f"trial-{number}",
                source=_SOURCE,
                at_ms=wall_ms(),
                workspace_id=WORKSPACE,
            )
            await publisher.send(WORKSPACE.encode(), value)
