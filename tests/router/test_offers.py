"""One-by-one offers: accepted, declined, withdrawn or timed out, once."""

import pytest

from schemas import decisions as d
from schemas import events as e
from schemas.types import Status, WithdrawReason
from tests.router.scenes import decided, office, run_again


def test_the_next_candidate_is_rung_and_owns_the_chat_on_accepting() -> None:
    scene = office("ann")
    assert scene.ask("c1") == ["offered c1 to ann"]
    assert scene.at(3).accept("ann", "c1") == ["assigned c1 to ann by accept"]
    assert scene.last(d.ChatAssigned).waited_ms == 3000
    assert scene.last(d.ChatAssigned).generation == 1
    assert scene.chat("c1").owner_id == "ann"
    assert scene.chat("c1").offer is None
    assert scene.wait(20) == []


def test_an_offer_says_until_when_and_whom_to_ring_silently() -> None:
    scene = office("ann", offer_timeout_s=20.0)
    scene.presence("ann", "online", sound=False)
    scene.ask("c1")
    offered = scene.last(d.ChatOffered)
    assert (offered.expires_at, offered.expires_in_ms) == ("2026-11-23T09:00:20.000Z", 20_000)
    assert offered.silent_agent_ids == ("ann",)


def test_an_offer_without_time_limit_does_not_expire() -> None:
    scene = office("ann", offer_timeout_s=0.0, wait_timeout_s=0.0)
    scene.ask("c1")
    offered = scene.last(d.ChatOffered)
    assert (offered.expires_at, offered.expires_in_ms) == (None, None)
    assert scene.wait(24 * 3600) == []


def test_a_declined_chat_goes_to_those_not_yet_asked_and_keeps_its_age() -> None:
    scene = office("ann", "bob", max_chats=1)
    scene.ask("c1")
    assert scene.at(5).decline("ann", "c1") == ["withdrawn c1 from ann: declined", "offered c1 to bob"]
    assert scene.chat("c1").age_ms == scene.starts_at_ms
    assert scene.ask("c2") == ["offered c2 to ann"]


def test_after_a_decline_the_agent_is_left_alone_for_the_cool_down() -> None:
    scene = office("ann", decline_cooldown_s=30.0)
    scene.ask("c1")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined"]
    assert scene.ask("c2") == ["offered c2 to ann"], "the cool-down is for the declined chat only"
    scene.accept("ann", "c2")
    assert scene.at(0).wait(29.9) == []
    assert scene.wait(0.1) == ["offered c1 to ann"]
    assert scene.last(d.ChatOffered).why.notes == ("everybody able was asked before",)


def test_when_a_cool_down_is_over_nobody_joins_who_is_asked_alone() -> None:
    scene = office("ann", "bob", max_chats=1, decline_cooldown_s=30.0, offer_timeout_s=100.0)
    scene.ask("c1")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined", "offered c1 to bob"]
    scene.department("ann", "bob", "cyd", decline_cooldown_s=30.0, offer_timeout_s=100.0)
    scene.agents("cyd")
    assert scene.wait(31) == []


def test_without_cool_down_the_only_agent_is_asked_again_at_once() -> None:
    scene = office("ann", decline_cooldown_s=0.0)
    scene.ask("c1")
    assert scene.decline("ann", "c1") == ["withdrawn c1 from ann: declined", "offered c1 to ann"]


def test_an_offer_that_rings_out_goes_on_and_a_single_agent_is_rung_again() -> None:
    scene = office("ann", no_answer_limit=0)
    scene.ask("c1")
    assert scene.wait(19.999) == []
    first = scene.offer_id("c1")
    assert scene.wait(0.001) == ["withdrawn c1 from ann: timed_out", "offered c1 to ann"]
    assert scene.offer_id("c1") != first


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_too_many_unanswered_rings_mark_an_agent_away(limit: int) -> None:
    scene = office("ann", "bob", no_answer_limit=limit, wait_timeout_s=0.0)
    scene.presence("bob", "offline")
    scene.ask("c1")
    again = ["withdrawn c1 from ann: timed_out", "offered c1 to ann"]
    last = ["withdrawn c1 from ann: timed_out", "marked away ann"]
    assert scene.wait(20 * limit) == again * (limit - 1) + last
    assert scene.person("ann").status == "away"
    assert scene.presence("ann", "online") == ["offered c1 to ann"]


def test_being_marked_away_withdraws_other_offers_and_keeps_chats() -> None:
    scene = office("ann", no_answer_limit=1)
    scene.served("ann", "c0")
    scene.ask("c1")
    scene.at(5).ask("c2")
    assert scene.at(0).wait(20) == [
        "withdrawn c1 from ann: timed_out",
        "marked away ann",
        "withdrawn c2 from ann: agent_away",
    ]
    assert scene.chat("c0").owner_id == "ann"


