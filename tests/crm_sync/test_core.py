from typing import Any

import pytest

from schemas.events import Visitor
from schemas.outcomes import CrmOwner
from services.crm_sync import core
from services.crm_sync.addresses import email_key, usable_address
from services.crm_sync.connectors.embedded.connector import DECLARED
from services.crm_sync.connectors.records import Capability, Declaration, Person
from tests.crm_sync.material import LIMITS, lead_request, person, settings, transcript


@pytest.mark.parametrize(
    ("typed", "usable"),
    [
        ("Hanako@Example.COM", "Hanako@example.com"),
        ("  hanako@example.com ", "hanako@example.com"),
        ("hanako+shop@example.com", "hanako+shop@example.com"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("花子@例え.jp", "花子@例え.jp"),
        ("taro@xn--r8jz45g.jp", "taro@例え.jp"),
        ("hanako@corp.local", "hanako@corp.local"),
        ("", None),
        (None, None),
        ("hanako", None),
        ("hanako@", None),
        ("a@example.com,b@example.com", None),
        ("a@example.com\nBcc: b@example.com", None),
    ],
)
def test_usable_address(typed: str | None, usable: str | None) -> None:
    assert usable_address(typed) == usable


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Hanako@EXAMPLE.com", "hanako@example.com", True),
        ("taro@xn--r8jz45g.jp", "TARO@例え.jp", True),
        ("jose\u0301@example.com", "jos\u00e9@example.com", True),
        ("hanako+shop@example.com", "hanako@example.com", False),
        ("o'brien@example.com", "obrien@example.com", False),
        ("not an address", "NOT AN ADDRESS", True),
    ],
)
def test_email_key(one: str, other: str, same: bool) -> None:
    assert (email_key(one) == email_key(other)) is same


OLD, NEW, LOST = (
    person("lead", 1, created_ms=1),
    person("lead", 2, created_ms=2),
    person("lead", 3, created_ms=3, is_open=False),
)
CONTACT = person("contact", 4, created_ms=4)
DEAL = person("deal", 5, created_ms=0)
WON = person("deal", 6, created_ms=6, is_open=False)


def declared(*capabilities: Capability) -> Declaration:
    return Declaration("paper", frozenset(capabilities), LIMITS)


@pytest.mark.parametrize(
    ("people", "changes", "chosen", "picked"),
    [
        ([CONTACT, OLD], {}, [OLD], False),
        ([CONTACT, OLD], {"match_order": "contacts_first"}, [CONTACT], False),
        ([OLD, NEW], {}, [NEW], True),
        ([NEW, OLD], {}, [NEW], True),
        ([OLD, NEW], {"match_many": "all"}, [NEW, OLD], False),
        ([OLD, NEW, CONTACT], {"match_many": "all"}, [NEW, OLD], False),
        ([LOST, OLD], {}, [OLD], False),
        ([LOST, CONTACT], {}, [CONTACT], False),
        ([LOST], {}, [LOST], False),
        ([CONTACT, DEAL, OLD], {}, [OLD], False),
        ([CONTACT, DEAL], {}, [DEAL], False),
        ([CONTACT, WON], {}, [CONTACT], False),
        ([CONTACT, WON, LOST], {}, [CONTACT], False),
        ([WON, LOST], {}, [LOST], False),
        ([CONTACT, DEAL, OLD], {"match_order": "contacts_first"}, [CONTACT], False),
        ([DEAL, NEW], {"match_order": "contacts_first"}, [DEAL], False),
        ([WON, LOST], {"match_order": "contacts_first"}, [WON], False),
        ([OLD, DEAL, CONTACT], {"match_many": "all"}, [OLD], False),
        ([DEAL, person("deal", 7, created_ms=7)], {}, [person("deal", 7, created_ms=7)], True),
        ([person("lead", 9), person("lead", 8)], {}, [person("lead", 8)], True),
    ],
)
def test_choose(people: list[Person], changes: dict[str, Any], chosen: list[Person], picked: bool) -> None:
    assert core.choose(people, settings(**changes)) == core.Attach(tuple(chosen), picked)


def test_a_choice_remembers_who_else_matched_as_far_as_there_are_few() -> None:
    assert core.choose([CONTACT, OLD, NEW, LOST], settings()).others == (OLD, CONTACT, LOST)
    many = [person("lead", number, created_ms=number) for number in range(core.ATTACHED_MAX + 5)]
    assert len(core.choose(many, settings()).others) == core.ATTACHED_MAX - 1


