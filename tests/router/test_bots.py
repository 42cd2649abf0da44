"""Bots: served alone, transfers and each way they fail, and what goes on afterwards."""

from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from tests.router.scenes import Scene, office

SUNDAY_ONLY = e.Hours((e.Span("sun", "09:00", "18:00"),))
MISSED = "missed c1: transfer_not_attended"


def with_bot(scene: Scene, *, silent: bool = False) -> Scene:
    assert scene.ask("c1", bot="bot") == []
    if not silent:
        assert scene.write("bot", "c1") == []
    return scene


def test_a_chat_with_a_bot_rings_nobody_before_its_transfer() -> None:
    scene = with_bot(office("ann"))
    assert scene.presence("ann", "away") == []
    assert scene.presence("ann", "online") == []
    assert scene.wait(600) == []


@pytest.mark.parametrize("how", ["leave", "end by visitor", "end by bot", "idle"])
def test_served_by_its_bot_alone_it_is_handled_by_bot(how: str) -> None:
    scene = with_bot(office("ann", idle_close_s=600.0))
    match how:
        case "leave":
            heard = scene.leave("c1")
        case "end by visitor":
            heard = scene.end("c1", "visitor")
        case "end by bot":
            heard = scene.end("c1", "bot", "bot")
        case _:
            heard = scene.wait(600)
    assert heard == ["closed c1: handled_by_bot"]
    assert scene.count(d.ChatMissed) == 0


def test_each_message_keeps_a_bots_chat_from_idling_out() -> None:
    scene = with_bot(office("ann", idle_close_s=600.0))
    scene.at(500).write("visitor", "c1")
    assert scene.at(1000).wait(99) == []
    assert scene.wait(1) == ["closed c1: handled_by_bot"]


def test_a_transfer_rings_agents_as_a_bot_transfer() -> None:
    scene = with_bot(office("ann"))
    assert scene.at(30).transfer("c1") == ["offered c1 to ann as bot_transfer"]
    scene.at(34).accept("ann", "c1")
    assert scene.last(d.ChatAssigned).waited_ms == 4000
    scene.write("agent", "c1", "ann")
    assert scene.leave("c1") == ["closed c1: handled"]


def test_the_waiting_limit_runs_anew_from_the_transfer() -> None:
    scene = with_bot(office("ann", wait_timeout_s=60.0, no_answer_limit=0))
    scene.at(50).transfer("c1")
    assert "missed" not in " ".join(scene.wait(59.9))
    assert f"{MISSED}" in scene.wait(0.1)


def test_declined_by_everybody_fails_at_once() -> None:
    scene = with_bot(office("ann", "bob", "cyd"))
    scene.presence("cyd", "away")
    scene.transfer("c1")
    scene.decline("ann", "c1")
    assert scene.decline("bob", "c1") == [
        "withdrawn c1 from bob: declined",
        "transfer of c1 failed: declined",
        "missed c1: transfer_declined",
    ]
    assert scene.chat("c1").phase == "bot"


def test_a_decline_does_not_fail_it_while_another_is_eligible_though_full() -> None:
    scene = office("ann", "bob", max_chats=1)
    scene.presence("ann", "away")
    scene.served("bob", "c0")
    scene.presence("ann", "online")
    with_bot(scene)
    scene.transfer("c1")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined"]
    assert scene.leave("c0") == ["closed c0: handled", "offered c1 to bob as bot_transfer"]


@pytest.mark.parametrize("presence", ["away", "offline"])
def test_nobody_eligible_fails_at_once(presence: str) -> None:
    scene = office("ann")
    scene.presence("ann", presence)  # type: ignore[arg-type]
    with_bot(scene)
    assert scene.transfer("c1") == ["transfer of c1 failed: no_agent_available", MISSED]


def test_it_fails_at_once_when_the_last_eligible_agent_goes() -> None:
    scene = with_bot(office("ann", max_chats=0))
    assert scene.transfer("c1") == ["queued c1 in office at 1"]
    assert scene.presence("ann", "away") == ["transfer of c1 failed: no_agent_available", MISSED]


def test_it_fails_at_once_when_the_last_eligible_agent_is_removed_or_reconfigured() -> None:
    for happening in (e.AgentDeleted("ann"), e.DepartmentConfigured("office", "Office")):
        scene = with_bot(office("ann"))
        scene.transfer("c1")
        assert scene.say(happening) == [
            "withdrawn c1 from ann: agent_removed",
            "transfer of c1 failed: no_agent_available",
            MISSED,
        ]


def test_nobody_with_the_skill_is_nobody_eligible() -> None:
    scene = office("ann")
    scene.ask("c1", bot="bot", skills=("tax",))
    scene.write("bot", "c1")
    assert scene.transfer("c1") == ["transfer of c1 failed: no_agent_available", MISSED]


