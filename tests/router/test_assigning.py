"""Missed chats assigned to agents: to wait in the inbox, or to go on at once where the visitor is still there."""

from collections.abc import Callable

import pytest

from schemas import decisions as d
from schemas import events as e
from tests.router.scenes import OFFICE, Scene
from tests.router.test_inbox import (
    assign,
    close,
    delete,
    missed,
    staffed,
    talking_to_a_bot_after_it_was_missed,
)


def test_assigned_after_the_visitor_left_it_waits_in_the_inbox() -> None:
    scene = missed(staffed(), "c1")
    assert assign(scene, "c1", by="boss") == ["inbox c1: assigned to ann"]
    told = scene.last(d.MissedUpdated)
    assert (told.agent_id, told.by_agent_id) == ("ann", "boss")
    assert not scene.chat("c1").live
    assert assign(scene, "c1", to="boss") == ["inbox c1: assigned to boss"]
    assert close(scene, "c1") == ["inbox c1: closed to boss"]
    assert scene.last(d.MissedUpdated).by_agent_id == "ann"


def test_while_the_visitor_is_there_it_goes_on_with_that_agent_whatever_they_carry() -> None:
    scene = missed(staffed(max_chats=1), "c1", gone=False)
    scene.served("ann", "c2")
    scene.at(500)
    assert assign(scene, "c1", by="boss") == [
        "inbox c1: assigned to ann",
        "reopened c1 as 2",
        "assigned c1 to ann by manual",
    ]
    assigned = scene.last(d.ChatAssigned)
    assert (assigned.department_id, assigned.waited_ms, assigned.generation) == (OFFICE, 0, 1)
    assert assigned.why.rule == "manual"
    assert scene.person("ann").load == 2
    assert scene.ask("c3") == ["queued c3 in office at 1"], "nothing more comes of itself"
    assert close(scene, "c1") == ["refused: chat_not_missed"]
    scene.write("agent", "c1", "ann")
    assert scene.leave("c1") == ["closed c1: handled"]
    assert (scene.last(d.ChatClosed).revision, scene.last(d.ChatClosed).started_at) == (
        2,
        "2026-11-23T09:08:20.000Z",
    )
    assert scene.chat("c3").owner_id is None, "only now ann carries what she may"


def test_no_departure_from_a_queue_is_counted_that_was_never_entered() -> None:
    scene = missed(staffed(), "c1", gone=False)
    before = list(scene.ws.rotas[OFFICE].departures_ms)
    assign(scene, "c1")
    assert scene.ws.rotas[OFFICE].departures_ms == before


def left_before(scene: Scene) -> None:
    scene.ask("c1")
    scene.leave("c1")


def left_afterwards(scene: Scene) -> None:
    missed(scene, "c1", gone=False)
    assert scene.leave("c1") == []


def ended_it(scene: Scene) -> None:
    scene.ask("c1")
    scene.end("c1", "visitor")


def ended_it_later(scene: Scene) -> None:
    scene.ask("c1")
    scene.end("c1", "visitor", after_s=10)
    scene.wait(10)


def stayed(scene: Scene) -> None:
    missed(scene, "c1", gone=False)


def came_back(scene: Scene) -> None:
    left_before(scene)
    assert scene.say(e.VisitorReturned("c1")) == []


def wrote_and_was_missed_again(scene: Scene) -> None:
    left_before(scene)
    scene.write("visitor", "c1")
    scene.end("c1", "agent", "boss")


@pytest.mark.parametrize(
    ("visitor", "there"),
    [
        (left_before, False),
        (left_afterwards, False),
        (ended_it, False),
        (ended_it_later, False),
        (stayed, True),
        (came_back, True),
        (wrote_and_was_missed_again, True),
    ],
)
def test_whether_the_visitor_has_left(visitor: Callable[[Scene], None], there: bool) -> None:
    scene = staffed()
    visitor(scene)
    assert scene.chat("c1").inbox == "open"
    assign(scene, "c1")
    assert scene.chat("c1").live == there


@pytest.mark.parametrize(("status", "lives"), [("online", True), ("away", True), ("offline", False)])
def test_nobody_is_kept_waiting_for_an_agent_who_is_offline(status: str, lives: bool) -> None:
    scene = missed(staffed(), "c1", gone=False)
    scene.presence("boss", status)  # type: ignore[arg-type]
    assert assign(scene, "c1", to="boss")[0] == "inbox c1: assigned to boss"
    assert scene.chat("c1").live == lives
    if not lives:
        scene.presence("boss", "online")
        assert scene.chat("c1").inbox == "assigned", "presence alone opens nothing"
        assert len(assign(scene, "c1", to="boss", by="boss")) == 3, "assigned again, it goes on"