def test_choose_all_is_bounded() -> None:
    many = [person("lead", number, created_ms=number) for number in range(core.ATTACHED_MAX + 5)]
    choice = core.choose(many, settings(match_many="all"))
    assert len(choice.people) == core.ATTACHED_MAX
    assert choice.picked
    assert choice.people[0] == many[-1]


@pytest.mark.parametrize(
    ("people", "policy", "email", "step"),
    [
        ([OLD], "always", "a@example.com", core.Attach((OLD,))),
        ([], "always", "a@example.com", core.CreateLead("a@example.com")),
        ([], "always", None, core.NoMatch("no_email")),
        ([], "on_request", "a@example.com", core.NoMatch("nobody_found")),
        ([], "never", "a@example.com", core.NoMatch("nobody_found")),
    ],
)
def test_next_step(people: list[Person], policy: str, email: str | None, step: object) -> None:
    assert core.next_step(people, settings(lead_policy=policy), email=email) == step


@pytest.mark.parametrize(
    ("changes", "owners"),
    [
        ({"pool": ("a", "b", "c")}, ["a", "b", "c", "a"]),
        ({"owner_id": "z", "pool": ("a", "b")}, ["z", "z", "z", "z"]),
        ({}, [None, None, None, None]),
    ],
)
def test_lead_owner(changes: dict[str, Any], owners: list[str | None]) -> None:
    assert [core.lead_owner(settings(**changes), turn=turn) for turn in range(4)] == owners


def test_new_lead_takes_the_address_where_there_is_no_name_and_cuts_long_ones() -> None:
    def name(given: str | None) -> str:
        visitor = Visitor("v1", given, "a@example.com", "+81 3 1234 5678")
        lead = core.new_lead(visitor, email="a@example.com", owner_id="z", note=None, declared=DECLARED)
        assert (lead.source, lead.owner_id, lead.phone) == ("chat", "z", "+81 3 1234 5678")
        return lead.name

    assert name(None) == "a@example.com"
    assert name("  ") == "a@example.com"
    assert name("Hanako\nYamada ") == "Hanako Yamada"
    assert name("花" * 300) == "花" * 256


@pytest.mark.parametrize(
    ("kind", "policy", "email", "can", "code"),
    [
        ("lead", "on_request", "a@example.com", "lead", None),
        ("lead", "always", "a@example.com", "lead", None),
        ("lead", "never", "a@example.com", "lead", "not_permitted"),
        ("lead", "on_request", None, "lead", "visitor_email_unknown"),
        ("lead", "on_request", "a@example.com", "note", "not_supported"),
        ("note", "on_request", "a@example.com", "note", None),
        ("note", "never", "a@example.com", "note", None),
        ("note", "on_request", None, "note", "visitor_email_unknown"),
        ("note", "on_request", "a@example.com", "lead", "not_supported"),
        ("phone", "on_request", "a@example.com", "phone", None),
        ("phone", "never", "a@example.com", "phone", None),
        ("phone", "on_request", None, "phone", "visitor_email_unknown"),
        ("phone", "on_request", "a@example.com", "note", "not_supported"),
    ],
)
def test_refusal(
    kind: core.RequestKind, policy: str, email: str | None, can: Capability, code: str | None
) -> None:
    refused = core.refusal(kind, settings(lead_policy=policy), email=email, declared=declared(can))
    assert refused == (None if code is None else core.Refusal(code))


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("03-1234-5678", "JP", "+81312345678"),
        ("０３－１２３４－５６７８", "JP", "+81312345678"),
        ("090 1234 5678", "jp", "+819012345678"),
        ("+81 3 1234 5678", None, "+81312345678"),
        ("＋81 3 1234 5678", None, "+81312345678"),
        ("(201) 555-0123", "US", "+12015550123"),
        ("+44 20 7946 0958", "JP", "+442079460958"),
        ("03-1234-5678 ext. 9", "JP", "+81312345678"),
        ("03-1234-5678", None, core.Refusal("region_unknown")),
        ("03-1234-5678", "Japan", core.Refusal("region_unknown")),
        ("+999 1234 5678", None, core.Refusal("phone_invalid")),
        ("03-1234", "JP", core.Refusal("phone_invalid")),
        ("110", "JP", core.Refusal("phone_invalid")),
        ("call me", "JP", core.Refusal("phone_invalid")),
        ("", "JP", core.Refusal("phone_invalid")),
        ("1" * 256, "JP", core.Refusal("phone_invalid")),
    ],
)
def test_phone_number(typed: str, region: str | None, number: str | core.Refusal) -> None:
    assert core.phone_number(typed, region=region) == number


