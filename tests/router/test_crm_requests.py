"""Agents' requests to the CRM: each right, each refusal, and the notice that crm_sync works by."""

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.types import CrmRight
from tests.router.scenes import Scene
from tests.router.test_inbox import missed, staffed
from tests.router.test_properties import state_of

LEAD = e.CrmLeadRequested("c1", "ann", "Wants an offer.")
NOTE = e.CrmNoteRequested("c1", "ann", "Please call.")
PHONE = e.CrmPhoneSet("c1", "ann", "+81 3 1234 5678")


def scene_with(crm: CrmRight) -> Scene:
    scene = staffed()
    scene.agent("ann", crm=crm, email="ann@acme.test", team="Blue", group="East")
    scene.ask("c1", email="v@example.test", name="Vera")
    return scene


@pytest.mark.parametrize(
    ("crm", "request_", "heard"),
    [
        ("none", LEAD, "crm lead for c1"),
        ("none", NOTE, "crm note for c1"),
        ("none", PHONE, "refused: not_permitted"),
        ("user", LEAD, "crm lead for c1"),
        ("user", NOTE, "crm note for c1"),
        ("user", PHONE, "crm phone for c1"),
        ("admin", LEAD, "crm lead for c1"),
        ("admin", NOTE, "crm note for c1"),
        ("admin", PHONE, "crm phone for c1"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.TYPE,
)
def test_what_each_right_allows(crm: CrmRight, request_: e.Event, heard: str) -> None:
    scene = scene_with(crm)
    before = state_of(scene.partition)
    assert scene.say(request_) == [heard]
    after = state_of(scene.partition)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {key for key in changed if not key.startswith(b"seen/")} == {b"counts/acme/"}


@pytest.mark.parametrize("kind", [e.CrmLeadRequested, e.CrmNoteRequested, e.CrmPhoneSet])
@pytest.mark.parametrize(
    ("chat_id", "by", "code"), [("c1", "ghost", "unknown_agent"), ("c9", "ann", "unknown_chat")]
)
def test_agent_and_chat_must_be_known(
    kind: type[e.CrmLeadRequested | e.CrmNoteRequested | e.CrmPhoneSet], chat_id: str, by: str, code: str
) -> None:
    scene = scene_with("user")
    assert scene.say(kind(chat_id, by, "Text.")) == [f"refused: {code}"]
    assert scene.last(d.RequestRefused).subject == chat_id


@pytest.mark.parametrize(
    ("request_", "kind", "value"),
    [
        (LEAD, "lead", "Wants an offer."),
        (e.CrmLeadRequested("c1", "ann"), "lead", None),
        (NOTE, "note", "Please call."),
        (PHONE, "phone", "+81 3 1234 5678"),
    ],
)
def test_the_notice_holds_all_that_the_crm_worker_needs(
    request_: e.Event, kind: str, value: str | None
) -> None:
    scene = scene_with("user")
    scene.say(request_, event_id="r1")
    notice = scene.last(n.NoticeCrmRequested)
    assert (notice.request_id, notice.kind, notice.chat_id, notice.value) == ("r1", kind, "c1", value)
    assert notice.agent == d.AgentCard("ann", "Ann", "ann@acme.test", "Blue", "East")
    assert (notice.visitor.email, notice.visitor.name) == ("v@example.test", "Vera")
    assert len(notice.notice_id) == 26


def test_any_agent_may_ask_about_any_chat_that_is_known_ended_ones_too() -> None:
    scene = missed(staffed(), "c1")
    assert scene.say(e.CrmLeadRequested("c1", "eve")) == ["crm lead for c1"]
    scene.at(30 * 24 * 3600).wait(0)
    assert scene.say(e.CrmLeadRequested("c1", "eve")) == ["refused: unknown_chat"]
