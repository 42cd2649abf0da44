"""Other accounts at CRMs are taken while calls are under way."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from services.crm_sync.connectors.interface import Connector, Undeclared
from services.crm_sync.connectors.tryton.connector import NAME as TRYTON
from services.crm_sync.exchange import Connectors, Exchange
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.worker import opened_connectors
from services.runtime.effects import Refused
from services.runtime.reloading import Reloads

NAME = "one"


class Crm(Undeclared):
    """A CRM whose answers come when they are let."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.closed = asyncio.Event()

    @property
    def declared(self) -> str:
        return self.label

    async def find_people(self, _email: str, *, workspace_id: str) -> list[str]:
        self.asked.set()
        await self.answer.wait()
        assert not self.closed.is_set(), "it was closed under the call"
        return [self.label, workspace_id]

    async def close(self) -> None:
        self.closed.set()


def made_of(crm: Crm) -> Connectors:
    return Connectors({NAME: cast("Connector", crm)}, [crm])


async def test_a_call_ends_where_it_began_and_then_its_connections_end() -> None:
    old, new = Crm("old"), Crm("new")
    exchange = Exchange(made_of(old))
    standing: Any = exchange.connectors()[NAME]
    calls = [asyncio.create_task(standing.find_people("a", workspace_id="acme")) for _ in range(2)]
    await old.asked.wait()
    exchange.take(made_of(new))
    assert standing.declared == "new"
    new.answer.set()
    assert await standing.find_people("a", workspace_id="acme") == ["new", "acme"]
    assert not old.closed.is_set()
    old.answer.set()
    assert await asyncio.gather(*calls) == [["old", "acme"]] * 2
    await asyncio.wait_for(old.closed.wait(), 1)
    assert not new.closed.is_set()
    await exchange.close()
    assert new.closed.is_set()


async def test_those_that_nobody_uses_end_at_once_and_a_failed_call_is_over_too() -> None:
    crms = [Crm(str(number)) for number in range(3)]
    exchange = Exchange(made_of(crms[0]))
    standing: Any = exchange.connectors()[NAME]
    with pytest.raises(Refused):
        await standing.create_lead()
    for crm in crms[1:]:
        exchange.take(made_of(crm))
    await exchange.close()
    assert all(crm.closed.is_set() for crm in crms)


def tryton(url: str) -> dict[str, str]:
    return {"connector": "tryton", "url": url, "database": "d", "user": "u", "password": "pssst"}


async def test_the_accounts_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = tmp_path / "accounts.json"
    monkeypatch.setenv("CHAT_CRM_ACCOUNTS_FILE", str(accounts))
    monkeypatch.setenv("CHAT_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    accounts.write_text(json.dumps({"acme": tryton("http://127.0.0.1:1")}))
    settings = CrmSyncSettings()
    desk = dict.fromkeys(("client_id", "client_secret", "refresh_token", "org_id", "department_id"), "7")

    async def refusal(workspace_id: str) -> str:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - nobody listens there, or there is no account
            await opened[TRYTON].find_people("a@b.test", workspace_id=workspace_id)
        return str(caught.value)

    async with AsyncExitStack() as stack:
        reloads = Reloads(settings)
        opened = await opened_connectors(settings, stack, reloads=reloads)
        assert await refusal("bell") == "no_account"
        told = []
        for entries in (
            {"acme": tryton("http://127.0.0.1:1"), "bell": tryton("http://127.0.0.1:1")},
            {"acme": tryton("ftp://nowhere")},
            {"acme": {**tryton("http://127.0.0.1:1"), "desk": desk}},
        ):
            accounts.write_text(json.dumps(entries))
            with capture_logs() as logs:
                reloads.reload()
            told += logs
        assert [each["event"] for each in told] == [
            "settings_reloaded",
            "settings_not_reloaded",
            "settings_not_reloaded",
        ]
        assert told[0]["changed"] == ["CHAT_CRM_ACCOUNTS_FILE"]
        assert "CHAT_CRM_ACCOUNTS_FILE can't be used: acme.url: " in told[1]["reasons"][0]
        assert "need a restart" in told[2]["reasons"][0]
        assert "pssst" not in str(told)
        assert await refusal("bell") != "no_account", "what was taken first stays"