def test_rung_without_an_answer_it_is_no_answer() -> None:
    scene = with_bot(office("ann", no_answer_limit=0, wait_timeout_s=30.0))
    scene.transfer("c1")
    assert scene.wait(30)[-3:] == [
        "withdrawn c1 from ann: chat_missed",
        "transfer of c1 failed: no_answer",
        MISSED,
    ]


def test_never_rung_it_is_no_agent_available() -> None:
    scene = with_bot(office("ann", max_chats=0, wait_timeout_s=30.0))
    scene.transfer("c1")
    assert scene.wait(30) == ["transfer of c1 failed: no_agent_available", MISSED]


def test_the_visitor_leaving_closes_it() -> None:
    scene = with_bot(office("ann"))
    scene.transfer("c1")
    assert scene.leave("c1") == [
        "withdrawn c1 from ann: visitor_left",
        "transfer of c1 failed: visitor_left",
        MISSED,
        "closed c1: missed",
    ]


def test_closed_hours_and_a_full_queue_fail_it_at_once() -> None:
    scene = Scene()
    scene.department("ann", hours=SUNDAY_ONLY)
    scene.agents("ann")
    with_bot(scene)
    assert scene.transfer("c1") == ["transfer of c1 failed: after_hours", MISSED]
    scene = office("ann", max_chats=0, max_queue=1)
    scene.ask("c0")
    with_bot(scene)
    assert scene.transfer("c1") == ["transfer of c1 failed: queue_full", MISSED]


def test_a_department_that_takes_nobody_fails_it_as_nobody_available() -> None:
    scene = Scene()
    scene.ask("c1", None, bot="bot")
    scene.write("bot", "c1")
    scene.department(id="acme", enabled=False)
    assert scene.transfer("c1") == ["transfer of c1 failed: no_agent_available", MISSED]


def test_a_silent_bots_transfer_is_an_ordinary_request() -> None:
    scene = with_bot(office("ann"), silent=True)
    assert scene.transfer("c1") == ["offered c1 to ann"]
    assert scene.presence("ann", "away") == ["withdrawn c1 from ann: agent_away"]
    assert scene.wait(120) == ["missed c1: no_reply/timed_out", "closed c1: missed"]
    assert scene.count(d.BotTransferFailed) == 0


def test_a_silent_bot_is_missed_at_the_waiting_limit() -> None:
    scene = with_bot(office("ann", wait_timeout_s=30.0), silent=True)
    scene.write("trigger", "c1")
    assert scene.wait(30) == ["missed c1: no_reply/timed_out", "closed c1: missed"]


def test_an_internal_message_of_a_bot_is_no_bot_reply() -> None:
    scene = with_bot(office("ann", wait_timeout_s=30.0), silent=True)
    scene.write("bot", "c1", internal=True)
    assert scene.wait(30)[0] == "missed c1: no_reply/timed_out"


@pytest.mark.parametrize(("sender_id", "replied"), [("bot", True), (None, True), ("other", False)])
def test_only_its_own_bot_replies(sender_id: str | None, replied: bool) -> None:
    scene = with_bot(office("ann"), silent=True)
    scene.write("bot", "c1", sender_id)
    assert scene.chat("c1").bot_replied == replied
    assert scene.leave("c1")[-1] == f"closed c1: {'handled_by_bot' if replied else 'missed'}"


def failed(scene: Scene) -> Scene:
    """A bot whose transfer came to nothing, and that goes on."""
    scene.presence("ann", "offline")
    with_bot(scene)
    scene.transfer("c1")
    assert scene.chat("c1").live
    return scene


@pytest.mark.parametrize("how", ["leave", "end", "idle"])
def test_after_a_failed_transfer_the_bot_goes_on_and_the_outcome_stays_missed(how: str) -> None:
    scene = failed(office("ann", idle_close_s=600.0))
    scene.at(300).write("visitor", "c1")
    scene.write("bot", "c1")
    assert scene.presence("ann", "online") == [], "nobody is rung for it any more"
    match how:
        case "leave":
            heard = scene.leave("c1")
        case "end":
            heard = scene.end("c1", "bot")
        case _:
            assert scene.wait(599) == []
            heard = scene.wait(1)
    assert heard == ["closed c1: missed"]
    closed = scene.last(d.ChatClosed)
    assert (closed.reason, closed.revision) == ("transfer_not_attended", 1)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_transfer_that_fails_does_not_take_a_delayed_end_back(cancelled: bool) -> None:
    scene = office("ann")
    scene.presence("ann", "offline")
    with_bot(scene).end("c1", "bot", after_s=30)
    assert scene.at(10).transfer("c1")[-1] == MISSED
    if cancelled:
        scene.write("visitor", "c1")
    assert scene.wait(20) == ([] if cancelled else ["closed c1: missed"])
    if not cancelled:
        assert scene.last(d.ChatClosed).ended_by == "bot"


