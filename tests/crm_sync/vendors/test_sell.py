"""The connector to Zendesk Sell: the contract, and what is Sell's own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.events import Layouts
from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.interface import SETUP_NEEDED
from services.crm_sync.connectors.records import PersonKind
from services.crm_sync.connectors.vendor.site import PAUSE_S
from services.crm_sync.connectors.zendesk_sell.api import OAuth, Sell
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from services.crm_sync.connectors.zendesk_sell.lists import SellLists
from services.runtime.effects import Refused, Unavailable
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, LEAD, NOTE, World, activity
from tests.crm_sync.vendors.sell_server import CLIENT
from tests.crm_sync.vendors.sell_world import KEN, Scene, sell


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with sell(tmp_path) as opened:
        yield opened


@pytest.fixture
async def crm(scene: Scene) -> AsyncIterator[SellCrm]:
    async with scene.connected() as opened:
        yield opened


@pytest.fixture
def world(scene: Scene, crm: SellCrm) -> World:
    return scene.world(crm)


class TestSell(ConnectorContract):
    pass


# ---------------------------------------------------------------- what a conversation costs


@pytest.mark.parametrize(
    ("kind", "first", "later"),
    [
        ("lead", ["leads", "contacts", "notes"], ["leads", "contacts", "notes"]),
        ("contact", ["leads", "contacts", "deals", "notes"], ["leads", "contacts", "deals", "notes"]),
        ("deal", ["leads", "contacts", "deals", "stages", "notes"], ["leads", "contacts", "deals", "notes"]),
        (None, ["leads", "contacts", "lead_sources", "lead_sources", "leads", "notes"], None),
    ],
)
async def test_requests_of_a_conversation(
    world: World, scene: Scene, kind: PersonKind | None, first: list[str], later: list[str] | None
) -> None:
    if kind is not None:
        await world.office.add(kind, "Hanako", "h@example.com")
    for number, expected in enumerate((first, later or ["leads", "contacts", "notes"])):
        scene.serving.asked.clear()
        people = await world.connector.find_people("h@example.com", workspace_id=ACME)
        if people:
            to = people[0].record
        else:
            lead = replace(world.lead, email="h@example.com")
            to = (await world.connector.create_lead(lead, marker="L", workspace_id=ACME)).record
        await world.connector.add_activity(activity(), to=to, marker=f"M{number}", workspace_id=ACME)
        assert [path.removeprefix("/v2/") for _, path in scene.serving.asked] == expected


async def test_a_lost_answer_costs_one_request_more(world: World, scene: Scene) -> None:
    hanako = await world.add("Hanako")
    await world.write("note", to=hanako)
    scene.serving.asked.clear()
    assert await world.find(hanako) is not None
    assert scene.serving.asked == [("GET", "/v2/notes")]


# ---------------------------------------------------------------- people


async def test_deals_that_are_over_leave_the_contact(world: World, scene: Scene) -> None:
    deal = await world.office.add("deal", "Hanako", "h@example.com")
    thing = scene.server.accounts[ACME].things["deals"][int(deal.id)]
    for stage_id, kind in ((1, "deal"), (2, "contact"), (3, "contact"), (77, "deal")):
        thing["stage_id"] = stage_id
        found = await world.connector.find_people("h@example.com", workspace_id=ACME)
        assert [one.kind for one in found] == [kind]


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({"status": "New"}, True),
        ({"status": "Unqualified"}, False),
        ({"unqualified_reason_id": 3}, False),
        ({}, True),
    ],
)
async def test_an_unqualified_lead_is_closed(
    world: World, scene: Scene, changes: dict[str, Any], is_open: bool
) -> None:
    lead = await world.office.add("lead", "Hanako", "h@example.com")
    scene.server.accounts[ACME].things["leads"][int(lead.id)] |= changes
    (found,) = await world.connector.find_people("h@example.com", workspace_id=ACME)
    assert found.open is is_open


async def test_the_phone_number_of_a_deal_is_its_contacts(world: World, scene: Scene) -> None:
    deal = await world.office.add("deal", "Hanako", "h@example.com")
    found = await world.connector.set_phone("+81312345678", of=deal, workspace_id=ACME)
    assert found.record == deal
    (contact,) = scene.server.accounts[ACME].things["contacts"].values()
    assert contact["phone"] == "+81312345678"


async def test_the_owner_of_a_note_has_a_name_and_an_address(world: World, scene: Scene) -> None:
    hanako = await world.office.add("lead", "Hanako", "h@example.com", owner_id=KEN)
    made = await world.connector.add_note(NOTE, to=hanako, marker="M", workspace_id=ACME)
    assert made.owner == CrmOwner(KEN, "佐藤 健", "ken@acme.example")
    scene.server.accounts[ACME].things["users"].clear()
    orphan = await world.office.add("lead", "Taro", "t@example.com", owner_id="300")
    made = await world.connector.add_note(NOTE, to=orphan, marker="M2", workspace_id=ACME)
    assert made.owner == CrmOwner("300")


async def test_the_company_of_a_contact(world: World) -> None:
    hanako = await world.office.add("contact", "Hanako", "h@example.com", company="Yamada & Co.")
    await world.office.fill(hanako, kind="company", name="Size", value="40")
    card = await world.connector.read_card(hanako, layouts=Layouts(company=("Size",)), workspace_id=ACME)
    person, company = card.sections
    assert (person.kind, company.kind, company.name) == ("person", "company", "Yamada & Co.")
    assert [(one.field.name, one.value) for one in company.fields] == [("Size", "40")]
    fields = await world.connector.card_fields(workspace_id=ACME)
    assert "Size" not in {one.name for one in fields["person"]}


async def test_the_card_of_a_deal(world: World) -> None:
    deal = await world.office.add("deal", "100 chairs", "h@example.com", owner_id=KEN)
    layouts = Layouts(lead=("value", "stage_id", "email", "owner_id", "status"))
    card = await world.connector.read_card(deal, layouts=layouts, workspace_id=ACME)
    assert [one.value for one in card.sections[0].fields] == [
        "12.50 EUR",
        "Qualified",
        "h@example.com",
        "佐藤 健",
        "",
    ]
    assert [one.kind for one in card.sections] == ["lead", "person"]
    assert card.owner == CrmOwner(KEN, "佐藤 健", "ken@acme.example")


# ---------------------------------------------------------------- what Sell refuses


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"owner_id": "999"}, "field_owner_id_incorrect_value"),
        ({"owner_id": "ken"}, "field_owner_id_invalid"),
        ({"name": ""}, "field_last_name_missing"),
    ],
)
async def test_a_refused_field_is_named_without_its_value(
    world: World, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refused, match=rf"\A{code}\Z"):
        await world.connector.create_lead(replace(world.lead, **changes), marker="M", workspace_id=ACME)


async def test_without_the_reference_field_leads_wait_until_somebody_makes_it(scene: Scene) -> None:
    crm = SellCrm({ACME: scene.account(reference_field="Missing")}, kept=scene.kept)
    with pytest.raises(Unavailable, match=rf"\A{SETUP_NEEDED}\Z"):
        await crm.create_lead(replace(LEAD, owner_id=KEN), marker="M", workspace_id=ACME)
    await crm.close()


async def test_another_version_of_the_api_waits_until_it_is_put_right(scene: Scene) -> None:
    crm = SellCrm({ACME: scene.account(version="v9")}, kept=scene.kept)
    with pytest.raises(Unavailable, match=r"\Apath_unknown\Z"):
        await crm.find_people("h@example.com", workspace_id=ACME)
    await crm.close()


async def test_the_budget_of_an_hour(world: World, scene: Scene) -> None:
    scene.server.budget = 2
    assert not await world.connector.find_people("h@example.com", workspace_id=ACME)
    with pytest.raises(Unavailable, match=r"\Arate_limited\Z") as told:
        await world.connector.find_people("h@example.com", workspace_id=ACME)
    assert told.value.retry_after_s == PAUSE_S, "Sell does not say how long"


async def test_a_workspace_without_an_account(world: World) -> None:
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await world.connector.find_people("h@example.com", workspace_id="third")


async def test_the_source_is_found_whatever_its_letter_case(world: World, scene: Scene) -> None:
    account = scene.server.accounts[ACME]
    # More than a page of them.
    for number in range(130):
        account.put("lead_sources", name=f"source {number}")
    account.put("lead_sources", name="Chat")
    await world.write("lead", to=await world.add("Hanako"))
    assert len(account.things["lead_sources"]) == 131
    assert (await world.office.people())[-1][3] == "Chat"


async def test_a_source_that_another_has_made_meanwhile_is_taken(scene: Scene) -> None:
    sells = [Sell(scene.account(), kept=scene.kept) for _ in range(2)]
    workers = [SellLists(one) for one in sells]
    assert [await one.sources() for one in workers] == [{}, {}]
    made = await asyncio.gather(*(one.source_id("chat") for one in workers for _ in range(2)))
    assert len(set(made)) == len(scene.server.accounts[ACME].things["lead_sources"]) == 1
    for one in sells:
        await one.close()


async def test_a_lead_whose_source_can_not_be_made_has_none(world: World, scene: Scene) -> None:
    scene.server.accounts[ACME].sources_max = 0
    await world.write("lead", to=await world.add("Hanako"))
    assert (await world.office.people())[-1][3] is None


# ---------------------------------------------------------------- tokens that end


async def test_workers_renew_a_token_once_and_go_on_with_the_next_refresh_token(scene: Scene) -> None:
    server = scene.server
    server.refresh_tokens["first"] = server.accounts[ACME]
    app = OAuth(CLIENT[0], SecretStr(CLIENT[1]), SecretStr("first"))
    workers = [SellCrm({ACME: scene.account(login=app)}, kept=scene.kept) for _ in range(3)]
    for renewals in (1, 2):
        asked = [one.find_people("h@example.com", workspace_id=ACME) for one in workers for _ in range(4)]
        assert await asyncio.gather(*asked) == [[]] * 12
        assert scene.serving.asked.count(("POST", "/oauth2/token")) == renewals
        server.now += timedelta(hours=2)
    server.locked_out = True
    with pytest.raises(Unavailable, match=r"\Alogin_refused\Z"):
        await workers[0].find_people("h@example.com", workspace_id=ACME)
    for one in workers:
        await one.close()
