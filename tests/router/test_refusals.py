"""What can't be granted is refused with a code, changes nothing, and the next record is decided; repeats say nothing."""

import pytest

from schemas import decisions as d
from schemas import events as e
from services.router.core.seen import SEEN_MAX, Seen
from services.router.processor import RouterProcessor
from tests.router.scenes import Scene, office
from tests.router.test_changelog import records_of
from tests.router.test_properties import REFUSALS_ONLY, changed_by


def told(scene: Scene) -> tuple[str, str, str, str | None]:
    refused = scene.last(d.RequestRefused)
    return refused.request_id, refused.request_type, refused.code, refused.subject


def test_a_refusal_names_the_request_and_its_subject() -> None:
    scene = office("ann")
    scene.say(e.OfferAccepted("o1", "c1", "ann"), event_id="r1")
    assert told(scene) == ("r1", "offer.accepted.v1", "unknown_chat", "o1")
    assert scene.last(d.RequestRefused).message


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (e.OfferAccepted("o1", "c1", "nobody"), "unknown_agent"),
        (e.OfferAccepted("o1", "c9", "ann"), "unknown_chat"),
        (e.OfferAccepted("o1", "c1", "ann"), "offer_not_open"),
        (e.OfferDeclined("o1", "c1", "nobody"), "unknown_agent"),
        (e.OfferDeclined("o1", "c9", "ann"), "unknown_chat"),
        (e.OfferDeclined("o1", "c1", "bob"), "offer_not_open"),
        (e.ChatMessage("c1", "m", e.Sender("agent", "nobody"), "Text."), "unknown_agent"),
        (e.ChatMessage("c1", "m", e.Sender("agent"), "Text."), "unknown_agent"),
        (e.ChatMessage("c1", "m", e.Sender("agent", "bob"), "Text."), "not_owner"),
        (e.ChatMessage("c1", "m", e.Sender("agent", "bob"), "Text.", internal=True), "not_owner"),
        (e.ChatMessage("c0", "m", e.Sender("agent", "ann"), "Text."), "chat_not_live"),
        (e.ChatEndRequested("c9", e.By("visitor")), "unknown_chat"),
        (e.ChatEndRequested("c0", e.By("visitor")), "chat_not_live"),
        (e.ChatEndRequested("c1", e.By("agent", "bob")), "not_permitted"),
        (e.ChatFeedback("c9", 3), "unknown_chat"),
        (e.ChatRequested("c1", "web", "How?", e.Visitor("v")), "chat_already_exists"),
        (e.ChatRequested("c0", "web", "How?", e.Visitor("v")), "chat_already_exists"),
        (e.ChatRequested("c2", "line", "How?", e.Visitor("v")), "channel_disabled"),
        (e.AgentPresence("nobody", "online"), "unknown_agent"),
        (e.AgentDeleted("nobody"), "unknown_agent"),
        (e.DepartmentDeleted("nowhere"), "unknown_department"),
        (e.DepartmentDeleted("acme"), "not_permitted"),
        (e.DepartmentConfigured("acme", "Acme", visibility="private"), "not_permitted"),
        (e.VisitorIpBlocked("10.0.0.1/32", "nobody"), "unknown_agent"),
        (e.MonitorConfigured("m", "agent", "bob", "ann"), "not_permitted"),
        (e.MonitorDeleted("m", "ann"), "not_permitted"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.TYPE,
)
def test_codes_and_that_nothing_changes(request_: e.Event, code: str) -> None:
    scene = Scene()
    scene.workspace(channels=("web",))
    scene.department("ann", "bob")
    scene.agents("ann", "bob")
    scene.ask("c0")
    scene.leave("c0")
    scene.served("ann", "c1")
    assert changed_by(scene, request_) == ([f"refused: {code}"], REFUSALS_ONLY)
    assert scene.ask("c5")[0].startswith("offered c5")


@pytest.mark.parametrize(
    "said",
    [
        e.VisitorLeft("c9"),
        e.VisitorReturned("c9"),
        e.VisitorUpdated("c9", e.VisitorPatch(name="Vera")),
        e.ChatMessage("c9", "m", e.Sender("visitor"), "Text."),
        e.ChatMessage("c9", "m", e.Sender("agent", "ann"), "Text."),
        e.CannedCategoryConfigured("k", "Greetings"),
        e.CannedCategoryDeleted("k"),
        e.CannedMessageConfigured("m", "Hello."),
        e.CannedMessageDeleted("m"),
        e.VisitorIpUnblocked("10.0.0.1/32", "ann"),
    ],
    ids=lambda said: said.TYPE,
)
def test_what_says_nothing(said: e.Event) -> None:
    scene = office("ann")
    assert changed_by(scene, said) == ([], set())


def test_an_agent_of_another_workspace_is_unknown() -> None:
    scene = office("ann")
    scene.ask("c1")
    offer_id = scene.offer_id("c1")
    other = Scene("other")
    other.partition = scene.partition
    assert other.accept("ann", "c1", offer_id=offer_id) == ["refused: unknown_agent"]
    other.agents("ann")
    assert other.accept("ann", "c1", offer_id=offer_id) == ["refused: unknown_chat"]
    assert scene.chat("c1").offer is not None


# ---------------------------------------------------------------- repeats


def test_the_same_source_and_id_within_a_day_changes_nothing() -> None:
    scene = office("ann")
    request = e.ChatRequested("c1", "web", "How?", e.Visitor("v"), "office")
    assert scene.say(request, event_id="r1") == ["offered c1 to ann"]
    assert scene.say(request, event_id="r1") == []
    assert scene.say(e.VisitorLeft("c1"), event_id="r1") == [], "whatever it says"
    assert scene.say(request, event_id="r1", source="/other") == ["refused: chat_already_exists"]


def test_after_a_day_an_id_may_come_again() -> None:
    scene = office("ann")
    left = e.VisitorIpUnblocked("10.0.0.1/32", "nobody")
    assert scene.say(left, event_id="r1") == ["refused: unknown_agent"]
    scene.at(24 * 3600)
    assert scene.say(left, event_id="r1") == []
    scene.at(24 * 3600 + 0.001)
    assert scene.say(left, event_id="r1") == ["refused: unknown_agent"]


def test_ids_are_kept_by_workspace_and_at_most_so_many() -> None:
    seen = Seen()
    assert all(seen.note("acme", "s", str(number), at_ms=0) for number in range(SEEN_MAX))
    assert seen.note("other", "s", "0", at_ms=1)
    assert not seen.note("acme", "s", "0", at_ms=1)
    assert seen.note("acme", "s", "one more", at_ms=1)
    assert not seen.note("acme", "s", "1", at_ms=1)
    assert seen.note("acme", "s", "0", at_ms=1), "the oldest was forgotten"
    restored = Seen()
    restored.restore("acme", [(f"s\n{number}", number) for number in range(SEEN_MAX + 2)])
    assert restored.oldest_ms("acme") == 2
    assert restored.oldest_ms("other") is None


def test_a_refused_record_does_not_stop_the_processor() -> None:
    scene = Scene(ticks=True)
    scene.say(e.OfferAccepted("o", "c", "a"))
    scene.ask("c1", None)
    processor = RouterProcessor(0)
    assert [len(list(processor.process(record))) for record in records_of(scene)] == [1, 1]
