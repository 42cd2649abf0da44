"""Ring-all and automatic assignment."""

import pytest

from schemas import decisions as d
from tests.router.scenes import Scene, office


def test_ring_all_asks_everybody_and_the_first_acceptance_wins() -> None:
    scene = office("ann", "bob", "cyd", mode="ring_all")
    assert scene.ask("c1") == ["offered c1 to ann+bob+cyd"]
    assert scene.accept("bob", "c1") == [
        "withdrawn c1 from ann+cyd: accepted_elsewhere",
        "assigned c1 to bob by accept",
    ]
    assert scene.accept("ann", "c1") == ["refused: offer_not_open"]
    assert [scene.person(agent).load for agent in ("ann", "bob", "cyd")] == [0, 1, 0]


def test_rings_of_a_ring_all_take_no_room_but_accepting_does() -> None:
    scene = office("ann", "bob", max_chats=1, mode="ring_all")
    assert scene.ask("c1") == ["offered c1 to ann+bob"]
    assert scene.ask("c2") == ["offered c2 to ann+bob"]
    scene.accept("ann", "c1")
    assert scene.accept("ann", "c2") == ["refused: agent_unavailable"]
    assert scene.accept("bob", "c2") == [
        "withdrawn c2 from ann: accepted_elsewhere",
        "assigned c2 to bob by accept",
    ]


def test_newcomers_join_the_same_offer_with_the_time_that_is_left() -> None:
    scene = office("ann", "bob", mode="ring_all", offer_timeout_s=20.0)
    scene.presence("bob", "offline")
    scene.ask("c1")
    offer_id = scene.offer_id("c1")
    assert scene.at(15).presence("bob", "online") == ["offered c1 to bob"]
    joined = scene.last(d.ChatOffered)
    assert (joined.offer_id, joined.expires_in_ms) == (offer_id, 5_000)
    assert scene.wait(5) == ["withdrawn c1 from ann+bob: timed_out", "offered c1 to ann+bob"]


@pytest.mark.parametrize(
    ("before_s", "after_s", "left_ms"), [(20.0, 60.0, 5_000), (20.0, 0.0, 5_000), (0.0, 20.0, None)]
)
def test_newcomers_are_asked_for_as_long_as_the_others_whatever_the_settings_say_now(
    before_s: float, after_s: float, left_ms: int | None
) -> None:
    scene = office("ann", "bob", mode="ring_all", offer_timeout_s=before_s)
    scene.presence("bob", "offline")
    scene.ask("c1")
    scene.department("ann", "bob", mode="ring_all", offer_timeout_s=after_s)
    assert scene.at(15).presence("bob", "online") == ["offered c1 to bob"]
    joined = scene.last(d.ChatOffered)
    assert (joined.expires_in_ms, joined.expires_at is None) == (left_ms, left_ms is None)
    assert scene.wait(5) == (
        ["withdrawn c1 from ann+bob: timed_out", "offered c1 to ann+bob"] if left_ms else []
    )


def test_whom_the_relaxed_skills_admit_joins_the_open_ring_all() -> None:
    scene = office(mode="ring_all", offer_timeout_s=0.0, skills_relax_s=30.0, wait_timeout_s=0.0)
    scene.department(
        "ann", "bob", mode="ring_all", offer_timeout_s=0.0, wait_timeout_s=0.0, skills_relax_s=30.0
    )
    scene.agents("ann", skills={"tax": 1.0})
    scene.agents("bob")
    assert scene.ask("c1", skills=("tax",)) == ["offered c1 to ann"]
    assert scene.wait(30) == ["offered c1 to bob"]
    assert scene.count(d.ChatOffered) == 2


def test_who_lacks_the_skill_does_not_join() -> None:
    scene = Scene()
    scene.department(
        "ann", "bob", mode="ring_all", offer_timeout_s=0.0, wait_timeout_s=0.0, skills_relax_s=30.0
    )
    scene.agents("ann", skills={"tax": 1.0})
    assert scene.ask("c1", skills=("tax",)) == ["offered c1 to ann"]
    scene.agent("bob")
    assert scene.presence("bob", "online") == []
    scene.presence("bob", "away")
    assert scene.wait(30) == [], "relaxed, but there is nobody else"


def test_one_who_declined_is_not_asked_again_by_the_same_ring_all() -> None:
    scene = office("ann", "bob", mode="ring_all")
    scene.ask("c1")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined"]
    assert scene.presence("ann", "away") == []
    assert scene.presence("ann", "online") == []
    assert scene.decline("bob", "c1") == ["withdrawn c1 from bob: declined"]


def test_who_let_an_earlier_ring_all_ring_out_joins_the_next_as_soon_as_they_can() -> None:
    scene = office("ann", "bob", mode="ring_all", wait_timeout_s=0.0)
    scene.ask("c1")
    assert scene.wait(20) == ["withdrawn c1 from ann+bob: timed_out", "offered c1 to ann+bob"]
    assert scene.presence("ann", "away") == ["withdrawn c1 from ann: agent_away"]
    assert scene.presence("ann", "online") == ["offered c1 to ann"]


def test_a_newcomer_joins_all_that_rings_in_the_order_of_the_queue() -> None:
    scene = office("ann", mode="ring_all")
    scene.ask("c1")
    scene.ask("c2")
    scene.department("ann", id="sales", mode="ring_all")
    scene.ask("c3", "sales")
    scene.agent("bob")
    scene.department("ann", "bob", mode="ring_all")
    scene.department("ann", "bob", id="sales", mode="ring_all")
    assert scene.presence("bob", "online") == [f"offered {chat_id} to bob" for chat_id in ("c1", "c2", "c3")]


def test_ring_all_rings_do_not_count_as_unanswered() -> None:
    scene = office("ann", mode="ring_all", no_answer_limit=1, wait_timeout_s=0.0)
    scene.ask("c1")
    assert scene.wait(60) == ["withdrawn c1 from ann: timed_out", "offered c1 to ann"] * 3
    assert scene.person("ann").status == "online"


def test_ring_all_asks_the_best_fifty() -> None:
    names = [f"a{number:02d}" for number in range(60)]
    scene = Scene()
    scene.department(*names, mode="ring_all")
    scene.agents(*names)
    scene.ask("c1")
    offered = scene.last(d.ChatOffered)
    assert offered.agent_ids == tuple(names[:50])
    assert [ranked.agent_id for ranked in offered.why.next] == names[50:54]


def test_auto_assigns_at_once() -> None:
    scene = office("ann", "bob", mode="auto", max_chats=1)
    assert scene.ask("c1") == ["assigned c1 to ann by auto"]
    assert scene.ask("c2") == ["assigned c2 to bob by auto"]
    assert scene.ask("c3") == ["queued c3 in office at 1"]
    assert scene.at(7).end("c1", "agent", "ann") == [
        "missed c1: no_agent_message",
        "closed c1: missed",
        "assigned c3 to ann by auto",
    ]
    assert scene.last(d.ChatAssigned).waited_ms == 7000
    assert scene.count(d.ChatOffered) == 0


def test_a_change_of_mode_leaves_open_offers_and_rules_the_next() -> None:
    scene = office("ann", "bob", mode="offer")
    scene.ask("c1")
    assert scene.department("ann", "bob", mode="auto") == []
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined", "assigned c1 to bob by auto"]