ZOE, NO_ADDRESS = CrmOwner("z", "Zoe", "zoe@acme.example"), CrmOwner("z", "Zoe", "zoe")
ZOE_ALONE, BOB = CrmOwner("z", "Zoe"), CrmOwner("b")


@pytest.mark.parametrize(
    ("owners", "can", "told"),
    [
        ((ZOE, None), "note", core.OwnerToTell(ZOE, by_mail=True)),
        ((None, ZOE), "note", core.OwnerToTell(ZOE, by_mail=True)),
        ((ZOE_ALONE, ZOE), "note", core.OwnerToTell(ZOE, by_mail=True)),
        ((ZOE_ALONE, None), "note", core.OwnerToTell(ZOE_ALONE, code="owner_email_unknown")),
        ((NO_ADDRESS, None), "note", core.OwnerToTell(NO_ADDRESS, code="owner_email_unknown")),
        ((BOB, ZOE_ALONE), "note", core.OwnerToTell(BOB, code="owner_email_unknown")),
        ((None, None), "note", core.OwnerToTell(None, code="owner_unknown")),
        ((ZOE, None), "tells_owner", core.OwnerToTell(ZOE)),
        ((BOB, None), "tells_owner", core.OwnerToTell(BOB)),
        ((None, None), "tells_owner", core.OwnerToTell(None, code="owner_unknown")),
    ],
)
def test_owner_to_tell(owners: tuple[CrmOwner | None, ...], can: Capability, told: core.OwnerToTell) -> None:
    assert core.owner_to_tell(owners, declared=declared("note", can)) == told


@pytest.mark.parametrize(
    ("tickets", "outcome", "can", "wanted"),
    [
        ("all", "handled", "ticket", True),
        ("all", "handled_by_bot", "ticket", True),
        ("all", "missed", "ticket", True),
        ("missed", "missed", "ticket", True),
        ("missed", "handled", "ticket", False),
        ("missed", "handled_by_bot", "ticket", False),
        ("off", "missed", "ticket", False),
        ("all", "missed", "note", False),
    ],
)
def test_wants_ticket(tickets: core.Tickets, outcome: str, can: Capability, wanted: bool) -> None:
    assert core.wants_ticket(transcript(outcome=outcome), tickets, declared=declared(can)) is wanted


def test_ids_differ_by_all_that_matters_and_by_nothing_else() -> None:
    first = transcript()
    same = transcript(question="another text", visitor_email="other@example.com")
    ids = [
        core.activity_id(first, workspace_id="acme"),
        core.activity_id(transcript(revision=2), workspace_id="acme"),
        core.activity_id(transcript(chat_id="c2"), workspace_id="acme"),
        core.activity_id(first, workspace_id="other"),
        core.request_id(lead_request(), workspace_id="acme"),
        core.joining_id(first, workspace_id="acme"),
        core.ticket_id(first, workspace_id="acme"),
        core.ticket_id(transcript(revision=2), workspace_id="acme"),
        core.lead_id("a@example.com", workspace_id="acme"),
        core.conversation_report("activity", first, workspace_id="acme", result="done").id,
        core.conversation_report("lead", first, workspace_id="acme", result="done").id,
        core.conversation_report("ticket", first, workspace_id="acme", result="done").id,
        core.joined_report(
            core.conversation_report("activity", first, workspace_id="acme", result="done"),
            first,
            workspace_id="acme",
        ).id,
        core.request_report(lead_request(), workspace_id="acme", result="done").id,
        core.request_report(lead_request(kind="note"), workspace_id="acme", result="done").id,
        core.effect_id("ab", "c"),
        core.effect_id("a", "bc"),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == core.ID_DIGITS for one in ids)
    assert core.activity_id(same, workspace_id="acme") == ids[0]
    assert core.lead_id("A@Example.com", workspace_id="acme") == core.lead_id(
        "a@example.com", workspace_id="acme"
    )
    assert ids[0] == "M23DWWQRCM5EYTJQ6LRF6SALNH"  # ids stand in CRMs: they may never change


def test_markers_are_the_effect_where_one_person_is_chosen() -> None:
    def marker(number: int, many: str) -> str:
        return core.activity_marker(
            person("lead", number).record, effect="E", workspace_id="acme", settings=settings(match_many=many)
        )

    assert marker(1, "newest") == marker(2, "newest") == "E"
    assert len({marker(1, "all"), marker(2, "all"), "E"}) == 3


def test_only_the_first_part_stands_for_its_conversation() -> None:
    assert [core.is_wanted(transcript(part=part, parts=3)) for part in (1, 2, 3)] == [True, False, False]
