"""Salesforce beyond the contract: requests of a conversation, sessions that end, rules about duplicates, and what errors mean."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.interface import SETUP_NEEDED, OutcomeUnknown
from services.crm_sync.connectors.salesforce.api import quoted
from services.crm_sync.connectors.salesforce.connector import SalesforceCrm
from services.crm_sync.connectors.vendor.rehearsal import rehearse
from services.crm_sync.connectors.vendor.tape import playing, recording
from services.runtime.effects import RETRY_AFTER_MAX_S, EffectFailure, Refused, Transient, Unavailable
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, LEAD, NOTE, World, activity
from tests.crm_sync.vendors.salesforce_org import Malformed, Org
from tests.crm_sync.vendors.salesforce_world import API, KEN, Salesforce, accounts, salesforce

DATA = "/services/data/v62.0"
TOKEN = "POST /services/oauth2/token"
OWNER = CrmOwner(KEN, "Ken Sato", f"{KEN}@example.com")
LEAD_OF_NOBODY = replace(LEAD, owner_id=None)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Salesforce]:
    async with salesforce(tmp_path) as opened:
        yield opened


@pytest.fixture
def world(there: Salesforce) -> World:
    return there.world()


class TestSalesforce(ConnectorContract):
    pass


# ---------------------------------------------------------------- requests and sessions


async def test_the_requests_of_a_conversation(there: Salesforce, world: World) -> None:
    crm = there.crm
    hanako = await world.office.add("lead", "Hanako", "h@example.com", owner_id=KEN)
    deal = await world.office.add("deal", "Order", "d@example.com", company="Shop")
    await crm.find_people("h@example.com", workspace_id=ACME)
    assert there.serving.asked_since() == [TOKEN, f"POST {DATA}/composite"]
    await crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {DATA}/sobjects/Task"]
    lead = replace(world.lead, owner_id=None)
    await crm.create_lead(lead, marker="L", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {DATA}/sobjects/Lead"]
    await crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)
    assert there.serving.asked_since() == [f"POST {DATA}/composite", f"POST {DATA}/sobjects/Task"]
    await crm.set_phone("+81312345678", of=hanako, workspace_id=ACME)
    assert there.serving.asked_since() == [f"PATCH {DATA}/sobjects/Lead/{hanako.id}"]
    await crm.card_fields(workspace_id=ACME)
    assert len(there.serving.asked_since()) == 4
    card = await crm.read_card(deal, layouts=Layouts(), workspace_id=ACME)
    assert [one.kind for one in card.sections] == ["lead", "company"]
    assert there.serving.asked_since() == [f"GET {DATA}/query"]


async def test_a_session_that_ends_is_renewed_once(there: Salesforce) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    other = SalesforceCrm(accounts(there.serving.url), kept=there.kept)
    there.server.sessions.clear()
    assert there.serving.asked_since().count(TOKEN) == 1
    try:
        await asyncio.gather(
            *(
                crm.find_people("h@example.com", workspace_id=ACME)
                for crm in (there.crm, other)
                for _ in range(4)
            )
        )
    finally:
        await other.close()
    assert there.serving.asked_since().count(TOKEN) == 1


async def test_without_the_marker_field_all_waits_until_somebody_makes_it(there: Salesforce) -> None:
    crm = SalesforceCrm(accounts(there.serving.url, marker_field="Missing__c"), kept=there.kept)
    hanako = await there.world().add("Hanako")
    for asked in (
        crm.create_lead(LEAD_OF_NOBODY, marker="L", workspace_id=ACME),
        crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME),
        crm.find_marker("A", workspace_id=ACME),
    ):
        with pytest.raises(Unavailable, match=rf"\A{SETUP_NEEDED}\Z"):
            await asked
    await crm.close()


# ---------------------------------------------------------------- leads


@pytest.mark.parametrize(("rule", "code"), [("alert", None), ("block", "duplicates_detected")])
async def test_a_rule_about_duplicates(there: Salesforce, world: World, rule: str, code: str | None) -> None:
    await world.office.add("lead", "Hanako", world.lead.email)
    there.acme.duplicate_rule = rule
    if code is None:
        await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    else:
        with pytest.raises(Refused, match=rf"\A{code}\Z"):
            await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    assert len(await world.office.people()) == (2 if code is None else 1)


async def test_sending_twice_undoes_nothing(there: Salesforce, world: World) -> None:
    made = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    there.acme.rows["Lead"][made.record.id]["OwnerId"] = API
    again = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    assert again.record == made.record
    assert again.owner is not None
    assert again.owner.id == API


async def test_what_is_converted_won_or_lost_is_closed(there: Salesforce, world: World) -> None:
    lead = await world.office.add("lead", "Hanako", "h@example.com")
    there.acme.rows["Lead"][lead.id]["IsConverted"] = True
    deal = await world.office.add("deal", "Order", "h@example.com", owner_id=KEN)
    there.acme.rows["Opportunity"][deal.id]["IsClosed"] = True
    found = await there.crm.find_people("h@example.com", workspace_id=ACME)
    assert {one.kind: one.open for one in found} == {"lead": False, "contact": True, "deal": False}
    assert next(one.owner for one in found if one.kind == "deal") == OWNER


async def test_an_opportunity_without_a_contact(there: Salesforce, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com")
    there.acme.rows["OpportunityContactRole"].clear()
    with pytest.raises(Refused, match=r"\Adeal_without_contact\Z"):
        await there.crm.set_phone("+81312345678", of=deal, workspace_id=ACME)
    card = await there.crm.read_card(deal, layouts=Layouts(lead=("Email", "deal.Name")), workspace_id=ACME)
    assert [one.value for one in card.sections[0].fields] == ["", "Order"]


async def test_fields_of_a_company(there: Salesforce, world: World) -> None:
    hanako = await world.office.add("contact", "Hanako", "h@example.com", company="Shop")
    await world.office.fill(hanako, kind="company", name="Tier__c", value="gold")
    card = await there.crm.read_card(hanako, layouts=Layouts(company=("Tier__c", "Name")), workspace_id=ACME)
    assert [one.value for one in card.sections[1].fields] == ["gold", "Shop"]


async def test_a_lead_made_here_has_no_company(there: Salesforce, world: World) -> None:
    made = await there.crm.create_lead(world.lead, marker="L", workspace_id=ACME)
    card = await there.crm.read_card(made.record, layouts=Layouts(), workspace_id=ACME)
    assert [one.kind for one in card.sections] == ["lead"]


async def test_after_a_lost_answer_the_owner_of_a_note_is_known(there: Salesforce, world: World) -> None:
    deal = await world.office.add("deal", "Order", "h@example.com", owner_id=KEN)
    await world.line.lose("after")
    with pytest.raises(OutcomeUnknown):
        await there.crm.add_note(NOTE, to=deal, marker="N", workspace_id=ACME)
    found = await there.crm.find_marker("N", workspace_id=ACME)
    assert found is not None
    assert (found.record.type, found.owner) == ("task", OWNER)


@pytest.mark.parametrize("record", [CrmRecord("lead", "' OR Name = '"), CrmRecord("account", "001")])
async def test_what_can_be_no_record_of_ours_is_gone(there: Salesforce, record: CrmRecord) -> None:
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await there.crm.read_card(record, layouts=Layouts(), workspace_id=ACME)


async def test_a_workspace_without_an_account(there: Salesforce) -> None:
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await there.crm.find_people("h@example.com", workspace_id="elsewhere")


async def test_a_recording_plays_back_without_the_org(there: Salesforce, tmp_path: Path) -> None:
    with recording(tmp_path / "tape"):
        made = await rehearse(there.crm, word="w1", workspace_id=ACME)
    assert [one.type for one in made] == ["lead", "task", "task"]
    there.serving.asked.clear()
    again = SalesforceCrm(accounts(there.serving.url), kept=there.kept)
    with playing(tmp_path / "tape"):
        assert await rehearse(again, word="w1", workspace_id=ACME) == made
    await again.close()
    assert there.serving.asked == []
    told = "".join(one.read_text("utf-8") for one in (tmp_path / "tape").iterdir())
    for private in ("session-", "secret", "Ken Sato", f"{API}@"):
        assert private not in told


# ---------------------------------------------------------------- queries and errors


@pytest.mark.parametrize(
    "text", ["o'hara", "\\", "\\'", "' OR Email = '", 'a"b', "tab\tline\nend\r", "漢字", "%_"]
)
def test_whatever_is_quoted_stays_one_text(text: str) -> None:
    org = Org((API,))
    org.add("Lead", {"LastName": text, "Email": text})
    org.add("Lead", {"LastName": "other", "Email": "other"})
    found = org.query(f"SELECT Email FROM Lead WHERE Email = {quoted(text)}")
    assert [one["Email"] for one in found] == [text]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT Email FROM Lead WHERE Email = 'o'hara'",
        "SELECT Email FROM Lead WHERE Email = 'a\\d'",
        "SELECT Nothing FROM Lead",
        "SELECT Id FROM Elsewhere",
        "SELECT Account.Name FROM Lead",
        "SELECT Id FROM Lead WHERE Email = 'a' LIMIT 1 OR",
    ],
)
async def test_the_local_org_takes_queries_only(query: str) -> None:
    org = Org((API,))
    org.add("Lead", {"LastName": "Hanako"})
    with pytest.raises(Malformed):
        org.query(query)


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("Lead", {"LastName": "H", "Company": "C"}, 201, "success"),
        ("Lead", {"LastName": "H"}, 400, "REQUIRED_FIELD_MISSING"),
        ("Lead", {"LastName": "H" * 81, "Company": "C"}, 400, "STRING_TOO_LONG"),
        ("Lead", {"LastName": "H", "Company": "C", "Name": "H"}, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Lead", {"LastName": "H", "Company": "C", "Nick": "H"}, 400, "INVALID_FIELD"),
        ("Lead", {"LastName": "H", "Company": "C", "Email": "h"}, 400, "INVALID_EMAIL_ADDRESS"),
        ("Lead", {"LastName": "H", "Company": "C", "OwnerId": "ken"}, 400, "INVALID_CROSS_REFERENCE_KEY"),
        ("Task", {"WhoId": "003000000000000001"}, 400, "INVALID_CROSS_REFERENCE_KEY"),
        ("Task", {"WhoId": "006000000000000001"}, 400, "FIELD_INTEGRITY_EXCEPTION"),
        ("Task", {"ActivityDate": "21.11.2026"}, 400, "JSON_PARSER_ERROR"),
        ("Case", {}, 404, "NOT_FOUND"),
    ],
)
async def test_what_the_local_server_takes(
    there: Salesforce, kind: str, body: dict[str, str], status: int, code: str
) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    login = {"Authorization": f"Bearer {next(iter(there.server.sessions))}"}
    async with httpx.AsyncClient(base_url=there.serving.url) as client:
        answer = await client.post(f"{DATA}/sobjects/{kind}", json=body, headers=login)
        assert (answer.status_code, code in answer.text) == (status, True)
        assert (await client.post(f"{DATA}/sobjects/{kind}", json=body)).status_code == 401
        assert (await client.post(f"{DATA}/sobjects/{kind}", content="x", headers=login)).status_code == 415


@pytest.mark.parametrize(
    ("status", "error", "failure", "code", "retry_after_s"),
    [
        (400, {"errorCode": "STRING_TOO_LONG", "fields": ["Subject"]}, Refused, "field_subject_string_too_long", None),
        (400, {"errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": []}, Refused, "field_custom_validation_exception", None),
        (400, {"errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE", "fields": ["Chat_Marker__c"]}, Unavailable, "setup_needed", None),
        (400, {"errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE", "fields": ["OwnerId"]}, Refused, "field_ownerid_invalid_field_for_insert_update", None),
        (400, {"errorCode": "UNABLE_TO_LOCK_ROW"}, Transient, "locked", None),
        (400, {}, Refused, "refused_400", None),
        (403, {"errorCode": "REQUEST_LIMIT_EXCEEDED"}, Unavailable, "rate_limited", RETRY_AFTER_MAX_S),
        (403, {"errorCode": "API_DISABLED_FOR_ORG"}, Unavailable, "login_refused", None),
        (503, {"errorCode": "SERVER_UNAVAILABLE"}, OutcomeUnknown, "server_error", None),
    ],
)  # fmt: skip
async def test_errors(
    there: Salesforce,
    world: World,
    status: int,
    error: dict[str, object],
    failure: type[EffectFailure],
    code: str,
    retry_after_s: float | None,
) -> None:
    hanako = await world.add("Hanako")
    await there.crm.find_marker("none", workspace_id=ACME)
    there.serving.turned_away = (status, {}, orjson.dumps([error | {"message": "hanako@example.com"}]))
    with pytest.raises(EffectFailure) as told:
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert type(told.value) is failure
    assert (told.value.code, getattr(told.value, "retry_after_s", None)) == (code, retry_after_s)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}], "rate_limited"),
        (403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "x"}], "login_refused"),
        (400, [], "answer_not_understood"),
        (200, {"rows": 1}, "answer_not_understood"),
    ],
)
async def test_an_error_within_a_composite_request(
    there: Salesforce, status: int, body: object, code: str
) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    part = {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": "q0"}
    there.serving.turned_away = (200, {}, orjson.dumps({"compositeResponse": [part]}))
    with pytest.raises(Unavailable, match=rf"\A{code}\Z"):
        await there.crm.find_people("h@example.com", workspace_id=ACME)
