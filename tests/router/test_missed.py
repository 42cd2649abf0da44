"""When a chat is missed: every row of the table, the tag, the detail, the lists, and what follows."""

from collections.abc import Callable

import pytest

from schemas import decisions as d
from schemas import events as e
from tests.router.scenes import OFFICE, Scene, office

MONDAY_ONLY = e.Hours((e.Span("mon", "09:00", "18:00"),))
SUNDAY_ONLY = e.Hours((e.Span("sun", "09:00", "18:00"),))


def bot_talk(scene: Scene, chat_id: str = "c1") -> None:
    scene.ask(chat_id, bot="bot")
    scene.write("bot", chat_id)


def every_agent_declines() -> Scene:
    scene = office("ann", "bob")
    bot_talk(scene)
    scene.transfer("c1")
    scene.decline("ann", "c1")
    scene.decline("bob", "c1")
    return scene


def one_declines_after_one_rang_out() -> Scene:
    scene = office("ann", no_answer_limit=0)
    bot_talk(scene)
    scene.transfer("c1")
    scene.wait(20)
    scene.decline("ann", "c1")
    return scene


def nobody_answers_the_transfer() -> Scene:
    scene = office("ann", no_answer_limit=0)
    bot_talk(scene)
    scene.transfer("c1")
    scene.wait(120)
    return scene


def the_transfer_is_taken_but_nobody_writes() -> Scene:
    scene = office("ann")
    bot_talk(scene)
    scene.transfer("c1")
    scene.accept("ann", "c1")
    scene.leave("c1")
    return scene


def the_visitor_leaves_during_the_transfer() -> Scene:
    scene = office("ann")
    bot_talk(scene)
    scene.transfer("c1")
    scene.leave("c1")
    return scene


def nobody_for_the_transfer() -> Scene:
    scene = office("ann")
    scene.presence("ann", "offline")
    bot_talk(scene)
    scene.transfer("c1")
    return scene


def transfer_after_hours() -> Scene:
    scene = Scene()
    scene.department("ann", hours=SUNDAY_ONLY)
    scene.agents("ann")
    bot_talk(scene)
    scene.transfer("c1")
    return scene


def an_owner_never_writes_and_the_visitor_leaves() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.leave("c1")
    return scene


def an_owner_never_writes_and_ends_it() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.end("c1", "agent", "ann")
    return scene


