"""Zoho CRM beyond the contract: requests of a conversation, tokens and limits, leads, notes and cards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.vendor.remembered import KEPT_S
from services.crm_sync.connectors.vendor.site import PAUSE_S
from services.crm_sync.connectors.zoho_crm.connector import CONNECTOR, ZohoCrm
from services.crm_sync.connectors.zoho_desk import DeskAccount, ZohoDesk, with_desk
from services.local.commands.crm import rehearsed
from services.runtime.effects import Refused, Unavailable
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, NOTE, TICKET, World, activity
from tests.crm_sync.requests_cases import requests_by_case, told
from tests.crm_sync.vendors.desk_server import DeskData, DeskServer
from tests.crm_sync.vendors.serving import Serving
from tests.crm_sync.vendors.test_tape import played
from tests.crm_sync.vendors.zoho_crm_server import TOKEN_LASTS_S, TOKENS_MAX
from tests.crm_sync.vendors.zoho_crm_world import API, KEN, Zoho, accounts, seen, writes, zoho

V8 = "/crm/v8"
TOKEN, COMPOSITE = "POST /oauth/v2/token", f"POST {V8}/__composite_requests"
FIELDS = f"GET {V8}/settings/fields"
OWNER = CrmOwner(KEN, "佐藤 健", f"{KEN}@acme.example")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Zoho]:
    async with zoho(tmp_path) as opened:
        yield opened


@pytest.fixture
def world(there: Zoho) -> World:
    return there.world()


class TestZohoCrm(ConnectorContract):
    pass


# ---------------------------------------------------------------- requests, tokens and limits


async def test_the_requests_of_a_conversation(there: Zoho, world: World) -> None:
    crm = there.crm
    hanako = await world.office.add("lead", "Hanako", "h@example.com", owner_id=KEN)
    deal = await world.office.add("deal", "Order", "d@example.com", company="Shop")
    await crm.find_people("h@example.com", workspace_id=ACME)
    assert there.serving.asked_since() == [TOKEN, COMPOSITE]
    await crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {V8}/Leads/{hanako.id}/Notes"]
    await crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    assert there.serving.asked_since() == [FIELDS, f"POST {V8}/Leads"]
    await crm.create_lead(replace(world.lead, email="j@example.com"), marker="L2", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {V8}/Leads"]
    await crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)
    assert there.serving.asked_since() == [
        f"GET {V8}/Leads/{hanako.id}",
        f"POST {V8}/Leads/{hanako.id}/Notes",
    ]
    await crm.find_marker("A", workspace_id=ACME, on=(hanako, deal))
    assert there.serving.asked_since() == [COMPOSITE]
    await crm.set_phone("+81312345678", of=hanako, workspace_id=ACME)
    assert there.serving.asked_since() == [f"PUT {V8}/Leads/{hanako.id}"]
    await crm.card_fields(workspace_id=ACME)
    assert there.serving.asked_since() == [FIELDS] * 4
    await crm.read_card(deal, layouts=Layouts(), workspace_id=ACME)
    assert [
        one.partition("Contacts/")[0].partition("Accounts/")[0] for one in there.serving.asked_since()
    ] == [
        f"GET {V8}/Deals/{deal.id}",
        f"GET {V8}/",
        f"GET {V8}/",
    ]


async def test_the_page_says_what_zoho_is_asked(there: Zoho, world: World, tmp_path: Path) -> None:
    await there.crm.create_lead(replace(world.lead, email="a@example.com"), marker="L", workspace_id=ACME)
    assert await requests_by_case(world, tmp_path) == told(CONNECTOR)


async def test_more_records_than_a_request_has_parts(there: Zoho, world: World) -> None:
    people = [await world.add(f"Hanako {number}", f"h{number}@example.com") for number in range(9)]
    await there.crm.add_activity(activity(), to=people[-1], marker="A", workspace_id=ACME)
    assert len(there.serving.asked_since()) == 2
    found = await there.crm.find_marker("A", workspace_id=ACME, on=people)
    assert found is not None
    assert there.serving.asked_since() == [COMPOSITE] * 2


async def test_twenty_workers_share_one_token_where_zoho_gives_ten(there: Zoho) -> None:
    workers = [ZohoCrm(accounts(there.serving.url), kept=there.kept) for _ in range(2 * TOKENS_MAX)]
    for _ in range(2):
        # One after the other: together they are more than may run at a time.
        for one in workers:
            await one.find_people("h@example.com", workspace_id=ACME)
        assert there.serving.asked_since().count(TOKEN) == 1
        there.now_s[0] += TOKEN_LASTS_S
    for one in workers:
        await one.close()


async def test_a_token_that_was_taken_back(there: Zoho, world: World) -> None:
    hanako = await world.add("Hanako")
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    there.server.tokens.clear()
    assert there.serving.asked_since().count(TOKEN) == 1
    await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    notes = f"POST {V8}/Leads/{hanako.id}/Notes"
    assert there.serving.asked_since() == [notes, TOKEN, notes]
    assert len(await world.office.feed()) == 1


@pytest.mark.parametrize("settings", [{"api_version": "v9"}, {"reference_field": "Elsewhere"}])
async def test_what_waits_until_it_is_put_right(tmp_path: Path, settings: dict[str, str]) -> None:
    async with zoho(tmp_path, **settings) as there:
        with pytest.raises(Unavailable, match=r"\A(path_unknown|setup_needed)\Z"):
            await there.crm.create_lead(there.world().lead, marker="L", workspace_id=ACME)
        with pytest.raises(Unavailable, match=r"\A(path_unknown|setup_needed)\Z"):
            await there.crm.find_marker("L", workspace_id=ACME)
        assert there.acme.rows["Leads"] == {}


async def test_a_field_that_is_removed_later(there: Zoho, world: World) -> None:
    await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    there.acme.fields["Leads"].remove("Chat_Reference")
    with pytest.raises(Unavailable, match=r"\Asetup_needed\Z"):
        await there.crm.create_lead(world.lead, marker="L2", workspace_id=ACME)


async def test_too_many_at_a_time_and_too_many_a_day(there: Zoho) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    there.server.let_go.clear()
    asking = [
        asyncio.create_task(there.crm.find_people("h@example.com", workspace_id=ACME)) for _ in range(3)
    ]
    done, _ = await asyncio.wait(asking, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    there.server.let_go.set()
    await asyncio.wait(asking, timeout=10)
    failures = [one.exception() for one in asking]
    assert sorted(str(one) for one in failures if one) == ["rate_limited"] * len(done)
    assert len(done) == 1

    there.acme.credits_left = 0
    with pytest.raises(Unavailable, match=r"\Arate_limited\Z") as refused:
        await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert refused.value.retry_after_s == PAUSE_S


# ---------------------------------------------------------------- people


@pytest.mark.parametrize(
    ("status", "is_open"),
    [(None, True), ("Contacted", True), ("Lost Lead", False), ("Junk Lead", False), ("Not Qualified", False)],
)
async def test_leads_that_are_lost(there: Zoho, world: World, status: str | None, is_open: bool) -> None:
    hanako = await world.add("Hanako")
    there.acme.rows["Leads"][hanako.id]["Lead_Status"] = status
    (found,) = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert found.open is is_open


async def test_a_deal_that_is_over(there: Zoho, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com")
    there.acme.rows["Deals"][deal.id]["Stage"] = "Closed Won"
    found = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert {one.kind: one.open for one in found} == {"contact": True, "deal": False}


async def test_a_lead_that_was_converted_is_met_in_its_contact(there: Zoho, world: World) -> None:
    lead = await world.add("Hanako")
    there.acme.converted.add(lead.id)
    contact = await world.office.add("contact", "Hanako", "h@example.com")
    found = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert [one.record for one in found] == [contact]
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await there.crm.add_activity(activity(), to=lead, marker="A", workspace_id=ACME)


async def test_further_address_fields(tmp_path: Path) -> None:
    async with zoho(tmp_path, email_fields=("Email", "Secondary_Email")) as there:
        row = there.acme.add("Contacts", Last_Name="Hanako", Secondary_Email="h@example.com")
        there.acme.add("Deals", Deal_Name="Order", Stage="Qualification", Contact_Name={"id": row["id"]})
        found = await there.crm.find_people("h@example.com", workspace_id=ACME)
        assert [one.kind for one in found] == ["contact", "deal"]


async def test_the_phone_number_of_a_deal_is_its_contacts(there: Zoho, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com")
    found = await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)
    assert found.record == deal
    assert await world.office.phone(deal) == "+81312345678"


async def test_a_deal_without_a_contact(there: Zoho, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com")
    there.acme.rows["Deals"][deal.id]["Contact_Name"] = None
    with pytest.raises(Refused, match=r"\Adeal_without_contact\Z"):
        await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)
    layouts = Layouts(lead=("Email", "deal.Deal_Name", "deal.Priority"))
    card = await there.crm.read_card(deal, layouts=layouts, workspace_id=ACME)
    assert [one.value for one in card.sections[0].fields] == ["", "Order", ""]
    await world.office.remove(deal)
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)


@pytest.mark.parametrize("record", [CrmRecord("lead", "1/../2"), CrmRecord("account", "1")])
async def test_what_can_be_no_record_of_ours_is_gone(there: Zoho, record: CrmRecord) -> None:
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await there.crm.read_card(record, layouts=Layouts(), workspace_id=ACME)
    assert await there.crm.find_marker("M", workspace_id=ACME, on=(record,)) is None


async def test_a_workspace_without_an_account(there: Zoho) -> None:
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await there.crm.find_people("h@example.com", workspace_id="elsewhere")


# ---------------------------------------------------------------- leads and notes


async def test_a_lead_is_made_once_by_many_at_a_time(there: Zoho, world: World) -> None:
    await there.crm.create_lead(replace(world.lead, email="a@example.com"), marker="A", workspace_id=ACME)
    made = await asyncio.gather(
        *(there.crm.create_lead(world.lead, marker="L", workspace_id=ACME) for _ in range(8))
    )
    assert len({one.record for one in made}) == 1
    assert {one.owner for one in made} == {CrmOwner(KEN)}
    assert len(there.acme.rows["Leads"]) == 2


async def test_somebody_who_was_added_meanwhile_is_taken_for_the_lead(there: Zoho, world: World) -> None:
    there.acme.unique.add("Email")
    hanako = await world.office.add("lead", "Hanako", world.lead.email)
    made = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    assert (made.record, made.owner) == (hanako, CrmOwner(API))
    there.acme.unique.add("Phone")
    await there.crm.set_phone(str(world.lead.phone), of=hanako, workspace_id=ACME)
    other = replace(world.lead, email="other@example.com")
    with pytest.raises(Refused, match=r"\Afield_phone_duplicate_data\Z"):
        await there.crm.create_lead(other, marker="L2", workspace_id=ACME)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"email": "nobody"}, "field_email_invalid_data"),
        ({"name": "H" * 81}, "field_last_name_too_long"),
        ({"name": ""}, "field_last_name_mandatory_not_found"),
        ({"owner_id": "5725767000000411009"}, "field_owner_invalid_data"),
        ({"owner_id": "ken"}, "field_owner_id_invalid"),
    ],
)
async def test_a_refused_field_is_named(
    there: Zoho, world: World, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refused, match=rf"\A{code}\Z"):
        await there.crm.create_lead(replace(world.lead, **changes), marker="L", workspace_id=ACME)
    assert there.acme.rows["Leads"] == {}


async def test_after_a_lost_answer_the_owner_of_a_note_is_known(there: Zoho, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com", owner_id=KEN)
    await world.line.lose("after")
    with pytest.raises(OutcomeUnknown):
        await there.crm.add_note(NOTE, to=deal, marker="N", workspace_id=ACME)
    found = await there.crm.find_marker("N", workspace_id=ACME, on=(deal,))
    assert found is not None
    assert (found.record.type, found.owner) == ("note", OWNER)


async def test_what_a_note_looks_like(there: Zoho, world: World) -> None:
    hanako = await world.add("Hanako")
    said = replace(activity("hi"), title="t" * 300)
    await there.crm.add_activity(said, to=hanako, marker="A", workspace_id=ACME)
    await there.crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)
    first, second = there.acme.notes.values()
    assert first["Note_Title"] == "t" * 120
    assert first["Note_Content"] == f"{said.text}\n[chat A]"
    assert second["Note_Title"] == "Note from 佐藤 健"
    assert second["Note_Content"] == "Please call her.\n— 佐藤 健\n[note N]"


async def test_what_a_visitor_wrote_mentions_nobody(there: Zoho, world: World) -> None:
    hanako = await world.add("Hanako")
    said = replace(activity(f"crm[user#{KEN}#1]crm zsu[@user:1]zsu a[0]"), title="crm[user#1]crm")
    await there.crm.add_activity(said, to=hanako, marker="A", workspace_id=ACME)
    (note,) = there.acme.notes.values()
    assert note["Note_Title"] == "crm(user#1]crm"
    assert f"crm(user#{KEN}#1]crm zsu(@user:1]zsu a[0]" in note["Note_Content"]


async def test_what_a_visitor_wrote_is_no_marker(there: Zoho, world: World) -> None:
    hanako = await world.add("Hanako")
    await there.crm.add_activity(activity("[chat M]"), to=hanako, marker="A", workspace_id=ACME)
    assert await there.crm.find_marker("M", workspace_id=ACME, on=(hanako,)) is None


# ---------------------------------------------------------------- cards


async def test_fields_of_a_company(there: Zoho, world: World) -> None:
    hanako = await world.office.add("contact", "Hanako", "h@example.com", company="Shop")
    await world.office.fill(hanako, kind="company", name="Tier", value="gold")
    card = await there.crm.read_card(
        hanako, layouts=Layouts(company=("Tier", "Account_Name")), workspace_id=ACME
    )
    assert [one.value for one in card.sections[1].fields] == ["gold", "Shop"]


async def test_a_lead_made_here_has_no_company(there: Zoho, world: World) -> None:
    made = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    card = await there.crm.read_card(made.record, layouts=Layouts(), workspace_id=ACME)
    assert [one.kind for one in card.sections] == ["lead"]
    assert card.owner == OWNER
    assert card.record == seen("lead", there.acme.rows["Leads"][made.record.id])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.5, "12.5"), (True, "✓"), (False, ""), (["a", "b"], "a, b"), ({"id": "7", "name": "Ken"}, "Ken")],
)
async def test_values_of_fields(there: Zoho, world: World, value: object, shown: str) -> None:
    hanako = await world.add("Hanako")
    there.acme.rows["Leads"][hanako.id]["Budget"] = value
    card = await there.crm.read_card(hanako, layouts=Layouts(lead=("Budget",)), workspace_id=ACME)
    assert [one.value for one in card.sections[0].fields] == [shown]


async def test_fields_are_asked_for_again_after_a_while(there: Zoho) -> None:
    now_s = [0.0]
    crm = ZohoCrm(accounts(there.serving.url), kept=there.kept, now_s=lambda: now_s[0])
    for wait_s, asked in ((0.0, 4), (KEPT_S - 1, 0), (1.0, 4)):
        now_s[0] += wait_s
        await crm.card_fields(workspace_id=ACME)
        assert there.serving.asked_since().count(FIELDS) == asked
    await crm.close()


# ---------------------------------------------------------------- beside Zoho Desk, and recordings


async def test_tickets_go_to_desk(there: Zoho, world: World) -> None:
    server = DeskServer()
    server.organizations = {"refresh-acme": DeskData("11")}
    async with Serving(server.app, writes=writes).open() as serving:
        account = DeskAccount(
            org_id="11",
            department_id="7001",
            client_id="app",
            client_secret=SecretStr("app-secret"),
            refresh_token=SecretStr("refresh-acme"),
            url=serving.url,
            accounts_url=serving.url,
            private_addresses=True,
        )
        desk = ZohoDesk({ACME: account}, kept=there.kept)
        both = with_desk(there.crm, desk)
        assert both.declared.name == f"{CONNECTOR}+zoho_desk"
        await both.add_activity(activity(), to=await world.add("Hanako"), marker="A", workspace_id=ACME)
        made = await both.create_ticket(TICKET, marker="T", workspace_id=ACME)
        assert await both.find_marker("T", workspace_id=ACME) == made
        assert [one["subject"] for one in server.organizations["refresh-acme"].tickets] == [TICKET.title]
        assert len(there.acme.notes) == 1
        await desk.close()


async def test_a_recording_plays_back_without_the_account(
    there: Zoho, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {"url": there.serving.url, "accounts_url": there.serving.url, "private_addresses": True}
    client = {"client_id": "app", "client_secret": "app-secret", "refresh_token": "refresh-acme"}
    entry = {"connector": CONNECTOR, **client, **addresses}
    (tmp_path / "accounts.json").write_bytes(orjson.dumps({ACME: entry}))
    monkeypatch.setenv("CHAT_CRM_ACCOUNTS_FILE", str(tmp_path / "accounts.json"))
    monkeypatch.setenv("CHAT_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    made = await rehearsed(ACME, CONNECTOR, folder=tmp_path / "tape", word="w1")
    assert [one.type for one in made] == ["lead", "note", "note"]
    there.serving.asked.clear()
    await played(tmp_path / "tape", tmp_path)
    assert there.serving.asked == []
    written = "".join(one.read_text("utf-8") for one in (tmp_path / "tape").iterdir())
    assert [one for one in ("refresh-", "app-secret", "1000.", "佐藤", f"{API}@") if one in written] == []
