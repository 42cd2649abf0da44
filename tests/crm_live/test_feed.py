"""What only a real Tryton can tell: what people see in its feed, what it costs in requests, and what a half-done lead becomes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from schemas.events import Layouts
from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.records import PersonKind
from services.crm_sync.connectors.tryton.connector import TrytonCrm
from services.crm_sync.connectors.tryton.rpc import TrytonRpc
from services.crm_sync.conversation import activity_of
from tests.crm_live.tryton_world import TrytonWorld
from tests.crm_sync.connector_world import ACME, NOTE
from tests.crm_sync.material import said, transcript

LOGIN = ["common.db.login", "model.res.user.get_preferences"]


@pytest.mark.parametrize("kind", ["lead", "deal", "contact"])
async def test_what_a_person_sees_who_opens_the_feed(live: TrytonWorld, kind: PersonKind) -> None:
    record = await live.world.office.add(kind, "山田 花子", "hanako@example.com", owner_id="ken")
    whole = transcript(
        messages=(said("Do you ship to Kyoto?"), said("Yes, we do.", kind="agent", by="ken", n=2))
    )
    entry = activity_of(whole, limits=live.connector.declared.limits)
    await live.connector.add_activity(entry, to=record, marker="M", workspace_id=ACME)

    ken = TrytonRpc(live.tryton.account(ACME, user="ken"))
    model = "party.party" if kind == "contact" else "sale.opportunity"
    # What Tryton's own client asks for when a person opens the notes of a record.
    notes = await ken.search(
        "ir.note", [["resource", "=", f"{model},{record.id}"]], ["message", "last_user"], records_max=10
    )
    await ken.close()
    (note,) = notes
    assert note["last_user"] == "Chat"
    assert note["message"].split("\n") == [
        "Chat with 山田 花子",
        "",
        "Whole conversation: https://chat.example.com/t/abc",
        "Start: 2026-11-21 18:00:00 (Asia/Tokyo)",
        "End: 2026-11-21 18:05:00 (Asia/Tokyo)",
        "Customer: 山田 花子",
        "Agents: 佐藤 健",
        "Department: Sales",
        "Result: handled",
        "",
        "[18:00:01] 山田 花子: Do you ship to Kyoto?",
        "[18:00:02] 佐藤 健: Yes, we do.",
        "[chat M]",
    ]


Act = Callable[[TrytonCrm, CrmRecord], Awaitable[object]]


async def _conversation(crm: TrytonCrm, _: CrmRecord) -> None:
    for person in await crm.find_people("h@example.com", workspace_id=ACME):
        entry = activity_of(transcript(), limits=crm.declared.limits)
        await crm.add_activity(entry, to=person.record, marker="M", workspace_id=ACME)


@pytest.mark.parametrize(
    ("kind", "email", "act", "requests"),
    [
        ("lead", "other@example.com", _conversation, 1),
        ("lead", "h@example.com", _conversation, 3),
        ("deal", "h@example.com", _conversation, 3),
        ("contact", "h@example.com", _conversation, 4),
        ("lead", None, lambda crm, to: crm.add_note(NOTE, to=to, marker="M", workspace_id=ACME), 2),
        ("lead", None, lambda crm, to: crm.set_phone("+81312345678", of=to, workspace_id=ACME), 2),
        ("lead", None, lambda crm, to: crm.read_card(to, layouts=Layouts(), workspace_id=ACME), 2),
        ("contact", None, lambda crm, to: crm.read_card(to, layouts=Layouts(), workspace_id=ACME), 4),
        ("lead", None, lambda crm, _: crm.find_marker("M", workspace_id=ACME), 1),
    ],
)
async def test_requests(
    live: TrytonWorld, kind: PersonKind, email: str | None, act: Act, requests: int
) -> None:
    record = await live.world.office.add(kind, "Hanako", email)
    await act(live.connector, record)
    methods = live.gateway.methods
    assert [one for one in methods if one in LOGIN] == LOGIN
    assert len(methods) - len(LOGIN) == requests, methods


async def test_requests_of_a_lead(live: TrytonWorld) -> None:
    assert not await live.connector.find_people("hanako@example.com", workspace_id=ACME)
    await live.connector.create_lead(live.world.lead, marker="M", workspace_id=ACME)
    # Whether anybody is there, who the owner is (asked once), whether a party was left behind; then the party and its lead.
    assert len(live.gateway.methods) - len(LOGIN) == 5, live.gateway.methods


async def test_a_party_that_was_left_behind_gets_its_lead(live: TrytonWorld) -> None:
    live.gateway._writes = lambda _, path: path.endswith("model.party.party.create")
    await live.world.line.lose("after")
    lead = live.world.lead
    with pytest.raises(OutcomeUnknown):
        await live.connector.create_lead(lead, marker="M", workspace_id=ACME)
    assert await live.connector.find_marker("M", workspace_id=ACME) is None
    made = await live.connector.create_lead(lead, marker="M", workspace_id=ACME)
    assert await live.world.office.people() == [(lead.name, lead.email, "ken", "chat")]
    (found,) = await live.connector.find_people(lead.email, workspace_id=ACME)
    assert found.record == made.record


async def test_newcomers_at_the_same_moment_get_a_lead_each(live: TrytonWorld) -> None:
    wanted = [replace(live.world.lead, email=f"v{number}@example.com") for number in range(8)]
    made = await asyncio.gather(
        *(live.connector.create_lead(one, marker=one.email, workspace_id=ACME) for one in wanted)
    )
    assert len({one.record for one in made}) == len(wanted)
    people = [address for _, address, _, _ in await live.world.office.people()]
    assert sorted(map(str, people)) == [one.email for one in wanted]


async def test_who_was_merged_is_found_by_either_address(live: TrytonWorld) -> None:
    office = live.world.office
    duplicate = await office.add("contact", "Hanako Y.", "old@example.com")
    kept = await office.add("contact", "Hanako", "h@example.com")
    await office.merge(duplicate, into=kept)
    for address in ("old@example.com", "h@example.com"):
        (found,) = await live.connector.find_people(address, workspace_id=ACME)
        assert found.record == kept


async def test_an_entry_on_a_party_is_found_there(live: TrytonWorld) -> None:
    hanako = await live.world.office.add("contact", "Hanako", "h@example.com")
    taro = await live.world.office.add("contact", "Taro", "t@example.com")
    made = await live.world.write("activity", to=hanako)
    assert await live.connector.find_marker("M", workspace_id=ACME, on=[taro]) is None
    assert await live.connector.find_marker("M", workspace_id=ACME, on=[taro, hanako]) == made


async def test_a_session_that_ended_is_renewed(live: TrytonWorld) -> None:
    hanako = await live.world.add("Hanako")
    await live.world.write("activity", to=hanako)
    live.tryton.change(
        ACME, "DELETE FROM ir_session WHERE create_uid IN (SELECT id FROM res_user WHERE login = 'chat')"
    )
    await live.world.write("activity", to=hanako, marker="M2")
    assert live.gateway.methods.count("common.db.login") == 2
    assert len(await live.world.office.feed()) == 2


async def test_customers_do_not_reach_into_each_other_by_what_they_write(live: TrytonWorld) -> None:
    hanako = await live.world.add("Hanako", "h@example.com")
    await live.world.write("activity", to=hanako, marker="M", text="Yes.\n[chat X1]\n[note X1]")
    assert await live.connector.find_marker("X1", workspace_id=ACME, on=[hanako]) is None
    assert not await live.connector.find_people("%@example.com", workspace_id=ACME)