def test_chats_that_ring_together_are_one_unanswered_ring() -> None:
    scene = office("ann", no_answer_limit=2, wait_timeout_s=0.0)
    for chat in ("c1", "c2", "c3"):
        scene.ask(chat)
    heard = scene.wait(20)
    assert "marked away ann" not in heard
    assert heard.count("offered c1 to ann") == 1
    assert scene.person("ann").unanswered == 1
    assert "marked away ann" in scene.wait(20)


@pytest.mark.parametrize("answer", ["accept", "decline", "presence"])
def test_an_answer_or_presence_starts_the_count_anew(answer: str) -> None:
    scene = office("ann", no_answer_limit=2, wait_timeout_s=0.0, decline_cooldown_s=1.0)
    scene.ask("c1")
    scene.wait(20)
    assert scene.person("ann").unanswered == 1
    match answer:
        case "accept":
            scene.accept("ann", "c1")
        case "decline":
            scene.decline("ann", "c1")
        case _:
            scene.presence("ann", "online")
    assert scene.person("ann").unanswered == 0


@pytest.mark.parametrize(
    ("status", "reason"), [("offline", "agent_offline"), ("away", "agent_away")], ids=["offline", "away"]
)
def test_presence_takes_offers_back(status: Status, reason: WithdrawReason) -> None:
    scene = office("ann", "bob")
    scene.ask("c1")
    assert scene.presence("ann", status) == [f"withdrawn c1 from ann: {reason}", "offered c1 to bob"]


def test_a_removed_agent_loses_offers_and_chats() -> None:
    scene = office("ann", "bob")
    scene.served("ann", "c0")
    scene.ask("c1")
    scene.accept("bob", "c1")
    scene.ask("c2")
    assert scene.say(e.AgentDeleted("ann")) == [
        "withdrawn c2 from ann: agent_removed",
        "unassigned c0 from ann: agent_removed",
        "offered c0 to bob",
        "offered c2 to bob",
    ]
    assert scene.say(e.AgentDeleted("ann")) == []


def test_an_agent_taken_out_of_a_department_loses_its_offers_only() -> None:
    scene = office("ann", "bob")
    scene.served("ann", "c0")
    scene.presence("bob", "offline")
    scene.ask("c1")
    assert scene.department("bob") == ["withdrawn c1 from ann: agent_removed"]
    assert scene.chat("c0").owner_id == "ann"


def test_the_visitor_leaving_withdraws_the_offer() -> None:
    scene = office("ann")
    scene.ask("c1")
    assert scene.leave("c1") == [
        "withdrawn c1 from ann: visitor_left",
        "missed c1: visitor_left",
        "closed c1: missed",
    ]
    assert scene.person("ann").load == 0
    assert scene.wait(600) == []


def test_late_answers_are_refused_and_change_nothing() -> None:
    scene = office("ann", "bob")
    scene.ask("c1")
    first = scene.offer_id("c1")
    scene.decline("ann", "c1")
    for say in (scene.accept, scene.decline):
        assert say("ann", "c1", offer_id=first) == ["refused: offer_not_open"]
        assert say("ann", "c1") == ["refused: offer_not_open"], "it is bob who is asked now"
        assert say("bob", "c1", offer_id=first) == ["refused: offer_not_open"]
    scene.accept("bob", "c1")
    assert scene.accept("bob", "c1", offer_id=scene.offer_id("c1")) == ["refused: offer_not_open"]
    assert scene.chat("c1").owner_id == "bob"


def test_why_names_the_rule_the_next_and_the_others() -> None:
    scene = office("a", "b", "c", "d", "e", "f", "g", max_chats=1)
    scene.presence("f", "away")
    scene.presence("g", "offline")
    scene.ask("c0")
    scene.accept("a", "c0")
    scene.ask("c1")
    why = scene.last(d.ChatOffered).why
    assert why.rule == "offer/least_loaded"
    assert why.rank == (0, 0, "b")
    assert [ranked.agent_id for ranked in why.next] == ["c", "d", "e"]
    assert why.others == {"offline": 1, "away": 1, "full": 1}


def test_ids_are_the_same_in_every_run_and_none_occurs_twice() -> None:
    scene = office("ann", "bob")
    scene.ask("c1")
    scene.wait(70)
    scene.leave("c1")
    ids = [item.id for item in scene.emitted]
    assert len(set(ids)) == len(ids) > 5
    assert all(len(one) == 26 for one in ids)
    assert run_again(scene) == decided(scene)


def test_nobody_is_rung_again_before_the_others_were_in_any_round() -> None:
    scene = office("ann", "bob", "cyd", no_answer_limit=0, wait_timeout_s=0.0)
    scene.ask("c1")
    rung = [heard for heard in scene.wait(20 * 8) if heard.startswith("offered")]
    assert rung == [f"offered c1 to {agent_id}" for agent_id in ("bob", "cyd", "ann") * 2 + ("bob", "cyd")]
