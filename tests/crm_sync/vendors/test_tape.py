"""Recordings: what an account answered is played back to the same requests, and holds nothing of anybody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import orjson
import pytest
from pydantic import SecretStr

from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.vendor.rehearsal import PLAN, SECRET, plan, rehearse
from services.crm_sync.connectors.vendor.tape import Taped, TapeDiffers, playing, recording
from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zendesk_sell.api import OAuth, SellAccount
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from services.crm_sync.connectors.zoho_desk import ZohoDesk, with_desk
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.worker import opened_connectors
from services.local.commands.crm import rehearsed
from services.local.errors import LocalError
from tests.crm_sync.connector_world import ACME
from tests.crm_sync.vendors.hubspot_world import TOKENS, hubspot
from tests.crm_sync.vendors.salesforce_world import salesforce
from tests.crm_sync.vendors.sell_server import CLIENT
from tests.crm_sync.vendors.sell_world import REFERENCE, sell
from tests.crm_sync.vendors.serving import Serving
from tests.crm_sync.vendors.test_desk import Scene, scene

__all__ = ["scene"]

Entry: TypeAlias = dict[str, Any]
"""A workspace's, in the accounts file."""

PRIVATE = (
    "佐藤",
    "ken@acme",
    "chat@acme",
    "desk-",
    "access-",
    "refresh-",
    "first",
    "app-secret",
    "Bearer",
    "127.0.0.1",
)


def files(tape: Path) -> list[Path]:
    return sorted(tape.iterdir())


@asynccontextmanager
async def connected(scene: Scene, folder: Path) -> AsyncIterator[Connector]:
    """Sell and Desk as a new installation would ask them: without any token."""
    kept = await Tokens.open(f"sqlite:///{folder}.db")
    app = OAuth(CLIENT[0], SecretStr(CLIENT[1]), SecretStr("first"))
    account = SellAccount(app, REFERENCE, url=scene.serving.url, private_addresses=True)
    sell = SellCrm({ACME: account}, kept=kept)
    desk = ZohoDesk({ACME: scene.account()}, kept=kept)
    try:
        yield with_desk(sell, desk)
    finally:
        await desk.close()
        await sell.close()
        await kept.close()


@pytest.fixture
async def tape(scene: Scene, tmp_path: Path) -> Path:
    """A recording of Sell and Desk, in which the lead is a man of the name 佐藤."""
    scene.both.sell.refresh_tokens["first"] = account = scene.both.sell.accounts[ACME]
    account.creator_id = 301
    folder = tmp_path / "tape"
    async with connected(scene, tmp_path / "recorded") as crm:
        with recording(folder):
            made = await rehearse(crm, word="w1", workspace_id=ACME)
    assert [one.type for one in made] == ["lead", "note", "note", "ticket"]
    return folder


async def test_a_recording_plays_back_without_the_account(scene: Scene, tape: Path, tmp_path: Path) -> None:
    asked = [one for one in scene.serving.asked if "oauth" not in one[1]]
    assert len(files(tape)) == len(asked)
    scene.serving.asked.clear()
    async with connected(scene, tmp_path / "played") as crm:
        with playing(tape):
            made = await rehearse(crm, word="w1", workspace_id=ACME)
    assert [one.type for one in made] == ["lead", "note", "note", "ticket"]
    assert scene.serving.asked == []


async def test_a_recording_holds_no_secret_and_nobody(tape: Path) -> None:
    written = "\n".join(path.read_text("utf-8") for path in files(tape))
    assert [one for one in PRIVATE if one in written] == []
    assert "rehearsal.w1@example.com" in written
    assert "masked-1" in written


TAPES = Path(__file__).parent / "tapes"
"""Recordings that owners of accounts have made: a folder each."""


