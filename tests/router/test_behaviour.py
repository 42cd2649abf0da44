"""What people used to other systems expect, as docs/behaviour.md lists it: what no other test here says, and where we differ.

One rule: docs/behaviour.md names a test for every line, and the last test here sees to it that each of them is there.
"""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from schemas import decisions as d
from schemas import events as e
from tests.router.scenes import Scene, office

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "behaviour.md"


def desk(*agent_ids: str, **routing: Any) -> Scene:
    """A department whose agents the test introduces one by one."""
    scene = Scene()
    scene.department(*agent_ids, **routing)
    return scene


def busy(scene: Scene, agent_id: str, chats: int) -> None:
    """Gives an agent so many chats, while the others are away."""
    others = [
        name for name, person in scene.ws.agents.items() if name != agent_id and person.status == "online"
    ]
    for name in others:
        scene.presence(name, "away")
    for number in range(chats):
        scene.served(agent_id, f"{agent_id}-{number}")
    for name in others:
        scene.presence(name, "online")


# ---------------------------------------------------------------- Odoo


def test_the_language_goes_before_the_load() -> None:
    scene = desk("ann", "bob")
    scene.agents("ann", languages=("en",))
    scene.agents("bob", languages=("fr",))
    busy(scene, "ann", 2)
    assert scene.ask("c1", language="en") == ["offered c1 to ann"]


def test_a_language_whose_speaker_is_away_is_waited_for_a_while() -> None:
    scene = desk("ann", "bob", skills_relax_s=60.0)
    scene.agents("ann", languages=("en",), status="away")
    scene.agents("bob", languages=("fr",))
    assert scene.ask("c1", language="en") == ["queued c1 in office at 1"]
    assert scene.wait(59.9) == []
    assert scene.wait(0.1) == ["offered c1 to bob"]


def test_a_country_can_be_asked_for_as_a_skill() -> None:
    scene = desk("ann", "bob", "cyd")
    scene.agents("ann", languages=("fr",), skills={"country:us": 1.0})
    scene.agents("bob", languages=("en",), skills={"country:fr": 1.0})
    scene.agents("cyd", languages=("fr",), skills={"country:fr": 1.0})
    assert scene.ask("c1", language="en", skills=("country:fr",)) == ["offered c1 to bob"]
    assert scene.ask("c2", language="fr", skills=("country:fr",)) == ["offered c2 to cyd"]


def test_half_of_what_is_wanted_is_nothing_until_the_relaxation() -> None:
    scene = desk("ann", "bob", "cyd", skills_relax_s=60.0)
    scene.agents("ann", languages=("en",), skills={"dogs": 1.0})
    scene.agents("bob", languages=("fr",), skills={"dogs": 1.0, "cats": 1.0})
    scene.agents("cyd", languages=("en",), skills={"cats": 1.0})
    busy(scene, "ann", 1)
    assert scene.ask("c1", language="en", skills=("dogs", "cats")) == ["queued c1 in office at 1"]
    assert scene.wait(60) == ["offered c1 to bob"], "then anybody, by the strategy alone"
    assert scene.ask("c2", language="fr", skills=("dogs",)) == ["offered c2 to bob"]


def test_the_load_goes_before_the_time_since_the_last_chat() -> None:
    scene = office("ann", "bob")
    busy(scene, "ann", 2)
    scene.at(600)
    busy(scene, "bob", 1)
    assert scene.at(601).ask("c1") == ["offered c1 to bob"], "though bob has had a chat a second ago"


def test_room_is_one_over_all_departments() -> None:
    scene = desk("ann", mode="auto")
    scene.department("ann", id="sales", mode="auto")
    scene.agents("ann", max_chats=2)
    assert scene.ask("c1") == ["assigned c1 to ann by auto"]
    assert scene.ask("c2", "sales") == ["assigned c2 to ann by auto"]
    assert scene.ask("c3") == ["queued c3 in office at 1"]
    assert scene.ask("c4", "sales") == ["queued c4 in sales at 1"]