def test_a_further_transfer_opens_a_new_revision() -> None:
    scene = failed(office("ann"))
    scene.presence("ann", "online")
    assert scene.at(60).transfer("c1") == [
        "closed c1: missed",
        "reopened c1 as 2",
        "offered c1 to ann as bot_transfer",
    ]
    assert scene.chat("c1").age_ms == scene.starts_at_ms
    scene.accept("ann", "c1")
    scene.write("agent", "c1", "ann")
    assert scene.leave("c1") == ["closed c1: handled"]
    closed = scene.last(d.ChatClosed)
    assert (closed.revision, closed.reason) == (2, None)


def test_a_further_transfer_may_fail_again() -> None:
    scene = failed(office("ann"))
    assert scene.transfer("c1") == [
        "closed c1: missed",
        "reopened c1 as 2",
        "transfer of c1 failed: no_agent_available",
        MISSED,
    ]
    assert scene.last(d.ChatMissed).revision == 2


def test_a_transfer_may_name_a_department_even_a_private_one() -> None:
    scene = office()
    scene.department("bob", id="back", private=True)
    scene.agents("bob")
    with_bot(scene)
    assert scene.transfer("c1", "back") == ["offered c1 to bob as bot_transfer"]
    assert scene.chat("c1").department_id == "back"


# ---------------------------------------------------------------- reopened: its bot's again, or people's


def reopened(before: str, **routing: Any) -> Scene:
    """A bot's chat that was missed and closed; `before`: who had it. Its visitor writes again."""
    scene = office("ann", **routing)
    with_bot(scene, silent=before == "silent bot")
    if before == "transfer failed":
        scene.presence("ann", "offline")
    if before != "silent bot":
        scene.transfer("c1")
    if before == "agent":
        scene.accept("ann", "c1")
    if before == "assigned by hand":
        scene.end("c1", "visitor")
        scene.say(e.VisitorReturned("c1"))
        scene.say(e.MissedAssignRequested(("c1",), "ann", "ann"))
    scene.leave("c1")
    scene.presence("ann", "online")
    assert scene.chat("c1").outcome == "missed"
    revision = scene.chat("c1").revision + 1
    rings = [] if before == "silent bot" else ["offered c1 to ann"]
    assert scene.at(60).write("visitor", "c1") == [f"reopened c1 as {revision}", *rings]
    return scene


def test_what_its_bot_had_alone_is_its_bots_again() -> None:
    scene = reopened("silent bot", wait_timeout_s=100.0, idle_close_s=600.0)
    assert scene.chat("c1").age_ms == scene.starts_at_ms
    scene.write("bot", "c1")
    assert scene.wait(599) == []
    assert scene.wait(1) == ["closed c1: handled_by_bot"]
    scene = reopened("silent bot", wait_timeout_s=100.0)
    assert scene.wait(99) == []
    assert scene.wait(1) == ["missed c1: no_reply/timed_out", "closed c1: missed"]
    scene = reopened("silent bot", wait_timeout_s=0.0, idle_close_s=600.0)
    assert scene.wait(600) == ["missed c1: no_reply", "closed c1: missed"]
    scene = reopened("silent bot")
    scene.write("bot", "c1")
    assert scene.transfer("c1") == ["offered c1 to ann as bot_transfer"]


def test_its_bot_has_it_again_in_the_default_department_where_its_own_is_gone() -> None:
    scene = with_bot(office("ann"), silent=True)
    scene.leave("c1")
    scene.say(e.DepartmentDeleted("office"))
    assert scene.write("visitor", "c1") == ["reopened c1 as 2"]
    assert scene.chat("c1").department_id == "acme"
    assert scene.chat("c1").entry_notes == ("default: office is deleted",)


@pytest.mark.parametrize("before", ["transferred", "transfer failed", "agent", "assigned by hand"])
def test_once_people_were_asked_people_are_rung_and_a_word_of_the_bot_is_no_attendance(before: str) -> None:
    scene = reopened(before)
    scene.write("bot", "c1")
    assert scene.transfer("c1") == ["refused: limit_exceeded"]
    assert scene.leave("c1") == [
        "withdrawn c1 from ann: visitor_left",
        "missed c1: visitor_left",
        "closed c1: missed",
    ]
    assert scene.person("ann").load == 0


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("before", "bot", "code"),
    [
        ("nothing", "bot", "unknown_chat"),
        ("asked", "other", "not_permitted"),
        ("transferred", "bot", "limit_exceeded"),
        ("closed", "bot", "chat_not_live"),
    ],
)
def test_refused_transfers(before: str, bot: str, code: str) -> None:
    scene = office("ann")
    if before != "nothing":
        with_bot(scene)
    if before == "transferred":
        scene.transfer("c1")
    if before == "closed":
        scene.leave("c1")
    assert scene.transfer("c1", bot=bot) == [f"refused: {code}"]