@pytest.mark.parametrize("target", ["ghost", "gone"])
def test_it_is_assigned_to_known_agents_only(target: str) -> None:
    scene = missed(staffed(), "c1", "c2", gone=False)
    scene.agent("gone")
    scene.say(e.AgentDeleted("gone"))
    assert assign(scene, "c1", "c2", to=target) == ["refused: unknown_agent"] * 2
    assert scene.last(d.RequestRefused).subject == "c2"
    assert scene.chat("c1").inbox == "open"


def test_one_whose_bot_still_serves_is_closed_and_opened_anew_for_the_agent() -> None:
    scene = talking_to_a_bot_after_it_was_missed()
    assert assign(scene, "c1", by="boss") == [
        "inbox c1: assigned to ann",
        "closed c1: missed",
        "reopened c1 as 2",
        "assigned c1 to ann by manual",
    ]
    scene.write("bot", "c1")
    assert scene.leave("c1") == ["missed c1: no_agent_message", "closed c1: missed"]
    assert [item.data.revision for item in scene.emitted if isinstance(item.data, d.ChatClosed)] == [1, 2]


def test_one_whose_bot_still_serves_may_be_put_away_while_they_talk() -> None:
    for put_away in (close, delete):
        scene = talking_to_a_bot_after_it_was_missed()
        assert len(put_away(scene, "c1")) == 1
        assert scene.chat("c1").live
        assert scene.leave("c1") == ["closed c1: missed"]
        assert assign(scene, "c1") == ["refused: chat_not_missed"]


def test_put_away_or_not_the_bot_may_ask_for_people_again() -> None:
    scene = talking_to_a_bot_after_it_was_missed()
    delete(scene, "c1")
    assert scene.transfer("c1") == [
        "closed c1: missed",
        "reopened c1 as 2",
        "offered c1 to ann as bot_transfer",
    ]


@pytest.mark.parametrize(
    ("agent", "goes_on"),
    [("there", True), ("full", False), ("away", False), ("offline", False), ("removed", False)],
)
def test_when_the_visitor_comes_back_the_agent_it_waits_for_goes_on_if_they_can(
    agent: str, goes_on: bool
) -> None:
    scene = missed(staffed("ann", "bob", max_chats=1), "c1")
    scene.agents("eve", max_chats=1)
    assign(scene, "c1", to="eve", by="boss")
    match agent:
        case "full":
            missed(scene, "c2", gone=False)
            assign(scene, "c2", to="eve", by="boss")
        case "away" | "offline":
            scene.presence("eve", agent)
        case "removed":
            scene.say(e.AgentDeleted("eve"))
    departures = list(scene.ws.rotas[OFFICE].departures_ms)
    heard = scene.at(60).write("visitor", "c1")
    if not goes_on:
        assert heard == ["reopened c1 as 2", "offered c1 to ann"]
        return
    assert heard == ["reopened c1 as 2", "assigned c1 to eve by manual"]
    assigned = scene.last(d.ChatAssigned)
    assert (assigned.waited_ms, assigned.department_id) == (0, OFFICE)
    assert assigned.why == d.Why(rule="manual", notes=("assigned in the missed inbox",))
    assert scene.ws.rotas[OFFICE].departures_ms == departures, "it was in no queue"
    assert scene.wait(120) == ["unassigned c1 from eve: no_first_reply", "offered c1 to ann"]


def test_an_agent_who_does_not_write_loses_it_again() -> None:
    scene = missed(staffed("ann", "bob"), "c1", gone=False)
    assign(scene, "c1", to="bob")
    assert scene.wait(120) == ["unassigned c1 from bob: no_first_reply", "offered c1 to ann"]


def test_a_manual_owner_of_no_department_may_talk_tag_and_end() -> None:
    scene = missed(staffed(), "c1", gone=False)
    assign(scene, "c1", to="eve", by="boss")
    scene.write("agent", "c1", "eve")
    assert scene.say(e.ChatTagsChanged(("c1",), "eve", ("tax",))) == ["tagged c1: tax"]
    assert scene.end("c1", "agent", "eve") == ["closed c1: handled"]
    assert scene.say(e.ChatNoteAdded("c1", "n1", "eve", "Calls again.")) == []