async def played(tape: Path, folder: Path) -> None:
    """Go through a recording with nothing but what stands in it."""
    plan = orjson.loads(await asyncio.to_thread((tape / PLAN).read_bytes))
    accounts = folder / "played.json"
    accounts.write_bytes(orjson.dumps({ACME: plan["account"]}))
    settings = CrmSyncSettings(crm_accounts_file=accounts, ledger_url=f"sqlite:///{folder}/played.db")
    async with AsyncExitStack() as stack:
        connectors = await opened_connectors(settings, stack)
        with playing(tape):
            await rehearse(connectors[plan["connector"]], word=plan["word"], workspace_id=ACME)


@pytest.mark.parametrize("tape", sorted(TAPES.glob("*/")), ids=lambda tape: tape.name)
async def test_what_owners_of_accounts_have_recorded(tape: Path, tmp_path: Path) -> None:
    await played(tape, tmp_path)


async def test_a_recording_has_all_that_it_takes_to_play_it(scene: Scene, tape: Path, tmp_path: Path) -> None:
    of_desk = dict.fromkeys(("client_id", "client_secret", "refresh_token"), "7")
    entry = {
        "connector": "zendesk_sell",
        "token": "s3cret",
        "url": "https://acme.example.com",
        "reference_field": REFERENCE,
        "desk": of_desk | {"org_id": "11", "department_id": "7001"},
    }
    told = plan(
        orjson.dumps({"shop": entry}), workspace_id="shop", connector="zendesk_sell+zoho_desk", word="w1"
    )
    assert b"s3cret" not in told
    assert b"acme" not in told
    (tape / PLAN).write_bytes(told)
    await played(tape, tmp_path)
    assert [one for one in scene.serving.asked if one[1] == "/v2/leads"]


@asynccontextmanager
async def sell_served(folder: Path) -> AsyncIterator[tuple[Serving, Entry]]:
    async with sell(folder) as scene:
        yield scene.serving, {"connector": "zendesk_sell", "token": ACME}


@asynccontextmanager
async def hubspot_served(_folder: Path) -> AsyncIterator[tuple[Serving, Entry]]:
    async with hubspot(prepared=False) as there:
        yield there.serving, {"connector": "hubspot", "token": TOKENS[ACME]}


@asynccontextmanager
async def salesforce_served(folder: Path) -> AsyncIterator[tuple[Serving, Entry]]:
    async with salesforce(folder) as there:
        app = {"client_id": f"app-{ACME}", "client_secret": f"app-{ACME}-secret"}
        yield there.serving, {"connector": "salesforce", **app}


