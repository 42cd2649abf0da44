"""Sticky departments: a visitor goes back to the agent they had last, who is waited for, for a while."""

from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas.types import Status
from services.router.core import last_agents
from services.router.core.last_agents import LastAgents
from tests.router.scenes import Scene, office

DAY_S = 24 * 3600


def known(*, busy: bool = False, **routing: Any) -> Scene:
    """Bob has served the visitor before, and with `busy` serves another now; Ann is free."""
    scene = office("ann", "bob", **{"max_chats": 1, "sticky": "last_agent", "sticky_wait_s": 10.0, **routing})
    scene.presence("ann", "away")
    scene.served("bob", "c0", visitor_id="vic")
    scene.leave("c0")
    if busy:
        scene.served("bob", "c1", visitor_id="other")
    scene.presence("ann", "online")
    return scene


def test_the_last_agent_comes_before_who_would_be_first() -> None:
    scene = known(strategy="longest_idle")
    assert scene.at(100).ask("c1", visitor_id="vic") == ["offered c1 to bob"]
    why = scene.last(d.ChatOffered).why
    assert (why.rule, why.others, why.next) == ("offer/sticky", {"sticky_wait": 1}, ())


def test_another_visitor_is_not_bound() -> None:
    scene = known(strategy="round_robin")
    assert scene.at(100).ask("c1", visitor_id="other") == ["offered c1 to ann"]


def test_who_is_busy_is_waited_for_and_no_longer_than_said() -> None:
    scene = known(busy=True)
    assert scene.at(100).ask("c2", visitor_id="vic") == ["queued c2 in office at 1"]
    assert scene.wait(9) == []
    assert scene.wait(1) == ["offered c2 to ann"]


def test_who_gets_free_in_time_takes_it() -> None:
    scene = known(busy=True)
    scene.at(100).ask("c2", visitor_id="vic")
    assert scene.at(105).leave("c1") == ["closed c1: handled", "offered c2 to bob"]
    assert scene.wait(10) == [], "what rings is not given to others when the waiting ends"


def test_without_a_wait_only_who_is_free_at_once_is_preferred() -> None:
    scene = known(sticky_wait_s=0.0)
    assert scene.at(100).ask("c1", visitor_id="vic") == ["offered c1 to bob"]
    scene.accept("bob", "c1")
    assert scene.ask("c2", visitor_id="vic") == ["offered c2 to ann"]


@pytest.mark.parametrize("status", ["away", "offline"])
def test_nobody_waits_for_who_is_not_there(status: Status) -> None:
    scene = known()
    scene.presence("bob", status)
    assert scene.at(100).ask("c1", visitor_id="vic") == ["offered c1 to ann"]


@pytest.mark.parametrize("how", ["away", "offline", "deleted", "taken from the department"])
def test_with_who_goes_the_waiting_ends(how: str) -> None:
    scene = known(busy=True)
    scene.at(100).ask("c2", visitor_id="vic")
    match how:
        case "deleted":
            heard = scene.say(e.AgentDeleted("bob"))
        case "away" | "offline":
            heard = scene.presence("bob", how)
        case _:
            heard = scene.department("ann", sticky="last_agent", sticky_wait_s=10.0)
    first = "c1" if how == "deleted" else "c2"
    assert f"offered {first} to ann" in heard, "a removed agent's chat is older, and goes first"
    assert scene.chat("c2").sticky_id is None


@pytest.mark.parametrize("answer", ["declined", "timed_out"])
def test_an_answer_ends_it_too(answer: str) -> None:
    scene = known()
    scene.at(100).ask("c1", visitor_id="vic")
    heard = scene.decline("bob", "c1") if answer == "declined" else scene.wait(20)
    assert heard == [f"withdrawn c1 from bob: {answer}", "offered c1 to ann"]


def test_an_older_chat_does_not_hold_who_is_kept_for_another() -> None:
    """First come, first served among those who can take it: the older one waits for Bob alone, the younger takes Ann."""
    scene = known(busy=True)
    scene.presence("ann", "away")
    scene.at(100).ask("c2", visitor_id="vic")
    scene.at(101).ask("c3", visitor_id="third")
    assert scene.presence("ann", "online") == ["offered c3 to ann"]


def test_auto_assigns_to_the_last_agent() -> None:
    scene = known(mode="auto", strategy="round_robin")
    assert scene.at(100).ask("c1", visitor_id="vic") == ["assigned c1 to bob by auto"]


def test_a_ring_all_begins_with_the_last_agent_and_widens_when_the_wait_is_over() -> None:
    scene = known(mode="ring_all")
    assert scene.at(100).ask("c1", visitor_id="vic") == ["offered c1 to bob"]
    assert scene.wait(10) == ["offered c1 to ann"]


def test_another_department_knows_nothing_of_it() -> None:
    scene = known()
    scene.department("ann", "bob", id="sales", sticky="last_agent", strategy="round_robin")
    assert scene.at(100).ask("c1", "sales", visitor_id="vic") == ["offered c1 to ann"]


def test_it_is_forgotten_after_thirty_days() -> None:
    for days, agent in ((29, "bob"), (31, "ann")):
        scene = known(strategy="round_robin")
        scene.at(days * DAY_S).presence("bob", "online")
        assert scene.ask("c1", visitor_id="vic") == [f"offered c1 to {agent}"]


def test_so_many_visitors_are_known_and_the_longest_unseen_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_agents, "VISITORS_MAX", 2)
    known_agents = LastAgents()
    assert known_agents.note("office", "v1", "ann", at_ms=1, sequence=1)[1] == []
    known_agents.note("office", "v2", "ann", at_ms=2, sequence=2)
    known_agents.note("office", "v1", "bob", at_ms=3, sequence=3)
    _, forgotten = known_agents.note("office", "v3", "ann", at_ms=4, sequence=4)
    assert [entry.sequence for entry in forgotten] == [2]
    assert known_agents.of("office", "v1", now_ms=4) == "bob"
    assert known_agents.of("office", "v2", now_ms=4) is None


def test_a_ring_all_that_ends_leaves_the_others_who_wait_for_the_agent() -> None:
    scene = known(mode="ring_all", channel_cost={"email": 2}, max_chats=2, busy=True)
    assert scene.ask("c2", visitor_id="vic") == ["offered c2 to bob"]
    assert scene.ask("c3", visitor_id="vic", channel="email") == ["queued c3 in office at 2"]
    assert scene.decline("bob", "c2") == ["withdrawn c2 from bob: declined", "offered c2 to ann"]
    assert scene.leave("c3") == ["missed c3: visitor_left", "closed c3: missed"]


@pytest.mark.parametrize(
    ("request_", "routing", "bob"),
    [
        ({"channel": "email"}, {"channel_cost": {"email": 2}}, {"max_chats": 1}),
        ({"skills": ("tax",)}, {}, {"max_chats": 2}),
        (
            {},
            {"strategy": "tiers", "tiers": (e.Tier(("ann",), 0.0), e.Tier(("bob",), 60.0))},
            {"max_chats": 2},
        ),
    ],
    ids=["too costly", "lacks a skill", "tier closed"],
)
def test_nobody_waits_for_who_cannot_take_it(
    request_: dict[str, Any], routing: dict[str, Any], bob: dict[str, Any]
) -> None:
    scene = known()
    scene.department("ann", "bob", sticky="last_agent", sticky_wait_s=10.0, **routing)
    scene.agent("ann", max_chats=2, skills={"tax": 1.0})
    scene.agent("bob", **bob)
    assert scene.at(100).ask("c1", visitor_id="vic", **request_) == ["offered c1 to ann"]
