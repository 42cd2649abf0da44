"""The connector to Zendesk Sell: the contract, and what is Sell's own."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.records import CardKind, PersonKind
from services.crm_sync.connectors.vendor.site import PAUSE_S
from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zendesk_sell.api import OAuth, SellAccount
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from services.runtime.effects import Refused, Unavailable
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, LEAD, NOTE, OTHER, Office, World, activity
from tests.crm_sync.vendors.sell_server import CLIENT, TOO_MANY, SellAccountData, SellServer
from tests.crm_sync.vendors.serving import HttpLine, Serving

REFERENCE = "Chat reference"
KEN = "301"
PATHS = {"lead": "leads", "deal": "deals", "contact": "contacts"}


def writes(method: str, path: str) -> bool:
    return method == "PUT" or (method == "POST" and path in ("/v2/leads", "/v2/notes"))


def seen(kind: str, thing: dict[str, Any]) -> CrmRecord:
    """The record with the address of the page on which people see it."""
    page = {"lead": "leads", "deal": "sales/deals", "contact": "crm/contacts"}[kind]
    return CrmRecord(kind, str(thing["id"]), f"https://app.futuresimple.com/{page}/{thing['id']}")


class SellOffice(Office):
    """People at Sell, who see what stands there."""

    def __init__(self, accounts: dict[str, SellAccountData]) -> None:
        self._accounts = accounts

    async def add(
        self,
        kind: PersonKind,
        name: str,
        email: str | None,
        *,
        workspace_id: str = ACME,
        created_ms: int = 0,
        owner_id: str | None = None,
        company: str | None = None,
    ) -> CrmRecord:
        account = self._accounts[workspace_id]
        owned: dict[str, Any] = {} if owner_id is None else {"owner_id": int(owner_id)}
        if created_ms:
            owned["created_at"] = datetime.fromtimestamp(created_ms / 1_000, UTC).isoformat()
        if kind == "lead":
            lead = account.put("leads", last_name=name, email=email, organization_name=company, **owned)
            return seen("lead", lead)
        of: dict[str, Any] = {}
        if company is not None:
            of["contact_id"] = account.put("contacts", name=company, is_organization=True)["id"]
        contact = account.put("contacts", name=name, email=email, is_organization=False, **of, **owned)
        if kind == "contact":
            return seen("contact", contact)
        deal = account.put(
            "deals", name=name, contact_id=contact["id"], stage_id=1, value="12.50", currency="EUR", **owned
        )
        return seen("deal", deal)

    async def remove(self, record: CrmRecord) -> None:
        for account in self._accounts.values():
            account.things[PATHS[record.type]].pop(int(record.id), None)

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        await self.remove(duplicate)
        for note in self._accounts[ACME].things["notes"].values():
            if (note["resource_type"], note["resource_id"]) == (duplicate.type, int(duplicate.id)):
                note["resource_id"] = int(into.id)

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        things = self._accounts[ACME].things
        thing = things[PATHS[record.type]][int(record.id)]
        if kind == "company":
            thing = things["contacts"][thing["contact_id"]]
        thing["custom_fields"][name] = value

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        account = self._accounts[workspace_id]
        sources = account.things["lead_sources"]
        return [
            (
                one["last_name"],
                one["email"],
                str(one["owner_id"]),
                sources[one["source_id"]]["name"] if "source_id" in one else None,
            )
            for one in account.things["leads"].values()
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [
            (name, content.partition("\n\n")[2].rpartition("\n")[0])
            for name, content in self._notes(r"\[(chat|missed_chat) \w+\]", workspace_id)
        ]

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [
            (name, content.rpartition("\n— ")[0])
            for name, content in self._notes(r"\[note \w+\]", workspace_id)
        ]

    def _notes(self, last_line: str, workspace_id: str) -> list[tuple[str, str]]:
        account = self._accounts[workspace_id]
        found = []
        for note in account.things["notes"].values():
            of = account.things[f"{note['resource_type']}s"][note["resource_id"]]
            if re.fullmatch(last_line, note["content"].rpartition("\n")[2]):
                found.append((of.get("name") or of["last_name"], note["content"]))
        return found

    async def phone(self, record: CrmRecord) -> str | None:
        phone = self._accounts[ACME].things[PATHS[record.type]][int(record.id)].get("phone")
        return None if phone is None else str(phone)


class SellLine(HttpLine):
    asks_login = True

    def __init__(self, server: SellServer, serving: Serving) -> None:
        super().__init__(serving, too_many=TOO_MANY)
        self._server = server

    async def lock_out(self) -> None:
        self._server.locked_out = True

    async def let_in(self) -> None:
        self._server.locked_out = False


@dataclass
class Scene:
    server: SellServer
    serving: Serving
    kept: Tokens

    def account(self, token: str = ACME, **changes: Any) -> SellAccount:
        usual = SellAccount(SecretStr(token), REFERENCE, url=self.serving.url, private_addresses=True)
        return replace(usual, **changes)


@pytest.fixture
async def scene(tmp_path: Any) -> AsyncIterator[Scene]:
    server = SellServer()
    server.accounts = {ACME: SellAccountData(), OTHER: SellAccountData()}
    kept = await Tokens.open(f"sqlite:///{tmp_path}/tokens.db")
    async with Serving(server.app, writes=writes).open() as serving:
        yield Scene(server, serving, kept)
    await kept.close()


@pytest.fixture
async def crm(scene: Scene) -> AsyncIterator[SellCrm]:
    opened = SellCrm({ACME: scene.account(ACME), OTHER: scene.account(OTHER)}, kept=scene.kept)
    yield opened
    await opened.close()


@pytest.fixture
def world(scene: Scene, crm: SellCrm) -> World:
    return World(
        crm,
        SellOffice(scene.server.accounts),
        SellLine(scene.server, scene.serving),
        owner_id=KEN,
        keeps_markers_unique=False,
        merges=frozenset({"lead", "contact"}),
        tells_merged=False,
        custom={"lead": "Tier", "person": "Rank"},
        refused_lead=replace(LEAD, owner_id="999"),
    )


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


@pytest.mark.parametrize(("name", "code"), [("Missing", "field_custom_fields_missing_unknown")])
async def test_without_the_reference_field_no_lead_is_made(scene: Scene, name: str, code: str) -> None:
    crm = SellCrm({ACME: scene.account(reference_field=name)}, kept=scene.kept)
    with pytest.raises(Refused, match=rf"\A{code}\Z"):
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