@pytest.mark.parametrize(
    ("served", "made"),
    [
        (sell_served, ["lead", "note", "note"]),
        (hubspot_served, ["contact", "note", "note", "ticket"]),
        (salesforce_served, ["lead", "task", "task"]),
    ],
)
async def test_what_the_command_records_of_a_vendor_the_suite_plays_back(
    served: Callable[[Path], AbstractAsyncContextManager[tuple[Serving, Entry]]],
    made: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = tmp_path / "tape"
    async with served(tmp_path) as (serving, login):
        entry = {**login, "url": serving.url, "private_addresses": True}
        (tmp_path / "accounts.json").write_bytes(orjson.dumps({ACME: entry}))
        monkeypatch.setenv("CHAT_CRM_ACCOUNTS_FILE", str(tmp_path / "accounts.json"))
        monkeypatch.setenv("CHAT_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
        recorded = await rehearsed(ACME, login["connector"], folder=tape, word="w1")
        assert [one.type for one in recorded] == made
        serving.asked.clear()
        await played(tape, tmp_path)
        assert serving.asked == [], "it takes nothing but the folder"
    written = "\n".join(path.read_text("utf-8") for path in files(tape))
    secrets = [
        entry[name] for name in SECRET & entry.keys() if entry[name] != ACME
    ]  # Sell's token is a word of its own server
    assert [one for one in (*secrets, "Bearer", "127.0.0.1") if one in written] == []


async def test_the_command_records_an_account(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"connector": "zendesk_sell", "token": ACME, "url": scene.serving.url, "private_addresses": True}
    (tmp_path / "accounts.json").write_bytes(orjson.dumps({ACME: entry}))
    monkeypatch.setenv("CHAT_CRM_ACCOUNTS_FILE", str(tmp_path / "accounts.json"))
    monkeypatch.setenv("CHAT_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    tape, name = tmp_path / "tape", "zendesk_sell"
    with pytest.raises(LocalError, match=r"\A--connector: one of "):
        await rehearsed(ACME, "sell", folder=tape, word="w1")
    await rehearsed(ACME, name, folder=tape, word="w1")
    with pytest.raises(LocalError, match=r"\A--record: "):
        await rehearsed(ACME, name, folder=tape, word="w2")
    scene.both.sell.locked_out = True
    with pytest.raises(LocalError, match="login_refused"):
        await rehearsed(ACME, name, folder=tmp_path / "other", word="w2")


@pytest.mark.parametrize("word", ["w2", "w1"])
async def test_another_request_than_the_recorded_one_is_told(
    scene: Scene, tape: Path, tmp_path: Path, word: str
) -> None:
    async with connected(scene, tmp_path / "played") as crm:
        with (
            pytest.raises(TapeDiffers, match="is not what was recorded" if word == "w2" else "are left"),
            playing(tape),
        ):
            await crm.find_people(f"rehearsal.{word}@example.com", workspace_id=ACME)


async def test_a_folder_with_something_in_it_is_not_recorded_into(tape: Path) -> None:
    with pytest.raises(FileExistsError), recording(tape):
        pass


@pytest.mark.parametrize(
    ("sent", "said", "written"),
    [
        ({}, {"name": "Hanako"}, {"name": "masked-1"}),
        ({"q": "hanako"}, {"name": "Hanako"}, {"name": "Hanako"}),
        ({}, {"a": "x", "b": ["x", "y"]}, {"a": "masked-1", "b": ["masked-1", "masked-2"]}),
        ({}, {"email": "h@corp.example"}, {"email": "masked-1@example.com"}),
        ({}, {"url": "https://acme.example/x"}, {"url": "https://masked.example.com/1"}),
        (
            {},
            {"id": "4711", "owner_id": 7, "phone": "4711"},
            {"id": "4711", "owner_id": 7, "phone": "masked-1"},
        ),
        ({}, {"id": "h@corp.example"}, {"id": "masked-1@example.com"}),
        (
            {},
            {"at": "2026-11-21T09:00:00Z", "day": "2026-11-21"},
            {"at": "2026-11-21T09:00:00Z", "day": "masked-1"},
        ),
        (
            {},
            {"type": "lead", "ok": True, "n": None, "e": ""},
            {"type": "lead", "ok": True, "n": None, "e": ""},
        ),
    ],
)
async def test_what_is_written_of_an_answer(
    tmp_path: Path, sent: dict[str, str], said: object, written: object
) -> None:
    sender = Taped(httpx.MockTransport(lambda _: httpx.Response(200, json=said)))
    async with httpx.AsyncClient(transport=sender, headers={"authorization": "Bearer s3cret"}) as client:
        with recording(tmp_path / "tape"):
            assert (await client.get("https://crm.example.com/x", params=sent)).json() == said
    told = orjson.loads((tmp_path / "tape" / "0001.json").read_bytes())
    assert told["asked"] == {"method": "GET", "path": "/x", "query": sent, "body": None}
    assert told["answered"]["body"] == written


async def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    sender = Taped(httpx.MockTransport(lambda _: httpx.Response(502, text="<h1>Hanako</h1>")))
    async with httpx.AsyncClient(transport=sender, headers={"authorization": "Bearer s3cret"}) as client:
        with recording(tmp_path / "tape"):
            await client.get("https://crm.example.com/x")
    assert "Hanako" not in (tmp_path / "tape" / "0001.json").read_text()