def test_a_silent_chat_keeps_its_slot_until_somebody_ends_it() -> None:
    scene = office("ann", max_chats=1, mode="auto", wait_timeout_s=0.0)
    scene.served("ann", "c1")
    scene.ask("c2")
    assert scene.wait(24 * 3600) == []
    assert scene.end("c1", "agent", "ann") == ["closed c1: handled", "assigned c2 to ann by auto"]


def test_who_is_not_of_the_department_is_never_asked() -> None:
    scene = desk("ann", wait_timeout_s=60.0)
    scene.agents("ann", status="away")
    scene.agents("bob", languages=("en",))
    assert scene.ask("c1", language="en") == ["queued c1 in office at 1"]
    assert scene.wait(60) == ["missed c1: no_reply/timed_out", "closed c1: missed"]


# ---------------------------------------------------------------- Rocket.Chat


def test_an_away_or_absent_agent_is_passed_over_by_every_strategy() -> None:
    for strategy in ("least_loaded", "round_robin", "longest_idle", "tiers"):
        scene = office("ann", "bob", "cyd", mode="auto", strategy=strategy)
        scene.presence("ann", "away")
        scene.presence("bob", "offline")
        for number in range(4):
            assert scene.ask(f"c{number}") == [f"assigned c{number} to cyd by auto"], strategy


def test_a_rotation_gives_everybody_a_turn_newcomers_too() -> None:
    scene = office("ann", "bob", max_chats=9, mode="auto", strategy="round_robin")
    scene.presence("bob", "away")
    assert scene.ask("c1") == ["assigned c1 to ann by auto"]
    assert scene.ask("c2") == ["assigned c2 to ann by auto"]
    scene.presence("bob", "online")
    turns = [scene.ask(f"c{number}")[0] for number in range(3, 7)]
    assert [turn.split()[3] for turn in turns] == ["bob", "ann", "bob", "ann"]


def test_with_nobody_there_a_request_is_taken_and_missed_at_its_limit() -> None:
    scene = office("ann", wait_timeout_s=60.0)
    scene.presence("ann", "offline")
    assert scene.ask("c1", email="v@example.test") == ["queued c1 in office at 1"]
    assert scene.wait(60) == ["missed c1: no_reply/timed_out", "closed c1: missed"]
    missed = scene.last(d.ChatMissed)
    assert (missed.available_counts["at_start"], missed.reply_by_email) == (0, True)


def test_a_visitors_own_agent_can_be_asked_for_as_a_skill() -> None:
    scene = desk("ann", "bob", skills_relax_s=30.0)
    scene.agents("ann")
    scene.agents("bob", skills={"account:7": 1.0})
    busy(scene, "bob", 3)
    assert scene.ask("c1", skills=("account:7",)) == ["offered c1 to bob"], "whatever their load"
    scene.leave("c1")
    scene.presence("bob", "away")
    assert scene.ask("c2", skills=("account:7",)) == ["queued c2 in office at 1"]
    assert scene.wait(30) == ["offered c2 to ann"]


def test_unless_it_is_wanted_nobody_is_kept_for_the_agent_they_had() -> None:
    scene = office("ann", "bob")
    busy(scene, "bob", 1)
    assert scene.ask("c1", visitor_id="v-bob-0") == ["offered c1 to ann"]


def test_a_chat_without_a_bot_in_its_request_goes_to_people() -> None:
    scene = office("ann", mode="auto")
    assert scene.ask("c1", bot="guide") == []
    assert scene.ask("c2") == ["assigned c2 to ann by auto"]


def test_a_limit_of_none_takes_no_chat() -> None:
    scene = office("ann", max_chats=0, mode="auto", wait_timeout_s=0.0)
    assert scene.ask("c1") == ["queued c1 in office at 1"]
    assert scene.agent("ann", max_chats=1) == ["assigned c1 to ann by auto"]


def test_a_higher_limit_serves_what_waits_in_any_department() -> None:
    scene = desk("ann", mode="auto")
    scene.department("ann", id="sales", mode="auto")
    scene.agents("ann", max_chats=1)
    scene.ask("c1")
    scene.at(1).ask("c2", "sales")
    scene.at(2).ask("c3")
    assert scene.agent("ann", max_chats=3) == ["assigned c2 to ann by auto", "assigned c3 to ann by auto"]


