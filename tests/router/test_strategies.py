"""Who is asked first: strategies, tiers, skills and their relaxation."""

from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from tests.router.scenes import Scene, office


def rung(scene: Scene, chat_id: str) -> str:
    """Whom a new chat is offered to."""
    heard = scene.ask(chat_id)
    assert len(heard) == 1
    return heard[0].removeprefix(f"offered {chat_id} to ")


def test_least_loaded_then_longest_since_assigned_then_id() -> None:
    scene = office("cyd", "bob", "ann")
    assert rung(scene, "c1") == "ann"
    scene.at(1).accept("ann", "c1")
    assert rung(scene, "c2") == "bob"
    scene.at(2).accept("bob", "c2")
    scene.write("agent", "c2", "bob")
    scene.leave("c2")
    assert rung(scene, "c3") == "cyd"
    scene.at(3).accept("cyd", "c3")
    assert rung(scene, "c4") == "bob"
    scene.leave("c1")
    scene.at(4).accept("bob", "c4")
    assert rung(scene, "c5") == "ann"
    assert scene.last(d.ChatOffered).why.rank == (0, scene.starts_at_ms + 1000, "ann")


def test_round_robin_takes_the_next_id_after_the_last_asked() -> None:
    scene = office("cyd", "ann", "bob", strategy="round_robin")
    assert [rung(scene, f"c{number}") for number in range(5)] == ["ann", "bob", "cyd", "ann", "bob"]
    assert scene.presence("cyd", "away") == ["withdrawn c2 from cyd: agent_away", "offered c2 to ann"]
    assert [rung(scene, "c5"), rung(scene, "c6")] == ["bob", "ann"]


def test_round_robin_does_not_go_back_to_who_accepts_late() -> None:
    scene = office("ann", "bob", "cyd", strategy="round_robin")
    assert [rung(scene, "c1"), rung(scene, "c2")] == ["ann", "bob"]
    scene.accept("ann", "c1")
    assert rung(scene, "c3") == "cyd"


def test_round_robin_remembers_per_department() -> None:
    scene = office("ann", "bob", strategy="round_robin")
    scene.department("ann", "bob", id="sales", strategy="round_robin")
    assert rung(scene, "c1") == "ann"
    assert scene.ask("c2", "sales") == ["offered c2 to ann"]
    assert rung(scene, "c3") == "bob"


def test_round_robin_goes_on_after_one_who_left_the_department() -> None:
    scene = office("ann", "bob", "cyd", strategy="round_robin")
    rung(scene, "c1")
    rung(scene, "c2")
    scene.accept("bob", "c2")
    scene.department("ann", "cyd", strategy="round_robin")
    assert rung(scene, "c3") == "cyd"


def test_longest_idle_counts_from_the_last_end_or_coming_online() -> None:
    scene = Scene()
    scene.department("ann", "bob", "cyd", strategy="longest_idle")
    for second, agent in enumerate(("cyd", "bob", "ann")):
        scene.at(second).agents(agent)
    assert rung(scene, "c1") == "cyd"
    scene.accept("cyd", "c1")
    scene.write("agent", "c1", "cyd")
    scene.at(10).leave("c1")
    assert rung(scene, "c2") == "bob"
    scene.at(11).presence("bob", "away")
    scene.at(12).presence("bob", "online")
    assert rung(scene, "c3") == "ann"
    scene.presence("ann", "away")
    assert rung(scene, "c4") == "cyd"


def test_a_missed_end_counts_as_an_end_too() -> None:
    scene = office("ann", "bob", strategy="longest_idle")
    assert rung(scene, "c1") == "ann"
    scene.accept("ann", "c1")
    scene.at(10).leave("c1")
    assert rung(scene, "c2") == "bob"


def tiers(*spans: tuple[str, float]) -> tuple[e.Tier, ...]:
    return tuple(e.Tier(tuple(names.split()), after_s) for names, after_s in spans)


def test_tiers_open_one_after_the_other_by_the_age_of_the_chat() -> None:
    scene = office(
        "ann",
        "bob",
        "cyd",
        strategy="tiers",
        tiers=tiers(("cyd", 0), ("bob", 10)),
        offer_timeout_s=5.0,
        wait_timeout_s=0.0,
        no_answer_limit=0,
    )
    assert scene.ask("c1") == ["offered c1 to cyd"]
    assert scene.last(d.ChatOffered).why.others == {"tier_closed": 2}
    assert scene.wait(5) == ["withdrawn c1 from cyd: timed_out", "offered c1 to cyd"]
    assert scene.wait(5)[-1] == "offered c1 to ann", "whom no tier names opens with the last"
    assert scene.wait(5)[-1] == "offered c1 to bob"
    assert scene.wait(5)[-1] == "offered c1 to cyd", "all were asked: the first tier again"


def test_a_first_tier_may_open_late() -> None:
    scene = office("ann", strategy="tiers", tiers=tiers(("ann", 10)))
    assert scene.ask("c1") == ["queued c1 in office at 1"]
    assert scene.wait(9.9) == []
    assert scene.wait(0.1) == ["offered c1 to ann"]


def test_an_older_chat_finds_more_tiers_open() -> None:
    scene = office("ann", "bob", strategy="tiers", tiers=tiers(("ann", 0), ("bob", 60)))
    scene.presence("ann", "away")
    scene.ask("c1")
    scene.leave("c1")
    scene.at(60)
    assert scene.write("visitor", "c1") == ["reopened c1 as 2", "offered c1 to bob"]


