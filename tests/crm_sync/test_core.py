from typing import Any

import pytest

from schemas.events import Visitor
from services.crm_sync import core
from services.crm_sync.addresses import email_key, usable_address
from services.crm_sync.connectors.embedded import DECLARED
from services.crm_sync.connectors.records import Person
from tests.crm_sync.material import lead_request, person, settings, transcript


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
        ([person("lead", 9), person("lead", 8)], {}, [person("lead", 8)], True),
    ],
)
def test_choose(people: list[Person], changes: dict[str, Any], chosen: list[Person], picked: bool) -> None:
    assert core.choose(people, settings(**changes)) == core.Attach(tuple(chosen), picked)


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
    ("request_changes", "policy", "email", "code"),
    [
        ({}, "on_request", "a@example.com", None),
        ({}, "always", "a@example.com", None),
        ({}, "never", "a@example.com", "not_permitted"),
        ({}, "on_request", None, "visitor_email_unknown"),
        ({"kind": "note"}, "on_request", "a@example.com", "not_supported"),
        ({"kind": "phone"}, "on_request", "a@example.com", "not_supported"),
    ],
)
def test_refusal(request_changes: dict[str, Any], policy: str, email: str | None, code: str | None) -> None:
    refused = core.refusal(
        lead_request(**request_changes), settings(lead_policy=policy), email=email, declared=DECLARED
    )
    assert refused == (None if code is None else core.Refusal(code))


def test_ids_differ_by_all_that_matters_and_by_nothing_else() -> None:
    first = transcript()
    same = transcript(question="another text", visitor_email="other@example.com")
    ids = [
        core.activity_id(first, workspace_id="acme"),
        core.activity_id(transcript(revision=2), workspace_id="acme"),
        core.activity_id(transcript(chat_id="c2"), workspace_id="acme"),
        core.activity_id(first, workspace_id="other"),
        core.request_id(lead_request(), workspace_id="acme"),
        core.lead_id("a@example.com", workspace_id="acme"),
        core.conversation_report("activity", first, workspace_id="acme", result="done").id,
        core.conversation_report("lead", first, workspace_id="acme", result="done").id,
        core.request_report(lead_request(), workspace_id="acme", result="done").id,
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
            person("lead", number), effect="E", workspace_id="acme", settings=settings(match_many=many)
        )

    assert marker(1, "newest") == marker(2, "newest") == "E"
    assert len({marker(1, "all"), marker(2, "all"), "E"}) == 3


def test_only_the_first_part_stands_for_its_conversation() -> None:
    assert [core.is_wanted(transcript(part=part, parts=3)) for part in (1, 2, 3)] == [True, False, False]
