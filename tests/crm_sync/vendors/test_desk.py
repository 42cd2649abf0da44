"""Zoho Desk's tickets beside Zendesk Sell: what the contract says of tickets and of trouble, and what is Desk's own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zendesk_sell.api import SellAccount
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from services.crm_sync.connectors.zoho_desk import NAME, DeskAccount, ZohoDesk, with_desk
from services.runtime.effects import Refused, Unavailable
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, TICKET, SeenTicket, World
from tests.crm_sync.contract_tickets import TicketContract
from tests.crm_sync.contract_trouble import TroubleContract
from tests.crm_sync.contract_writing import WritingContract
from tests.crm_sync.vendors.desk_server import TOKENS_MAX, DeskData, DeskError, DeskServer
from tests.crm_sync.vendors.sell_server import SellAccountData, SellServer
from tests.crm_sync.vendors.sell_world import KEN, REFERENCE, SellOffice
from tests.crm_sync.vendors.sell_world import writes as writes_to_sell
from tests.crm_sync.vendors.serving import HttpLine, Serving

TICKETS = "/api/v1/tickets"
TOO_MANY = orjson.dumps(DeskError(429, "THRESHOLD_EXCEEDED").body)


class Both:
    """Sell and Desk on one port, so that what goes wrong hits whichever is asked next."""

    def __init__(self) -> None:
        self.sell = SellServer()
        self.desk = DeskServer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        of_desk = scope["path"].startswith(("/api/", "/oauth/"))
        await (self.desk.app if of_desk else self.sell.app)(scope, receive, send)


def writes(method: str, path: str) -> bool:
    return (method, path) == ("POST", TICKETS) or writes_to_sell(method, path)


class BothOffice(SellOffice):
    def __init__(self, both: Both) -> None:
        super().__init__(both.sell.accounts)
        self._organizations = both.desk.organizations

    async def tickets(self, workspace_id: str = ACME, *, missed: bool = False) -> list[SeenTicket]:
        organization = self._organizations[workspace_id]
        shown = organization.missed() if missed else organization.tickets
        return [
            SeenTicket(
                unescape(one["description"].replace("<br>", "\n")).replace("\u00a0", " "),
                one["contact"]["lastName"],
                one.get("email"),
                one.get("phone"),
                one["cf"].get("cf_chat_tag"),
                None,
            )
            for one in shown
        ]


@dataclass
class Scene:
    both: Both
    serving: Serving
    kept: Tokens

    def account(self, workspace_id: str = ACME, **changes: Any) -> DeskAccount:
        usual = DeskAccount(
            org_id=self.both.desk.organizations[workspace_id].org_id,
            department_id="7001",
            client_id="app",
            client_secret=SecretStr("app-secret"),
            refresh_token=SecretStr(workspace_id),
            url=self.serving.url,
            accounts_url=self.serving.url,
            private_addresses=True,
        )
        return replace(usual, **changes)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    both = Both()
    both.sell.accounts = {ACME: SellAccountData(), OTHER: SellAccountData()}
    both.desk.organizations = {ACME: DeskData("11"), OTHER: DeskData("22")}
    kept = await Tokens.open(f"sqlite:///{tmp_path}/tokens.db")
    async with Serving(both, writes=writes).open() as serving:
        yield Scene(both, serving, kept)
    await kept.close()


@pytest.fixture
async def world(scene: Scene) -> AsyncIterator[World]:
    sell = SellCrm(
        {
            name: SellAccount(SecretStr(name), REFERENCE, url=scene.serving.url, private_addresses=True)
            for name in (ACME, OTHER)
        },
        kept=scene.kept,
    )
    desk = ZohoDesk({name: scene.account(name) for name in (ACME, OTHER)}, kept=scene.kept)
    yield World(
        with_desk(sell, desk),
        BothOffice(scene.both),
        HttpLine(scene.serving, scene.both.sell, scene.both.desk, too_many=TOO_MANY),
        owner_id=KEN,
        keeps_markers_unique=False,
        refused_lead=replace(LEAD, owner_id="999"),
    )
    await desk.close()
    await sell.close()


class TestSellWithDesk(TicketContract, WritingContract, TroubleContract):
    pass


async def test_a_ticket_takes_one_request_and_a_lost_answer_more(world: World, scene: Scene) -> None:
    assert world.connector.declared.name == f"zendesk_sell+{NAME}"
    hanako = await world.add("Hanako")
    await world.write("ticket", to=hanako)  # which gets the token
    scene.serving.asked.clear()
    made = await world.write("ticket", to=hanako, marker="M2")
    assert scene.serving.asked == [("POST", TICKETS)]
    scene.serving.asked.clear()
    assert await world.find(marker="M2") == made
    assert scene.serving.asked == [("GET", "/v2/leads"), ("GET", f"{TICKETS}/search")]


async def test_two_tickets_of_one_address_are_one_contacts(world: World, scene: Scene) -> None:
    for marker in ("M1", "M2"):
        await world.connector.create_ticket(TICKET, marker=marker, workspace_id=ACME)
    assert len(scene.both.desk.organizations[ACME].contacts) == 1


async def test_long_values_are_cut_where_desk_cuts_off(world: World, scene: Scene) -> None:
    long = replace(TICKET, title="t" * 300, name="n" * 200, tag="g" * 200)
    await world.connector.create_ticket(long, marker="M", workspace_id=ACME)
    (ticket,) = scene.both.desk.organizations[ACME].tickets
    assert (len(ticket["subject"]), len(ticket["contact"]["lastName"])) == (255, 80)
    assert len(ticket["cf"]["cf_chat_tag"]) == 100


async def test_what_a_visitor_wrote_is_no_html(world: World, scene: Scene) -> None:
    await world.connector.create_ticket(
        replace(TICKET, text="<script>alert(1)</script>"), marker="M", workspace_id=ACME
    )
    (ticket,) = scene.both.desk.organizations[ACME].tickets
    assert "<script" not in ticket["description"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"department_id": "1"}, "field_departmentid_invalid"),
    ],
)
async def test_a_refused_field_is_named(scene: Scene, changes: dict[str, Any], code: str) -> None:
    desk = ZohoDesk({ACME: scene.account(**changes)}, kept=scene.kept)
    with pytest.raises(Refused, match=rf"\A{code}\Z"):
        await desk.create(TICKET, marker="M", workspace_id=ACME)
    await desk.close()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"org_id": "99"}, "login_refused"),
        ({"refresh_token": SecretStr("revoked")}, "login_refused"),
        ({"client_secret": SecretStr("wrong")}, "login_refused"),
        ({"api_version": "v9"}, "path_unknown"),
        ({"reference_field": "cf_missing"}, "setup_needed"),
        ({"type_field": "cf_missing"}, "setup_needed"),
    ],
)
async def test_what_waits_until_it_is_put_right(scene: Scene, changes: dict[str, Any], code: str) -> None:
    desk = ZohoDesk({ACME: scene.account(**changes)}, kept=scene.kept)
    with pytest.raises(Unavailable, match=rf"\A{code}\Z"):
        await desk.create(TICKET, marker="M", workspace_id=ACME)
    await desk.close()


async def test_a_workspace_without_an_account(world: World) -> None:
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await world.connector.create_ticket(TICKET, marker="M", workspace_id="third")


async def test_a_ticket_whose_tag_is_not_taken_has_none(scene: Scene) -> None:
    desk = ZohoDesk({ACME: scene.account(tag_field="cf_missing")}, kept=scene.kept)
    with capture_logs() as logs:
        await desk.create(TICKET, marker="M", workspace_id=ACME)
    (ticket,) = scene.both.desk.organizations[ACME].tickets
    assert set(ticket["cf"]) == {"cf_chat_reference", "cf_chat_type"}
    assert [one["event"] for one in logs] == ["desk_tag_not_taken"]
    with pytest.raises(Refused, match=r"\Afield_"):
        await desk.create(replace(TICKET, email="e" * 151), marker="M2", workspace_id=ACME)
    await desk.close()


async def test_when_the_credits_of_a_day_are_used_up(world: World, scene: Scene) -> None:
    scene.both.desk.credits_left = 0
    with pytest.raises(Unavailable, match=r"\Arate_limited\Z") as told:
        await world.connector.create_ticket(TICKET, marker="M", workspace_id=ACME)
    assert told.value.retry_after_s == 1_800


async def test_twenty_workers_take_one_token_where_zoho_gives_ten(scene: Scene) -> None:
    workers = [ZohoDesk({ACME: scene.account()}, kept=scene.kept) for _ in range(2 * TOKENS_MAX)]
    for given in (1, 2):
        asked = [one.find("M", workspace_id=ACME) for one in workers]
        assert await asyncio.gather(*asked) == [None] * len(workers)
        assert scene.both.desk.organizations[ACME].given == given
        scene.both.desk.expire()
    for one in workers:
        await one.close()