# ---------------------------------------------------------------- happychat


def test_without_a_language_anybody_will_do() -> None:
    scene = desk("ann", "bob")
    scene.agents("ann", languages=("fr",))
    scene.agents("bob", languages=("en",))
    assert [scene.ask("c1"), scene.ask("c2")] == [["offered c1 to ann"], ["offered c2 to bob"]]


def test_a_chat_nobody_can_take_yet_does_not_hold_up_those_behind_it() -> None:
    scene = desk("ann", "bob", max_queue=0)
    scene.agents("ann", max_chats=1, languages=("cs",))
    scene.agents("bob", max_chats=1, languages=("en",))
    busy(scene, "ann", 1)
    assert scene.ask("c1", language="cs") == ["queued c1 in office at 1"]
    assert scene.ask("c2", language="en") == ["offered c2 to bob"]


def reserves(after_s: float) -> Scene:
    tiers = (e.Tier(("ann", "bob"), 0), e.Tier(("rex", "rob"), after_s))
    return office(
        "ann",
        "bob",
        "rex",
        "rob",
        max_chats=1,
        mode="auto",
        strategy="tiers",
        tiers=tiers,
        wait_timeout_s=0.0,
    )


def test_reserves_come_last_and_only_after_a_moment() -> None:
    scene = reserves(after_s=5.0)
    assert scene.ask("c1") == ["assigned c1 to ann by auto"]
    assert scene.ask("c2") == ["assigned c2 to bob by auto"]
    assert scene.ask("c3") == ["queued c3 in office at 1"]
    assert scene.wait(5) == ["assigned c3 to rex by auto"]
    assert scene.leave("c1") == ["missed c1: no_agent_message", "closed c1: missed"]
    assert scene.ask("c4") == ["assigned c4 to ann by auto"]


def test_reserves_that_open_at_once_still_come_last() -> None:
    scene = reserves(after_s=0.0)
    served = [scene.ask(f"c{number}")[0].split()[3] for number in range(4)]
    assert served == ["ann", "bob", "rex", "rob"]


def test_an_overflow_serves_whom_an_empty_group_cannot() -> None:
    scene = desk(overflow_department_id="sales")
    scene.department("ann", id="sales")
    scene.agents("ann")
    assert scene.ask("c1") == ["offered c1 to ann"]


# ---------------------------------------------------------------- Asterisk


def test_priorities_go_ahead_of_others_and_behind_their_equals() -> None:
    head_start = {"high": 3_600.0, "highest": 7_200.0}
    scene = office("ann", max_chats=0, priority_head_start_s=head_start, wait_timeout_s=0.0)
    for second, (chat, priority, position) in enumerate(
        (
            ("c1", None, 1),
            ("c2", None, 2),
            ("c3", "high", 1),
            ("c4", "high", 2),
            ("c5", "highest", 1),
            ("c6", "high", 4),
            ("c7", None, 7),
        )
    ):
        assert scene.at(second).ask(chat, priority=priority) == [f"queued {chat} in office at {position}"]
    assert scene.agent("ann", max_chats=7) == [
        f"offered c{number} to ann" for number in (5, 3, 4, 6, 1, 2, 7)
    ]


def test_a_head_start_is_used_up_by_waiting_long_enough() -> None:
    scene = office("ann", max_chats=0, priority_head_start_s={"high": 60.0}, wait_timeout_s=0.0)
    scene.ask("old")
    scene.at(61).ask("vip", priority="high")
    assert scene.agent("ann", max_chats=1) == ["offered old to ann"]


def test_who_is_in_a_tier_that_never_opens_is_not_rung() -> None:
    scene = office("ann", strategy="tiers", tiers=(e.Tier(("ann",), 600),), wait_timeout_s=120.0)
    assert scene.ask("c1") == ["queued c1 in office at 1"]
    assert scene.wait(120) == ["missed c1: no_reply/timed_out", "closed c1: missed"]
    assert scene.count(d.ChatOffered) == 0


