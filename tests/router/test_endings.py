"""First reply time-out, delayed ends, reopening, and how long chats are remembered."""

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from tests.router.scenes import Scene, office
from tests.router.test_properties import REFUSALS_ONLY, changed_by

DAY_S = 24 * 3600


def test_an_owner_who_does_not_write_loses_the_chat_to_those_not_asked() -> None:
    scene = office("ann", "bob", first_reply_timeout_s=30.0)
    scene.ask("c1")
    scene.at(10).accept("ann", "c1")
    assert scene.wait(29.9) == []
    assert scene.wait(0.1) == ["unassigned c1 from ann: no_first_reply", "offered c1 to bob"]
    assert scene.chat("c1").age_ms == scene.starts_at_ms
    scene.accept("bob", "c1")
    assert scene.last(d.ChatAssigned).generation == 2


def test_one_reply_ends_the_first_reply_time_out_an_internal_one_does_not() -> None:
    scene = office("ann", first_reply_timeout_s=30.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.write("agent", "c1", "ann")
    scene.write("agent", "c1", "ann")
    scene.ask("c2")
    scene.accept("ann", "c2")
    scene.write("agent", "c2", "ann", internal=True)
    assert scene.wait(30) == ["unassigned c2 from ann: no_first_reply", "offered c2 to ann"]
    assert scene.chat("c1").owner_id == "ann"


def test_the_first_reply_time_out_runs_for_each_owner() -> None:
    scene = office("ann", "bob", first_reply_timeout_s=30.0, offline_grace_s=5.0)
    scene.served("ann", "c1")
    scene.presence("ann", "offline")
    scene.wait(5)
    scene.accept("bob", "c1")
    assert scene.wait(30) == ["unassigned c1 from bob: no_first_reply", "offered c1 to bob"]
    assert scene.leave("c1") == ["withdrawn c1 from bob: visitor_left", "closed c1: handled"]


def test_an_end_may_be_delayed_and_a_visitors_message_cancels_it() -> None:
    scene = office("ann")
    scene.served("ann", "c1")
    assert scene.end("c1", "agent", "ann", after_s=30) == []
    scene.at(10).write("visitor", "c1", internal=True)
    assert "end" in scene.chat("c1").timers, "an internal one does not"
    assert scene.at(20).write("visitor", "c1") == []
    assert scene.wait(600) == []
    scene.end("c1", "agent", "ann", after_s=30)
    scene.write("agent", "c1", "ann")
    assert scene.wait(30) == ["closed c1: handled"]
    assert scene.last(d.ChatClosed).ended_by == "agent"


def test_a_second_delayed_end_replaces_the_first_and_an_end_now_ends_now() -> None:
    scene = office("ann")
    scene.served("ann", "c1")
    scene.end("c1", "agent", "ann", after_s=30)
    scene.at(20).end("c1", "agent", "ann", after_s=30)
    assert scene.wait(29) == []
    assert scene.end("c1", "visitor") == ["closed c1: handled"]
    assert scene.wait(60) == []


def test_a_delayed_end_of_the_visitor_is_a_visitor_gone() -> None:
    scene = office()
    scene.ask("c1")
    scene.end("c1", "visitor", after_s=10)
    assert scene.wait(10) == ["missed c1: visitor_left", "closed c1: missed"]


def test_leaving_ends_at_once_whatever_was_delayed() -> None:
    scene = office("ann")
    scene.served("ann", "c1")
    scene.end("c1", "agent", "ann", after_s=30)
    assert scene.leave("c1") == ["closed c1: handled"]
    assert scene.leave("c1") == []
    assert scene.leave("c9") == []


@pytest.mark.parametrize(
    ("kind", "by_id", "allowed"),
    [
        ("visitor", None, True),
        ("visitor", "v-c1", True),
        ("visitor", "v-c2", False),
        ("agent", "ann", True),
        ("agent", "bob", False),
        ("agent", "sue", True),
        ("agent", "adm", True),
        ("agent", "nobody", False),
        ("agent", None, False),
        ("bot", "bot", False),
        ("system", None, False),
        ("trigger", None, False),
    ],
)
@pytest.mark.parametrize("after_s", [0, 30])
def test_who_may_end_a_chat(kind: str, by_id: str | None, allowed: bool, after_s: float) -> None:
    scene = office("ann")
    scene.agent("bob")
    scene.agent("sue", role="supervisor")
    scene.agent("adm", role="admin")
    scene.served("ann", "c1")
    heard = scene.end("c1", kind, by_id, after_s=after_s)  # type: ignore[arg-type]
    if allowed:
        assert heard + scene.wait(30) == ["closed c1: handled"]
    else:
        assert heard == ["refused: not_permitted"]
        assert scene.wait(30) == []


def test_a_bot_may_end_its_own_chat_only() -> None:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1")
    assert scene.end("c1", "bot", "other") == ["refused: not_permitted"]
    assert scene.end("c1", "bot", "bot") == ["closed c1: handled_by_bot"]


def test_closed_says_who_served_when_and_under_which_settings() -> None:
    scene = Scene()
    scene.workspace(language="ja", timezone="Asia/Tokyo", sender="chat@acme.test")
    email = e.EmailSettings(transcript=e.MailSwitch(True, "log@acme.test"), digest_s=60.0)
    scene.department("ann", "bob", email=email)
    scene.agents("ann", "bob", email="a@acme.test", team="T", group="G")
    scene.at(1).ask("c1", email="v@example.test")
    scene.accept("ann", "c1")
    scene.wait(120)
    scene.accept("bob", "c1")
    scene.write("agent", "c1", "bob")
    scene.at(200).leave("c1")
    closed = scene.last(d.ChatClosed)
    assert [card.id for card in closed.agents] == ["ann", "bob"]
    assert closed.agents[0] == d.AgentCard("ann", "Ann", "a@acme.test", "T", "G")
    assert (closed.started_at, closed.ended_at) == ("2026-11-23T09:00:01.000Z", "2026-11-23T09:03:20.000Z")
    assert closed.department == d.DepartmentRef("office", "Office")
    assert closed.visitor.email == "v@example.test"
    assert closed.email == d.MailPlan(
        "ja", "Asia/Tokyo", "chat@acme.test", transcript=("log@acme.test",), digest_s=60.0
    )
    assert closed.source == d.Position(0, len(scene.entries) - 1)
    assert (closed.ended_by, closed.reason) == ("visitor", None)


def missed(*, mail: bool = False) -> Scene:
    scene = Scene()
    email = e.EmailSettings(unattended=e.MailSwitch(mail, "desk@acme.test"))
    scene.department("ann", email=email)
    scene.agents("ann", status="offline")
    scene.ask("c1")
    scene.leave("c1")
    return scene


def test_a_visitors_message_reopens_a_missed_chat_with_its_original_age() -> None:
    scene = missed()
    assert scene.at(60).write("visitor", "c1") == ["reopened c1 as 2", "queued c1 in office at 1"]
    scene.ask("c2")
    assert scene.chat("c1").age_ms == scene.starts_at_ms
    assert scene.presence("ann", "online") == ["offered c1 to ann", "offered c2 to ann"]
    scene.accept("ann", "c1")
    scene.write("agent", "c1", "ann")
    scene.leave("c1")
    closed = scene.last(d.ChatClosed)
    assert (closed.revision, closed.outcome, closed.started_at) == (
        2,
        "handled",
        "2026-11-23T09:01:00.000Z",
    )
    assert scene.write("visitor", "c1") == [], "a handled chat is not reopened"


def test_a_reopened_chat_may_be_missed_again_with_its_own_reason_and_one_notice_in_all() -> None:
    scene = missed(mail=True)
    scene.write("visitor", "c1")
    assert scene.wait(120) == ["missed c1: no_reply/timed_out", "closed c1: missed"]
    assert scene.last(d.ChatMissed).revision == 2
    assert scene.count(n.NoticeUnattended) == 1


@pytest.mark.parametrize("kind", ["bot", "trigger", "system"])
def test_nobody_elses_message_reopens_it(kind: str) -> None:
    scene = missed()
    assert scene.write(kind, "c1") == []  # type: ignore[arg-type]
    assert scene.write("visitor", "c1", internal=True) == []
    assert scene.write("agent", "c1", "ann") == ["refused: chat_not_live"]
    assert not scene.chat("c1").live


@pytest.mark.parametrize("code", ["visitor_blocked", "channel_disabled"])
def test_who_may_not_begin_a_chat_may_not_open_a_missed_one_again(code: str) -> None:
    scene = office("ann")
    scene.ask("c1", ip="10.0.0.1")
    scene.leave("c1")
    scene.say(e.VisitorIpBlocked("10.0.0.0/24", "ann"))
    if code == "channel_disabled":
        scene.say(e.VisitorIpUnblocked("10.0.0.0/24", "ann"))
        scene.workspace(channels=("line",))
    message = e.ChatMessage("c1", "m", e.Sender("visitor"), "Text.")
    assert changed_by(scene, message) == ([f"refused: {code}"], REFUSALS_ONLY)
    refused = scene.last(d.RequestRefused)
    assert (refused.request_type, refused.subject) == ("chat.message.v1", "c1")
    assert scene.ask("c2", ip="10.0.0.1") == [f"refused: {code}"]
    scene.say(e.VisitorIpUnblocked("10.0.0.0/24", "ann"))
    scene.workspace()
    assert scene.write("visitor", "c1") == ["reopened c1 as 2", "offered c1 to ann"]


def test_a_live_chat_goes_on_whatever_is_barred() -> None:
    scene = office("ann")
    scene.served("ann", "c1", ip="10.0.0.1")
    scene.say(e.VisitorIpBlocked("10.0.0.1/32", "ann"))
    scene.workspace(channels=())
    assert scene.write("visitor", "c1") == []
    assert scene.chat("c1").owner_id == "ann"


def test_a_handled_chat_is_known_for_a_day() -> None:
    scene = office("ann")
    scene.served("ann", "c1")
    scene.leave("c1")
    scene.wait(DAY_S - 1)
    assert scene.say(e.ChatFeedback("c1", 5)) == []
    assert scene.ask("c1") == ["refused: chat_already_exists"]
    scene.wait(1)
    assert scene.say(e.ChatFeedback("c1", 5)) == ["refused: unknown_chat"]
    assert scene.ask("c1") == ["offered c1 to ann"]


def test_a_missed_chat_is_known_for_thirty_days() -> None:
    scene = missed()
    scene.wait(30 * DAY_S - 1)
    assert scene.write("visitor", "c1")[0] == "reopened c1 as 2"
    scene.leave("c1")
    scene.wait(30 * DAY_S)
    assert scene.write("visitor", "c1") == []
    assert scene.end("c1", "visitor") == ["refused: unknown_chat"]