def an_owner_never_writes_and_nobody_takes_over() -> Scene:
    scene = office("ann", first_reply_timeout_s=10.0, wait_timeout_s=30.0, offer_timeout_s=0.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.wait(40)
    return scene


def the_visitor_leaves_the_queue() -> Scene:
    scene = office()
    scene.ask("c1")
    scene.leave("c1")
    return scene


def the_visitor_ends_it_while_it_rings() -> Scene:
    scene = office("ann")
    scene.ask("c1")
    scene.end("c1", "visitor")
    return scene


def the_visitor_leaves_a_silent_bot() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.leave("c1")
    return scene


def the_visitor_leaves_after_a_silent_bots_transfer_and_its_late_word() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.transfer("c1")
    scene.write("bot", "c1")
    scene.leave("c1")
    return scene


def the_wait_is_too_long() -> Scene:
    scene = office()
    scene.ask("c1")
    scene.wait(120)
    return scene


def the_bot_is_silent_too_long() -> Scene:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    scene.wait(120)
    return scene


def it_is_after_hours() -> Scene:
    scene = Scene()
    scene.department("ann", hours=SUNDAY_ONLY)
    scene.agents("ann")
    scene.ask("c1")
    return scene


def the_queue_is_full() -> Scene:
    scene = office(max_queue=1)
    scene.ask("c0")
    scene.ask("c1")
    return scene


def the_default_department_is_disabled() -> Scene:
    scene = Scene()
    scene.department(id="acme", enabled=False)
    scene.ask("c1", None)
    return scene


UNATTENDED, FAILED = "unattended", "bot_transfer_failed"


@pytest.mark.parametrize(
    ("happens", "reason", "detail", "tag"),
    [
        (every_agent_declines, "transfer_declined", None, FAILED),
        (one_declines_after_one_rang_out, "transfer_not_attended", None, FAILED),
        (nobody_answers_the_transfer, "transfer_not_attended", None, FAILED),
        (the_transfer_is_taken_but_nobody_writes, "transfer_not_attended", None, FAILED),
        (the_visitor_leaves_during_the_transfer, "transfer_not_attended", None, FAILED),
        (nobody_for_the_transfer, "transfer_not_attended", None, FAILED),
        (transfer_after_hours, "transfer_not_attended", None, FAILED),
        (an_owner_never_writes_and_the_visitor_leaves, "no_agent_message", None, UNATTENDED),
        (an_owner_never_writes_and_ends_it, "no_agent_message", None, UNATTENDED),
        (an_owner_never_writes_and_nobody_takes_over, "no_agent_message", None, UNATTENDED),
        (the_visitor_leaves_the_queue, "visitor_left", None, UNATTENDED),
        (the_visitor_ends_it_while_it_rings, "visitor_left", None, UNATTENDED),
        (the_visitor_leaves_a_silent_bot, "visitor_left", None, UNATTENDED),
        (
            the_visitor_leaves_after_a_silent_bots_transfer_and_its_late_word,
            "visitor_left",
            None,
            UNATTENDED,
        ),
        (the_wait_is_too_long, "no_reply", "timed_out", UNATTENDED),
        (the_bot_is_silent_too_long, "no_reply", "timed_out", UNATTENDED),
        (it_is_after_hours, "no_reply", "after_hours", UNATTENDED),
        (the_queue_is_full, "no_reply", "queue_full", UNATTENDED),
        (the_default_department_is_disabled, "no_reply", "department_unavailable", UNATTENDED),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_first_row_that_fits(
    happens: Callable[[], Scene], reason: str, detail: str | None, tag: str
) -> None:
    scene = happens()
    missed = scene.last(d.ChatMissed)
    assert (missed.reason, missed.detail, missed.tag) == (reason, detail, tag)
    assert missed.why.rule == f"missed/{reason}"
    assert scene.count(d.ChatMissed) == 1


def test_closed_follows_missed_with_the_same_cause() -> None:
    scene = the_wait_is_too_long()
    missed, closed = scene.emitted[-2:]
    assert isinstance(missed.data, d.ChatMissed)
    assert isinstance(closed.data, d.ChatClosed)
    assert missed.cause == closed.cause
    assert missed.cause.timer == f"wait/c1@{scene.now_ms}"
    assert (closed.data.outcome, closed.data.reason, closed.data.ended_by) == ("missed", "no_reply", "system")
    assert closed.at_ms == scene.now_ms


@pytest.mark.parametrize("kind", ["trigger", "system", "visitor", "bot"])
def test_what_is_no_reply_does_not_attend_a_chat(kind: str) -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.write(kind, "c1")  # type: ignore[arg-type]
    scene.presence("ann", "offline")
    assert scene.wait(120) == ["missed c1: no_reply/timed_out", "closed c1: missed"]


def test_an_internal_message_is_no_reply() -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.accept("ann", "c1")
    assert scene.write("agent", "c1", "ann", internal=True) == []
    assert scene.leave("c1") == ["missed c1: no_agent_message", "closed c1: missed"]


def test_the_message_of_an_agent_who_is_not_in_the_chat_is_no_reply() -> None:
    scene = office("ann", "bob")
    scene.ask("c1")
    scene.accept("ann", "c1")
    assert scene.write("agent", "c1", "bob") == ["refused: not_owner"]
    assert scene.leave("c1") == ["missed c1: no_agent_message", "closed c1: missed"]


def test_a_chat_that_was_answered_is_handled_whatever_comes() -> None:
    scene = office("ann", offline_grace_s=10.0, wait_timeout_s=30.0)
    scene.served("ann", "c1")
    scene.presence("ann", "offline")
    assert scene.wait(10) == ["unassigned c1 from ann: agent_offline", "queued c1 in office at 1"]
    assert scene.wait(1000) == []
    assert scene.leave("c1") == ["closed c1: handled"]
    assert scene.count(d.ChatMissed) == 0


def test_an_answered_bot_transfer_does_not_fail_when_its_agent_goes() -> None:
    scene = office("ann", offline_grace_s=10.0)
    bot_talk(scene)
    scene.transfer("c1")
    scene.accept("ann", "c1")
    scene.write("agent", "c1", "ann")
    scene.presence("ann", "offline")
    assert scene.wait(10) == ["unassigned c1 from ann: agent_offline", "queued c1 in office at 1"]
    assert scene.leave("c1") == ["closed c1: handled"]


def test_the_detail_page_shows_rule_and_agents_at_both_times() -> None:
    scene = office("ann", "bob", max_chats=1, wait_timeout_s=60.0)
    scene.served("ann", "c0")
    scene.ask("c1")
    scene.presence("bob", "offline")
    scene.leave("c0")
    scene.presence("ann", "away")
    scene.presence("bob", "online")
    scene.decline("bob", "c1")
    scene.at(60).wait(0)
    missed = scene.last(d.ChatMissed)
    assert missed.rule == d.Rule(OFFICE, "Office", "offer", "least_loaded", 20.0, 60.0, 120.0)
    assert missed.available_at_start == (d.AvailableAgent("bob", "Bob", 0, 1),)
    assert [agent.id for agent in missed.available_at_missed] == ["bob"]
    assert missed.available_counts == {"at_start": 1, "at_missed": 1}
    assert missed.why.others == {"away": 1}


def test_the_lists_show_twenty_agents_and_count_all() -> None:
    names = [f"a{number:02d}" for number in range(25)]
    scene = office(*reversed(names))
    scene.ask("c1")
    scene.leave("c1")
    missed = scene.last(d.ChatMissed)
    assert [agent.id for agent in missed.available_at_start] == names[:20]
    assert missed.available_counts == {"at_start": 25, "at_missed": 25}


@pytest.mark.parametrize(
    ("email", "possible"), [("v@example.test", True), (None, False), ("", False), (" \t", False)]
)
@pytest.mark.parametrize("channel", ["web", "line", "email"])
def test_a_reply_by_email_needs_an_address_whatever_the_channel(
    email: str | None, possible: bool, channel: str
) -> None:
    scene = office()
    scene.ask("c1", email=email, channel=channel)  # type: ignore[arg-type]
    scene.leave("c1")
    assert scene.last(d.ChatMissed).reply_by_email is possible


def test_an_address_given_later_counts() -> None:
    scene = office()
    scene.ask("c1", name="Vera")
    assert scene.say(e.VisitorUpdated("c1", e.VisitorPatch(email="v@example.test"))) == []
    scene.leave("c1")
    assert scene.last(d.ChatMissed).reply_by_email
    visitor = scene.last(d.ChatClosed).visitor
    assert (visitor.visitor_id, visitor.name, visitor.email) == ("v-c1", "Vera", "v@example.test")


def test_the_waiting_limit_stops_with_an_owner_and_runs_anew_from_the_next_entry() -> None:
    scene = office("ann", wait_timeout_s=30.0, first_reply_timeout_s=100.0, offer_timeout_s=0.0)
    scene.ask("c1")
    scene.at(20).accept("ann", "c1")
    assert scene.wait(99) == []
    assert scene.wait(1) == ["unassigned c1 from ann: no_first_reply", "offered c1 to ann"]
    assert scene.wait(29.9) == []
    assert scene.wait(0.1)[-1] == "closed c1: missed"


def test_without_a_waiting_limit_a_chat_waits_for_ever() -> None:
    scene = office(wait_timeout_s=0.0)
    scene.ask("c1")
    assert scene.wait(30 * 24 * 3600) == []