def test_new_tiers_count_for_chats_that_wait() -> None:
    scene = office("ann", "bob", max_chats=1, wait_timeout_s=0.0)
    for agent in ("ann", "bob"):
        scene.presence(agent, "away")
    scene.ask("c1")
    wanted: dict[str, Any] = {
        "strategy": "tiers",
        "tiers": tiers(("ann", 0), ("bob", 30)),
        "wait_timeout_s": 0.0,
    }
    assert scene.at(10).department("ann", "bob", **wanted) == []
    assert scene.presence("bob", "online") == []
    assert scene.at(30).wait(0) == ["offered c1 to bob"]


def test_tiers_without_any_tier_are_open() -> None:
    assert office("ann", strategy="tiers").ask("c1") == ["offered c1 to ann"]


# ---------------------------------------------------------------- skills


def skilled(**routing: Any) -> Scene:
    scene = Scene()
    scene.department("ann", "bob", "cyd", **routing)
    scene.agents("ann")
    scene.agents("bob", skills={"tax": 0.0})
    scene.agents("cyd", skills={"tax": 0.5, "law": 1.0})
    return scene


def test_a_skill_is_a_level_above_zero() -> None:
    scene = skilled()
    assert scene.ask("c1", skills=("tax",)) == ["offered c1 to cyd"]
    assert scene.last(d.ChatOffered).why.others == {"lacks_skill": 2}
    scene.leave("c1")
    assert scene.last(d.ChatMissed).rule.skills == ("tax",)


def test_all_wanted_skills_are_needed() -> None:
    scene = skilled()
    assert scene.ask("c1", skills=("tax", "law")) == ["offered c1 to cyd"]
    assert scene.ask("c2", skills=("tax", "art")) == ["queued c2 in office at 2"]


def test_after_the_relaxation_anybody_will_do() -> None:
    scene = skilled(skills_relax_s=30.0)
    assert scene.ask("c1", skills=("art",)) == ["queued c1 in office at 1"]
    assert scene.wait(29.9) == []
    assert scene.wait(0.1) == ["offered c1 to ann"]


def test_without_relaxation_skills_stay_wanted() -> None:
    scene = skilled(skills_relax_s=0.0, wait_timeout_s=0.0)
    scene.ask("c1", skills=("art",))
    assert scene.wait(24 * 3600) == []
    assert scene.agent("bob", skills={"art": 1.0}) == ["offered c1 to bob"]


def test_skills_that_were_relaxed_stay_so_while_the_chat_goes_through_queues_and_hands() -> None:
    scene = skilled(skills_relax_s=30.0, offer_timeout_s=15.0, first_reply_timeout_s=15.0)
    scene.ask("c1", skills=("tax",))
    scene.accept("cyd", "c1")
    assert scene.wait(15) == ["unassigned c1 from cyd: no_first_reply", "offered c1 to cyd"]
    assert scene.wait(15) == ["withdrawn c1 from cyd: timed_out", "offered c1 to ann"], "30 s since it came"
    scene.accept("ann", "c1")
    assert scene.wait(15) == ["unassigned c1 from ann: no_first_reply", "offered c1 to bob"]


def test_a_bots_chat_has_its_skills_wanted_from_its_transfer_on() -> None:
    scene = skilled(skills_relax_s=30.0)
    scene.ask("c1", bot="bot", skills=("tax",))
    assert scene.wait(60) == []
    assert scene.transfer("c1") == ["offered c1 to cyd"]
    assert scene.decline("cyd", "c1") == ["withdrawn c1 from cyd: declined"]
    assert scene.wait(30) == ["offered c1 to ann"]


def test_a_reopened_chat_has_its_skills_wanted_anew() -> None:
    scene = skilled(skills_relax_s=30.0)
    scene.ask("c1", skills=("tax",))
    scene.leave("c1")
    scene.wait(60)
    assert scene.write("visitor", "c1") == ["reopened c1 as 2", "offered c1 to cyd"]


@pytest.mark.parametrize(
    ("after_s", "heard"), [(29, "refused: department_unavailable"), (30, "offered c1 to dan as transfer")]
)
def test_a_transfer_relaxes_skills_after_the_same_time(after_s: float, heard: str) -> None:
    scene = skilled()
    scene.department("dan", id="sales", skills_relax_s=30.0)
    scene.agents("dan")
    scene.at(100).ask("c1", bot="bot", skills=("tax",))
    scene.at(200).transfer("c1")
    scene.accept("cyd", "c1")
    assert scene.at(200 + after_s).hand_on("c1", "cyd", to_department="sales") == [heard]


@pytest.mark.parametrize("settings", [{"languages": ("ja",)}, {"skills": {"ja": 1.0}, "languages": ("ja",)}])
def test_a_visitors_language_is_a_skill_where_somebody_lists_it(settings: dict[str, Any]) -> None:
    scene = office("ann", "bob")
    assert scene.ask("c1", language="ja") == ["offered c1 to ann"]
    scene.agent("bob", **settings)
    assert scene.ask("c2", language="ja") == ["offered c2 to bob"]
    scene.agent("bob")
    scene.accept("ann", "c1")
    scene.ask("c3", language="ja")
    assert scene.last(d.ChatOffered).why.others == {}


def test_the_language_of_somebody_in_another_department_does_not_count() -> None:
    scene = office("ann")
    scene.department("bob", id="sales")
    scene.agents("bob", languages=("ja",))
    assert scene.ask("c1", language="ja") == ["offered c1 to ann"]
