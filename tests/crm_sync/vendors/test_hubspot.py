"""HubSpot beyond the contract: what is set up, how many requests a conversation takes, and what its errors mean."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.hubspot.connector import HubspotCrm
from services.crm_sync.connectors.interface import SETUP_NEEDED, OutcomeUnknown
from services.crm_sync.connectors.vendor.rehearsal import rehearse
from services.crm_sync.connectors.vendor.tape import playing, recording
from services.runtime.effects import RETRY_AFTER_MAX_S, EffectFailure, Refused, Transient, Unavailable
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, NOTE, TICKET, World, Written, activity
from tests.crm_sync.vendors.hubspot_server import BURST_MAX, UNIQUE_MAX
from tests.crm_sync.vendors.hubspot_world import KEN, Hubspot, accounts, hubspot

OBJECTS, OWNERS = "/crm/objects/2026-03", "/crm/owners/2026-03"
OWNER = CrmOwner(KEN, "Ken Sato", f"owner{KEN}@example.com")


@pytest.fixture
async def there() -> AsyncIterator[Hubspot]:
    async with hubspot() as opened:
        yield opened


@pytest.fixture
def world(there: Hubspot) -> World:
    return there.world()


class TestHubspot(ConnectorContract):
    pass


# ---------------------------------------------------------------- requests


async def test_the_requests_of_a_conversation(there: Hubspot, world: World) -> None:
    crm, office = there.crm, world.office
    hanako = await office.add("lead", "Hanako", "h@example.com", owner_id=KEN)
    number = hanako.id
    # Once in a process for each kind of record, and once for each owner in ten minutes.
    await crm.find_marker("none", workspace_id=ACME)
    assert [one for one in there.serving.asked_since() if "/properties/" in one] == [
        f"GET /crm/properties/2026-03/{kind}/chat_marker" for kind in ("notes", "contacts", "tickets")
    ]
    await crm.find_people("h@example.com", workspace_id=ACME)
    assert there.serving.asked_since() == [f"GET {OBJECTS}/contacts/h@example.com", f"GET {OWNERS}/{KEN}"]

    await crm.find_people("h@example.com", workspace_id=ACME)
    await crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert there.serving.asked_since() == [f"GET {OBJECTS}/contacts/h@example.com", f"POST {OBJECTS}/notes"]

    await crm.find_people("new@example.com", workspace_id=ACME)
    lead = await crm.create_lead(replace(world.lead, email="new@example.com"), marker="L", workspace_id=ACME)
    await crm.add_activity(activity(), to=lead.record, marker="B", workspace_id=ACME)
    assert there.serving.asked_since() == [
        f"GET {OBJECTS}/contacts/new@example.com",
        f"POST {OBJECTS}/contacts",
        f"POST {OBJECTS}/notes",
    ]

    await crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)
    assert there.serving.asked_since() == [f"GET {OBJECTS}/contacts/{number}", f"POST {OBJECTS}/notes"]
    await crm.set_phone("+81312345678", of=hanako, workspace_id=ACME)
    assert there.serving.asked_since() == [f"PATCH {OBJECTS}/contacts/{number}"]
    await crm.create_ticket(replace(TICKET, person=hanako), marker="T", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {OBJECTS}/tickets"]


async def test_deals_are_read_together(there: Hubspot, world: World) -> None:
    for _ in range(3):
        await world.office.add("deal", "Order", "h@example.com")
    assert len(await there.crm.find_people("h@example.com", workspace_id=ACME)) == 4
    assert there.serving.asked_since() == [
        f"GET {OBJECTS}/contacts/h@example.com",
        f"POST {OBJECTS}/deals/batch/read",
    ]


async def test_the_burst_limit_is_told_with_its_window(there: Hubspot) -> None:
    for _ in range(BURST_MAX):
        await there.crm.find_people("h@example.com", workspace_id=ACME)
    with pytest.raises(Unavailable, match=r"\Arate_limited\Z") as told:
        await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert told.value.retry_after_s == 10
    there.now_s[0] = 10
    await there.crm.find_people("h@example.com", workspace_id=ACME)


async def test_never_more_than_the_burst_limit_is_declared() -> None:
    per_s_max = HubspotCrm({}).declared.limits.requests_per_s_max
    assert per_s_max is not None
    assert per_s_max * 10 <= BURST_MAX


# ---------------------------------------------------------------- what an account needs


async def test_a_new_account_is_prepared_by_the_first_use_of_each_kind() -> None:
    async with hubspot(prepared=False) as there:
        office = there.world().office
        hanako = await office.add("lead", "Hanako", "h@example.com")
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
        assert set(there.acme.properties["notes"]) >= {"chat_marker", "chat_type"}
        assert "chat_marker" not in there.acme.properties["tickets"]
        await there.crm.create_ticket(TICKET, marker="T", workspace_id=ACME)
        assert [one["name"] for one in there.acme.lists] == ["Missed chats"]
        assert [one.text for one in await office.tickets(missed=True)] == [TICKET.text]
        own = [one for one in there.acme.properties["tickets"].values() if one["groupName"] == "chat"]
        assert len(own) < 10
        assert [one["name"] for one in own if one["hasUniqueValue"]] == ["chat_marker"]


async def test_two_workers_prepare_an_account_together() -> None:
    async with hubspot(prepared=False) as there:
        other = HubspotCrm(accounts(there.serving.url))
        try:
            await asyncio.gather(
                *(
                    crm.create_ticket(TICKET, marker=f"{crm is other}-{number}", workspace_id=ACME)
                    for crm in (there.crm, other)
                    for number in range(4)
                )
            )
        finally:
            await other.close()
        assert len(there.acme.rows["tickets"]) == 8
        assert len([one for one in there.serving.asked_since() if one.endswith("/groups")]) == 2, (
            "once in each worker"
        )


async def test_one_that_broke_off_goes_on(there: Hubspot, world: World) -> None:
    del there.acme.properties["tickets"]["chat_marker"]
    there.acme.groups["tickets"].add("chat")
    await there.crm.create_ticket(TICKET, marker="T", workspace_id=ACME)
    assert await world.written("ticket") == [TICKET.text]
    assert len(there.acme.lists) == 1, "a list of this name was there"


async def test_nothing_is_written_without_unique_markers(there: Hubspot, world: World) -> None:
    hanako = await world.add("Hanako")
    there.acme.properties["notes"]["chat_marker"]["hasUniqueValue"] = False
    with pytest.raises(Unavailable, match=r"\Amarker_not_unique\Z"):
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert not await world.written("activity")
    there.acme.properties["notes"]["chat_marker"]["hasUniqueValue"] = True
    await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)


async def test_what_hubspot_does_not_let_us_make_waits_until_it_does() -> None:
    async with hubspot(prepared=False) as there:
        of_others = [f"number_{number}" for number in range(UNIQUE_MAX)]
        for name in of_others:
            there.acme.define("tickets", name, hasUniqueValue=True)
        with capture_logs() as logs, pytest.raises(Unavailable, match=rf"\A{SETUP_NEEDED}\Z"):
            await there.crm.create_ticket(TICKET, marker="T", workspace_id=ACME)
        assert logs[-1] == {
            "event": "hubspot_setup_refused",
            "kind": "tickets",
            "code": "refused_400",
            "log_level": "warning",
        }
        hanako = await there.world().add("Hanako")
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
        del there.acme.properties["tickets"][of_others[0]]
        await there.crm.create_ticket(TICKET, marker="T", workspace_id=ACME)
        assert len(await there.world().office.tickets()) == 1


async def test_a_property_that_somebody_deletes_is_waited_for_or_made_anew(
    there: Hubspot, world: World
) -> None:
    await there.crm.create_ticket(TICKET, marker="T1", workspace_id=ACME)
    tag = there.acme.properties["tickets"].pop("chat_tag")
    for _ in range(2):
        with pytest.raises(Unavailable, match=rf"\A{SETUP_NEEDED}\Z"):
            await there.crm.create_ticket(TICKET, marker="T2", workspace_id=ACME)
    there.acme.properties["tickets"]["chat_tag"] = tag
    await there.crm.create_ticket(TICKET, marker="T2", workspace_id=ACME)
    for name in ("chat_tag", "chat_marker"):
        del there.acme.properties["tickets"][name]
    with pytest.raises(Unavailable, match=rf"\A{SETUP_NEEDED}\Z"):
        await there.crm.create_ticket(TICKET, marker="T3", workspace_id=ACME)
    await there.crm.create_ticket(TICKET, marker="T3", workspace_id=ACME)
    assert len(await world.written("ticket")) == 3


# ---------------------------------------------------------------- people


async def test_a_contact_that_was_made_meanwhile_gets_the_conversation(there: Hubspot, world: World) -> None:
    there_first = await world.office.add("contact", "Hanako", world.lead.email, owner_id=KEN)
    found = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    assert (found.record, found.owner) == (there_first, OWNER)
    assert len(await world.office.people()) == 1


async def test_further_addresses_count(there: Hubspot, world: World) -> None:
    hanako = await world.add("Hanako")
    there.acme.rows["contacts"][hanako.id].properties["hs_additional_emails"] = "a@example.com;b@example.com"
    (found,) = await there.crm.find_people("B@example.com", workspace_id=ACME)
    assert found.record == hanako


@pytest.mark.parametrize(
    ("properties", "kind", "is_open"),
    [
        ({"lifecyclestage": "subscriber"}, "lead", True),
        ({"lifecyclestage": "salesqualifiedlead", "hs_lead_status": "OPEN"}, "lead", True),
        ({"lifecyclestage": "lead", "hs_lead_status": "UNQUALIFIED"}, "lead", False),
        ({"lifecyclestage": "opportunity"}, "contact", True),
        ({"lifecyclestage": "4711"}, "contact", True),
        ({"lifecyclestage": ""}, "contact", True),
    ],
)
async def test_stages(
    there: Hubspot, world: World, properties: dict[str, str], kind: str, is_open: bool
) -> None:
    hanako = await world.add("Hanako")
    there.acme.rows["contacts"][hanako.id].properties |= properties
    (found,) = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert (found.kind, found.open) == (kind, is_open)


async def test_a_deal(there: Hubspot, world: World) -> None:
    deal = await world.office.add("deal", "Order 7", "h@example.com", owner_id=KEN)
    there.acme.rows["deals"][deal.id].properties |= {"hs_is_closed": "true", "amount": "900"}
    contact, found = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert (found.record, found.kind, found.open, found.owner) == (deal, "deal", False, OWNER)
    assert (contact.kind, contact.owner) == ("contact", OWNER)

    await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)
    assert there.acme.rows["contacts"][contact.record.id].properties["phone"] == "+81312345678"
    layouts = Layouts(lead=("deal.amount", "phone", "lifecyclestage"))
    card = await there.crm.read_card(deal, layouts=layouts, workspace_id=ACME)
    assert [one.value for one in card.sections[0].fields] == ["900", "+81312345678", "Opportunity"]

    there.acme.rows["contacts"][contact.record.id].archived = True
    with pytest.raises(Refused, match=r"\Adeal_without_contact\Z"):
        await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)


async def test_an_owner_who_has_left(there: Hubspot, world: World) -> None:
    await world.office.add("lead", "Hanako", "h@example.com", owner_id="1")
    (found,) = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert found.owner == CrmOwner("1")


async def test_after_a_lost_answer_the_owner_of_a_note_is_known(there: Hubspot, world: World) -> None:
    hanako = await world.office.add("lead", "Hanako", "h@example.com", owner_id=KEN)
    await world.line.lose("after")
    with pytest.raises(OutcomeUnknown):
        await there.crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)
    found = await there.crm.find_marker("N", workspace_id=ACME)
    assert found is not None
    assert (found.record.type, found.owner) == ("note", OWNER)


async def test_links_to_records() -> None:
    async with hubspot(portal_id="42") as there:
        await there.world().add("Hanako")
        (found,) = await there.crm.find_people("h@example.com", workspace_id=ACME)
        assert found.record.url == f"https://app.hubspot.com/contacts/42/record/0-1/{found.record.id}"
        note = await there.crm.add_note(NOTE, to=found.record, marker="N", workspace_id=ACME)
        assert note.record.url is None


@pytest.mark.parametrize("record", [CrmRecord("contact", "../owners"), CrmRecord("company", "1001")])
async def test_what_can_be_no_record_of_ours_is_gone(there: Hubspot, record: CrmRecord) -> None:
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await there.crm.read_card(record, layouts=Layouts(), workspace_id=ACME)


async def test_a_workspace_without_an_account(there: Hubspot) -> None:
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await there.crm.find_people("h@example.com", workspace_id="elsewhere")


async def test_a_visitors_second_line_stays_below_their_first(there: Hubspot, world: World) -> None:
    hanako = await world.add("Hanako")
    said = replace(activity(), title="<Chat>", text="[09:00] Hanako: <b>hi</b> &\n    [09:01] Ken: fine")
    await there.crm.add_activity(said, to=hanako, marker="A", workspace_id=ACME)
    (note,) = there.acme.rows["notes"].values()
    assert note.properties["hs_note_body"] == (
        "<strong>&lt;Chat&gt;</strong><br>[09:00] Hanako: &lt;b&gt;hi&lt;/b&gt; &amp;<br>"
        "\u00a0\u00a0\u00a0\u00a0[09:01] Ken: fine"
    )
    assert note.properties["hs_timestamp"] == said.ended_at


async def test_a_recording_plays_back_without_the_account(tmp_path: Path) -> None:
    async with hubspot(prepared=False) as there:
        with recording(tmp_path / "tape"):
            made = await rehearse(there.crm, word="w1", workspace_id=ACME)
        assert [one.type for one in made] == ["contact", "note", "note", "ticket"]
        there.serving.asked.clear()
        again = HubspotCrm(accounts(there.serving.url))
        with playing(tmp_path / "tape"):
            assert await rehearse(again, word="w1", workspace_id=ACME) == made
        await again.close()
        assert there.serving.asked == []
    told = "".join(one.read_text("utf-8") for one in (tmp_path / "tape").iterdir())
    assert "pat-na1" not in told
    assert "Budget" not in told, "a label is the account's"


# ---------------------------------------------------------------- what errors mean

LISTED = orjson.dumps(
    [{"isValid": False, "message": "x", "error": "INVALID_OPTION", "name": "lifecyclestage"}]
)
NAMED = [{"message": "x", "code": "PROPERTY_DOESNT_EXIST", "context": {"propertyName": ["chat_tag"]}}]
DAILY = {"policyName": "DAILY", "category": "RATE_LIMITS"}
WINDOW = {"x-hubspot-ratelimit-interval-milliseconds": "10000"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "failure", "code", "retry_after_s"),
    [
        (400, {}, {"message": f"Property values were not valid: {LISTED.decode()}"}, Refused, "field_lifecyclestage_invalid_option", None),
        (400, {}, {"message": "Invalid input", "errors": NAMED}, Unavailable, "setup_needed", None),
        (400, {}, {"message": "hanako@example.com is wrong"}, Refused, "refused_400", None),
        (400, {}, "hanako@example.com", Refused, "refused_400", None),
        (401, {}, {"category": "INVALID_AUTHENTICATION"}, Unavailable, "login_refused", None),
        (403, {}, {"category": "MISSING_SCOPES"}, Unavailable, "login_refused", None),
        (423, {}, {}, Transient, "locked", 2),
        (429, {"retry-after": "3"} | WINDOW, {}, Unavailable, "rate_limited", 3),
        (429, WINDOW, {"policyName": "TEN_SECONDLY_ROLLING"}, Unavailable, "rate_limited", 10),
        (429, {}, {"category": "RATE_LIMITS"}, Unavailable, "rate_limited", 10),
        (429, WINDOW, DAILY, Unavailable, "rate_limited", RETRY_AFTER_MAX_S),
        (477, {"retry-after": "60"}, {}, Unavailable, "migrating", 60),
        (477, {}, {}, Unavailable, "migrating", RETRY_AFTER_MAX_S),
        (502, {}, "<h1>Bad Gateway</h1>", OutcomeUnknown, "server_error", None),
        (524, {}, "<h1>Timeout</h1>", OutcomeUnknown, "server_error", None),
    ],
)  # fmt: skip
async def test_errors(
    there: Hubspot,
    world: World,
    status: int,
    headers: dict[str, str],
    body: object,
    failure: type[EffectFailure],
    code: str,
    retry_after_s: float | None,
) -> None:
    hanako = await world.add("Hanako")
    await there.crm.find_marker("none", workspace_id=ACME)
    there.serving.turned_away = (status, headers, orjson.dumps(body))
    with pytest.raises(EffectFailure) as told:
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert type(told.value) is failure
    assert (told.value.code, getattr(told.value, "retry_after_s", None)) == (code, retry_after_s)


@pytest.mark.parametrize("what", ["lead", "activity", "ticket"])
async def test_a_marker_that_is_taken_and_can_not_be_read_is_tried_again(
    there: Hubspot, world: World, what: Written
) -> None:
    hanako = await world.add("Hanako")
    await there.crm.find_marker("none", workspace_id=ACME)
    there.serving.turned_away = (409, {}, b"{}")
    with pytest.raises(Transient, match=r"\Aalready_there\Z") as told:
        await world.write(what, to=hanako)
    assert not isinstance(told.value, OutcomeUnknown)
    await world.write(what, to=hanako)