def test_an_agent_may_be_in_another_tier_of_each_department() -> None:
    tiers = (e.Tier(("ann",), 0), e.Tier(("bob",), 30))
    scene = desk("ann", "bob", strategy="tiers", tiers=tiers)
    scene.department(
        "ann", "bob", id="sales", strategy="tiers", tiers=(e.Tier(("bob",), 0), e.Tier(("ann",), 30))
    )
    scene.agents("ann", "bob")
    assert scene.ask("c1") == ["offered c1 to ann"]
    assert scene.ask("c2", "sales") == ["offered c2 to bob"]


def test_wrap_up_counts_in_every_department() -> None:
    scene = desk("ann", wrap_up_s=10.0)
    scene.department("ann", id="sales")
    scene.agents("ann", max_chats=1)
    scene.served("ann", "c1")
    scene.leave("c1")
    assert scene.ask("c2", "sales") == ["queued c2 in sales at 1"]
    assert scene.wait(10) == ["offered c2 to ann"]


def test_wrap_up_follows_what_was_answered_only() -> None:
    scene = office("ann", max_chats=1, wrap_up_s=10.0)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.leave("c1")
    assert scene.ask("c2") == ["offered c2 to ann"]


def test_while_one_wraps_up_another_is_asked() -> None:
    scene = office("ann", "bob", max_chats=1, wrap_up_s=20.0, mode="auto", wait_timeout_s=0.0)
    scene.served("ann", "c1")
    scene.leave("c1")
    assert scene.at(1).ask("c2") == ["assigned c2 to bob by auto"]
    scene.write("agent", "c2", "bob")
    scene.leave("c2")
    assert scene.at(2).ask("c3") == ["queued c3 in office at 1"]
    assert scene.at(0).wait(20) == ["assigned c3 to ann by auto"]


def test_only_who_is_online_rings_and_the_visitor_waits_no_longer_than_the_limit() -> None:
    scene = office("ann", "bob", offer_timeout_s=20.0, wait_timeout_s=50.0, no_answer_limit=0)
    scene.presence("ann", "away")
    assert scene.ask("c1") == ["offered c1 to bob"]
    assert scene.wait(50) == [
        *["withdrawn c1 from bob: timed_out", "offered c1 to bob"] * 2,
        "withdrawn c1 from bob: chat_missed",
        "missed c1: no_reply/timed_out",
        "closed c1: missed",
    ]


def test_who_lets_it_ring_is_away_for_every_department() -> None:
    scene = desk("ann", no_answer_limit=1)
    scene.department("ann", id="sales")
    scene.agents("ann")
    scene.ask("c1")
    assert scene.wait(20) == ["withdrawn c1 from ann: timed_out", "marked away ann"]
    assert scene.ask("c2", "sales") == ["queued c2 in sales at 1"]


# ---------------------------------------------------------------- the document

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_the_document_names_is_there_and_every_one_of_these_is_named() -> None:
    named: dict[str, set[str]] = {}
    for path, name in NAMED.findall(DOCUMENT.read_text("utf-8")):
        named.setdefault(path, set()).add(name)
    missing = {path: names - names_in(ROOT / path) for path, names in named.items()}
    assert {path: names for path, names in missing.items() if names} == {}
    mine = str(Path(__file__).relative_to(ROOT))
    assert names_in(Path(__file__)) - named[mine] == {
        "test_every_test_the_document_names_is_there_and_every_one_of_these_is_named",
        "test_every_line_of_the_document_names_a_test_and_is_counted",
    }


@pytest.mark.parametrize("system", ["Odoo", "Rocket.Chat", "happychat", "Asterisk"])
def test_every_line_of_the_document_names_a_test_and_is_counted(system: str) -> None:
    text = DOCUMENT.read_text("utf-8")
    chapter = text.partition(f"\n## {system}\n")[2].partition("\n## ")[0]
    head, _, *rows = [line for line in chapter.splitlines() if line.startswith("| ")]
    assert head == "| they expect | here | our test |"
    assert [row for row in rows if not NAMED.search(row)] == []
    differing = [row for row in rows if "**differs" in row.lower()]
    assert f"| {system} | {len(rows)} | {len(differing)} |" in text
