"""The card beside a chat, with the archive's real read API before it: who sees what, what may be done, and what the CRM is asked."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.events import Layouts
from schemas.memory import KNOWN_CLOSED_S, KNOWN_MISSED_S
from schemas.types import Outcome
from services.crm_sync.cards.answers import AGE_S
from services.crm_sync.cards.archive import ChatVisitor, Rights
from services.crm_sync.cards.card import Action, Actions
from services.crm_sync.connectors.records import Capability
from services.crm_sync.reasons import sentence
from tests.crm_sync.cabinet import ALL, OWNER
from tests.crm_sync.desk import (
    CHAT,
    EMAIL,
    LATER,
    LIMIT_S,
    NOW_MS,
    Desk,
    a_desk,
    an_archive,
)
from tests.crm_sync.material import settings
from tests.transcript.company import ENDED, LIVING, bearer, of


def _action(reason: str | None) -> dict[str, Any]:
    told = None if reason is None else sentence(reason, "en")
    return {"possible": reason is None, "reason": reason, "told": told}


# ---------------------------------------------------------------- what is shown


async def test_a_card_is_laid_out_and_says_what_may_be_done(desk: Desk) -> None:
    desk.known["acme"] = settings(connector="cabinet", layouts=Layouts(lead=("likes", "gone", "name")))
    desk.crm.add(EMAIL, workspace_id="acme", kind="contact", created_ms=9)
    lead = desk.crm.add(EMAIL, workspace_id="acme")
    assert await desk.card(of("ann")) == {
        "chat_id": CHAT,
        "visitor_id": "visitor",
        "read_at": "2026-11-18T11:06:40.000Z",
        "reason": None,
        "told": None,
        "kind": "lead",
        "matches": 2,
        "sections": [
            {
                "kind": "lead",
                "name": lead.id,
                "fields": [
                    {
                        "field": {"name": "likes", "label": "お好み", "custom": True, "of_owner": False},
                        "value": "金",
                    },
                    {
                        "field": {"name": "name", "label": "Name", "custom": False, "of_owner": False},
                        "value": lead.id,
                    },
                ],
            }
        ],
        "unknown_fields": {"lead": ["gone"], "person": [], "company": []},
        "record": {"type": "lead", "id": lead.id, "url": lead.url},
        "owner": {"id": OWNER.id, "name": OWNER.name, "email": OWNER.email},
        "feed_limit": None,
        "actions": {
            "create_lead": _action("already_a_customer"),
            "notify_sales": _action(None),
            "set_phone": _action(None),
        },
    }


async def test_every_agent_sees_the_card_of_every_chat_and_some_its_owner(desk: Desk) -> None:
    for email in (EMAIL, LATER):
        desk.crm.add(email, workspace_id="acme")
    for chat_id in ENDED | LIVING:
        for agent_id, sees in (("ann", True), ("bob", False), ("sue", False), ("ada", False)):
            card = await desk.card(of(agent_id), chat=chat_id)
            names = [one["field"]["name"] for section in card["sections"] for one in section["fields"]]
            assert names == ["name", "email", *(["owner"] if sees else []), "likes"]
            assert (card["record"] is not None, card["owner"] is not None) == (sees, sees)
            shown = LATER if chat_id == "support-bob-now" else EMAIL
            assert shown in [one["value"] for one in card["sections"][0]["fields"]]
    assert (await desk.card(bearer("admin")))["owner"] is not None, "a program reads as admin"


POSSIBLE = None
WANTED = ("create_lead", "notify_sales", "set_phone")


@pytest.mark.parametrize(
    ("changes", "capabilities", "there", "reason", "reasons"),
    [
        ({}, ALL, True, None, ["already_a_customer", POSSIBLE, POSSIBLE]),
        ({}, ALL, False, "nobody_found", [POSSIBLE, "nobody_found", "nobody_found"]),
        (
            {"lead_policy": "never"},
            ALL,
            False,
            "nobody_found",
            ["not_permitted", "nobody_found", "nobody_found"],
        ),
        ({"connector": "none"}, ALL, True, "crm_not_configured", ["crm_not_configured"] * 3),
        ({"connector": "elsewhere"}, ALL, True, "unknown_connector", ["unknown_connector"] * 3),
        ({}, ALL - {"card"}, True, "not_supported", ["already_a_customer", POSSIBLE, POSSIBLE]),
        ({}, ALL - {"note"}, True, None, ["already_a_customer", "not_supported", POSSIBLE]),
        ({}, ALL - {"phone"}, True, None, ["already_a_customer", POSSIBLE, "not_supported"]),
        ({}, ALL - {"lead"}, False, "nobody_found", ["not_supported", "nobody_found", "nobody_found"]),
    ],
)
async def test_why_not(
    archive_url: str,
    changes: dict[str, Any],
    capabilities: frozenset[Capability],
    there: bool,
    reason: str | None,
    reasons: list[str | None],
) -> None:
    async with an_archive(archive_url) as archive, a_desk(archive, capabilities) as desk:
        desk.known["acme"] = settings(**({"connector": "cabinet"} | changes))
        if there:
            desk.crm.add(EMAIL, workspace_id="acme")
        card = await desk.card(of("ann"))
        assert card["reason"] == reason
        assert card["actions"] == {
            name: _action(why_not) for name, why_not in zip(WANTED, reasons, strict=True)
        }
        of_bob = (await desk.card(of("bob")))["actions"]
        assert of_bob == card["actions"] | {"set_phone": _action("not_permitted")}
        del desk.known["acme"]
        assert (await desk.card(of("ann")))["reason"] == "crm_not_configured"


@pytest.mark.parametrize("email", [None, "", "no address", "a@b@c"])
async def test_without_an_address_the_crm_is_not_asked(desk: Desk, email: str | None) -> None:
    visitor = ChatVisitor("v1", email, None, None, Rights("user"))
    card = await desk.cards.card(CHAT, visitor, workspace_id="acme", language="ja")
    why, told = "visitor_email_unknown", "お客様のメールアドレスが分かりません。"
    assert (card.reason, card.told, card.matches, card.sections) == (why, told, 0, ())
    assert card.actions == Actions(*[Action(possible=False, reason=why, told=told)] * 3)
    assert not desk.crm.calls


@pytest.mark.parametrize(
    ("outcome", "ended_s_ago", "reason"),
    [
        (None, None, None),
        ("handled", KNOWN_CLOSED_S - 1, None),
        ("handled", KNOWN_CLOSED_S, "unknown_chat"),
        ("handled_by_bot", KNOWN_CLOSED_S, "unknown_chat"),
        ("missed", KNOWN_CLOSED_S, None),
        ("missed", KNOWN_MISSED_S, "unknown_chat"),
    ],
)
async def test_of_a_chat_the_router_has_forgotten_the_card_is_only_looked_at(
    desk: Desk, outcome: Outcome | None, ended_s_ago: int | None, reason: str | None
) -> None:
    ended_at = (
        None
        if ended_s_ago is None
        else datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(seconds=ended_s_ago)
    )
    desk.crm.add(EMAIL, workspace_id="acme")
    visitor = ChatVisitor("v1", EMAIL, outcome, ended_at, Rights("user"))
    card = await desk.cards.card(CHAT, visitor, workspace_id="acme", language="en")
    assert (card.kind, card.reason) == ("lead", None)
    assert asdict(card.actions.notify_sales) == _action(reason)


async def test_the_person_is_the_one_the_conversation_will_be_filed_with(desk: Desk) -> None:
    contact = desk.crm.add(EMAIL, workspace_id="acme", kind="contact", created_ms=1)
    desk.crm.add(EMAIL, workspace_id="acme", created_ms=8)
    newest = desk.crm.add(EMAIL, workspace_id="acme", created_ms=9)
    assert (await desk.card(of("ann")))["record"]["id"] == newest.id
    desk.known["acme"] = settings(connector="cabinet", match_order="contacts_first", match_many="all")
    card = await desk.card(of("ann"))
    assert (card["record"]["id"], card["kind"], card["matches"]) == (contact.id, "contact", 3)


async def test_a_record_that_goes_meanwhile_is_looked_for_once_more(desk: Desk) -> None:
    gone = desk.crm.add(EMAIL, workspace_id="acme")
    desk.crm.gone.add(gone)
    assert (await desk.card(of("ann")))["reason"] == "record_gone"
    assert desk.crm.calls == ["find_people", "read_card"] * 2


# ---------------------------------------------------------------- how often the CRM is asked


async def test_fifty_at_once_ask_the_crm_once(desk: Desk) -> None:
    desk.crm.add(EMAIL, workspace_id="acme")
    desk.crm.open.clear()
    asking = [asyncio.create_task(desk.card(of("ann"), chat=chat)) for chat in [CHAT, "sales-sue"] * 25]
    async with asyncio.timeout(LIMIT_S):
        await desk.crm.called.wait()
    asking[0].cancel()
    desk.crm.open.set()
    cards = await asyncio.gather(*asking[1:])
    assert {card["kind"] for card in cards} == {"lead"}
    assert desk.crm.calls == ["find_people", "read_card"]


async def test_a_card_is_at_most_so_old(desk: Desk) -> None:
    assert (await desk.card(of("ann")))["reason"] == "nobody_found"
    desk.crm.add(EMAIL, workspace_id="acme")
    desk.clock_s[0] = AGE_S - 1
    assert (await desk.card(of("ann")))["reason"] == "nobody_found"
    desk.clock_s[0] = AGE_S
    assert (await desk.card(of("ann")))["kind"] == "lead"


async def test_what_changed_and_another_layout_are_seen_at_once(desk: Desk) -> None:
    assert (await desk.card(of("bob")))["reason"] == "nobody_found"
    desk.crm.add(EMAIL, workspace_id="acme")
    desk.answers.forget(EMAIL, workspace_id="acme")
    assert (await desk.card(of("bob")))["kind"] == "lead"
    for names in (("email",), ("likes", "email"), ()):
        desk.known["acme"] = settings(connector="cabinet", layouts=Layouts(lead=names))
        for agent_id in ("ann", "bob", "sue"):
            (section,) = (await desk.card(of(agent_id)))["sections"]
            assert [one["field"]["name"] for one in section["fields"]][: len(names)] == list(names)


# ---------------------------------------------------------------- fields and layouts


async def test_who_lays_out_cards_sees_the_fields_and_what_a_layout_names_in_vain(desk: Desk) -> None:
    desk.known["acme"] = settings(
        connector="cabinet", layouts=Layouts(lead=("likes", "Likes"), person=("name",), company=("name",))
    )
    for agent_id in ("ann", "bob", "ada"):
        response = await desk.http.get("/v1/acme/crm/fields", headers=of(agent_id))
        assert response.status_code == 403
    assert not desk.crm.calls
    told = (await desk.http.get("/v1/acme/crm/fields", headers=bearer("admin"))).json()
    assert told["reason"] is None
    assert [one["name"] for one in told["fields"]["lead"]] == ["name", "email", "owner", "likes"]
    assert [one["name"] for one in told["fields"]["lead"] if one["custom"]] == ["likes"]
    assert told["layouts"] == {"lead": ["likes", "Likes"], "person": ["name"], "company": ["name"]}
    assert told["unknown_fields"] == {"lead": ["Likes"], "person": ["name"], "company": []}
    desk.known["acme"] = settings(connector="none")
    told = (await desk.http.get("/v1/acme/crm/fields", headers=bearer("admin"))).json()
    assert (told["reason"], told["fields"]) == ("crm_not_configured", {})


async def test_what_a_layout_names_in_vain_is_told_once_for_each_change(desk: Desk) -> None:
    desk.crm.add(EMAIL, workspace_id="acme")
    counted = []
    with capture_logs() as logs:
        for names in (
            (),
            ("gone", "name"),
            ("gone", "name"),
            ("gone", "lost"),
            ("name",),
            ("gone",),
            (),
            ("gone",),
        ):
            desk.known["acme"] = settings(connector="cabinet", layouts=Layouts(lead=names))
            for _ in range(2):
                await desk.card(of("ann"))
            counted.append(desk.metrics.value("card_fields_unknown_total"))
    assert counted == [0, 1, 1, 3, 3, 4, 4, 5]
    assert [one["count"] for one in logs] == [1, 2, 0, 1, 0, 1], "and once when it is mended"


async def test_without_cards_there_are_no_fields(archive_url: str) -> None:
    async with an_archive(archive_url) as archive, a_desk(archive, ALL - {"card"}) as desk:
        told = (await desk.http.get("/v1/acme/crm/fields", headers=bearer("admin"))).json()
        assert (told["reason"], told["fields"]) == ("not_supported", {})
