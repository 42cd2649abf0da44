"""Why not agent X: a row for every reason, and a sample day on which the reasons add up to what the router counted."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner, Result

from schemas import decisions as d
from schemas import events as e
from services.local.cli import app
from services.local.errors import LocalError
from services.local.story.verdict_words import moment_lines
from services.local.story.verdicts import Reason, judge
from services.local.story.why_not import in_file
from services.local.story.words import PHRASES, Words
from services.router.core.evolve import evolve
from services.router.core.fold import Fold
from services.router.core.partition import decided
from services.router.core.state import Emission, Workspace
from tests.local.rehearsed import rehearsal
from tests.local.told import log_of, written
from tests.router.scenes import Scene, office

SUNDAYS = e.Hours((e.Span("sun", "09:00", "18:00"),))


def invoke(scene: Scene, folder: Path, *arguments: str) -> Result:
    path = written(scene, folder / "events.jsonl")
    return CliRunner().invoke(app, ["explain", "c1", "--file", str(path), *arguments])


def asked(scene: Scene, folder: Path, agent_id: str) -> list[str]:
    """What is said of the agent at each moment; the scene goes on a little, so that what is due by now is decided."""
    scene.at(scene.now_s + 0.001).agent("late")
    log = log_of(scene, "c1", folder)
    moments = in_file(folder / "events.jsonl", log, agent_id)
    return [line.text for line in moment_lines(Words(log.ws, "en"), moments, agent_id)]


def last(scene: Scene, folder: Path, agent_id: str) -> str:
    return asked(scene, folder, agent_id)[-1]


# ---------------------------------------------------------------- the agent


def two(**routing: Any) -> Scene:
    """Ann and Bob are there."""
    return office("ann", "bob", **routing)


@pytest.mark.parametrize("status", ["offline", "away"])
def test_not_there(status: Any, tmp_path: Path) -> None:
    scene = two()
    scene.presence("bob", status)
    scene.ask("c1")
    assert last(scene, tmp_path, "bob") == f"Offered to Ann: Bob was {status}"


def test_chosen(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1")
    assert last(scene, tmp_path, "ann") == "Offered to Ann: Ann was chosen"


def test_not_of_the_department_not_yet_and_no_longer_an_agent(tmp_path: Path) -> None:
    scene = two()
    scene.agents("cyd")
    scene.say(e.AgentDeleted("bob"))
    scene.ask("c1")
    assert last(scene, tmp_path, "cyd") == "Offered to Ann: Cyd is not in Office"
    assert last(scene, tmp_path, "bob") == "Offered to Ann: Bob had been removed"
    scene.agent("dan")
    assert last(scene, tmp_path, "dan") == "Offered to Ann: Dan was not set up yet"


def test_full(tmp_path: Path) -> None:
    scene = office("ann", "bob", max_chats=2, channel_cost={"email": 2})
    scene.served("ann", "c0")
    scene.ask("c1", channel="email")
    assert last(scene, tmp_path, "ann") == "Offered to Bob: Ann was full: load 1 of 2, and the chat takes 2"


@pytest.mark.parametrize(("relax_s", "for_how_long"), [(60.0, "; that stops counting in 1 min"), (0.0, "")])
def test_without_a_skill(relax_s: float, for_how_long: str, tmp_path: Path) -> None:
    scene = two(skills_relax_s=relax_s)
    scene.agent("ann", skills={"tax": 1.0})
    scene.agent("bob", skills={"law": 1.0})
    scene.ask("c1", skills=("tax", "law"), department_id="office")
    assert (
        last(scene, tmp_path, "bob") == f"Nobody to offer it to, waits in Office: Bob lacks tax{for_how_long}"
    )


def test_declined_a_moment_ago(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1")
    scene.at(5).decline("ann", "c1")
    scene.at(20).decline("bob", "c1")
    scene.at(30).agents("cyd")
    scene.department("ann", "bob", "cyd")
    assert asked(scene, tmp_path, "ann") == [
        "Offered to Ann: Ann was chosen",
        "Offered to Bob: Ann had declined 0 s before, and is asked again in 1 min",
        "Offered to Cyd: Ann had declined 25 s before, and is asked again in 35 s",
    ]


def test_in_a_tier_that_is_not_open(tmp_path: Path) -> None:
    scene = two(strategy="tiers", tiers=(e.Tier(("ann",)), e.Tier(("bob",), 90.0)))
    scene.ask("c1")
    scene.at(10).decline("ann", "c1")
    scene.at(70.5).agent("late")
    assert last(scene, tmp_path, "bob") == (
        "Offered to Ann: Bob is in tier 2, which opens when a chat is 1 min 30 s old; it was 1 min 10 s old"
    )


def test_kept_for_another(tmp_path: Path) -> None:
    scene = office("ann", "bob", max_chats=1, sticky="last_agent", sticky_wait_s=30.0)
    scene.served("ann", "c0", visitor_id="v")
    scene.at(5).ask("c1", visitor_id="v")
    assert last(scene, tmp_path, "bob") == (
        "Nobody to offer it to, waits in Office: kept for Ann, whom the visitor had last, for 30 s more"
    )


def test_asked_before_without_an_answer(tmp_path: Path) -> None:
    scene = two(no_answer_limit=0)
    scene.ask("c1")
    scene.at(25)
    assert last(scene, tmp_path, "ann") == (
        "Offered to Bob: Ann had been asked before and did not answer; those not asked yet come first"
    )


def test_asked_before_like_everybody(tmp_path: Path) -> None:
    scene = two(no_answer_limit=0)
    scene.ask("c1")
    scene.at(45)
    assert last(scene, tmp_path, "bob") == (
        "Offered to Ann: all had been asked before, Ann longest ago; Bob was number 2 of 2"
    )


def test_behind_in_rank_or_by_id(tmp_path: Path) -> None:
    scene = office("ann", "bob", "cyd")
    scene.served("ann", "c0")
    scene.ask("c1")
    assert last(scene, tmp_path, "ann") == (
        "Offered to Bob: Ann was candidate 3 of 3 (load 1, last assigned 09:00:00);"
        " first was Bob (load 0, none assigned yet)"
    )
    assert last(scene, tmp_path, "cyd") == (
        "Offered to Bob: Cyd was candidate 2 of 3, equal to Bob (load 0, none assigned yet) but later by id"
    )


def test_not_in_turn(tmp_path: Path) -> None:
    scene = office("ann", "bob", "cyd", strategy="round_robin")
    scene.served("ann", "c0")
    scene.ask("c1")
    assert last(scene, tmp_path, "ann") == "Offered to Bob: it was the turn of Bob; Ann was number 3 of 3"


def test_assigned_without_asking(tmp_path: Path) -> None:
    scene = two(mode="auto")
    scene.presence("bob", "away")
    scene.ask("c1")
    assert asked(scene, tmp_path, "bob") == ["Assigned to Ann: Bob was away"]


# ---------------------------------------------------------------- what stood before any choice


def test_a_ring_under_way(tmp_path: Path) -> None:
    scene = two(wait_timeout_s=10.0)
    scene.ask("c1")
    scene.at(11)
    assert last(scene, tmp_path, "ann") == "Missed: Ann was being asked"
    assert last(scene, tmp_path, "bob") == "Missed: it was ringing at Ann"


def test_a_ring_that_others_join(tmp_path: Path) -> None:
    scene = two(mode="ring_all")
    scene.presence("bob", "away")
    scene.ask("c1")
    scene.presence("bob", "online")
    assert asked(scene, tmp_path, "ann") == [
        "Offered to Ann: Ann was chosen",
        "Offered to Bob: Ann was being asked",
    ]


def test_a_door_that_is_closed(tmp_path: Path) -> None:
    scene = Scene()
    scene.department("ann", hours=SUNDAYS)
    scene.agents("ann")
    scene.ask("c1")
    assert last(scene, tmp_path, "ann") == "Missed: nobody could be asked (outside business hours)"


def test_a_bot_that_never_asked(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1", bot="bot")
    scene.at(121)
    assert last(scene, tmp_path, "ann") == "Missed: the bot served the visitor and had not asked for a person"


def test_an_owner_who_never_wrote(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.leave("c1")
    assert last(scene, tmp_path, "ann") == "Missed: Ann had the chat"
    assert last(scene, tmp_path, "bob") == "Missed: Ann had the chat"


# ---------------------------------------------------------------- transfers


def transferred(**request: str) -> Scene:
    """Ann hands her chat on."""
    scene = office("ann", "bob")
    scene.department("ann", "cyd", "dan", "eve", "fay", id="desk")
    scene.agents("cyd", "dan", "eve", "fay", max_chats=1)
    scene.served("ann", "c1")
    scene.say(e.ChatTransferRequested("c1", "ann", **request))
    return scene


def test_a_transfer_to_somebody_names_them(tmp_path: Path) -> None:
    scene = transferred(to_agent_id="bob")
    assert last(scene, tmp_path, "cyd") == "Take-over offered to Bob: the transfer named Bob"
    assert last(scene, tmp_path, "bob") == "Take-over offered to Bob: Bob was chosen"


@pytest.mark.parametrize(
    ("agent_id", "why"),
    [
        ("ann", "Ann had the chat"),
        ("bob", "Bob is not in Desk"),
        ("cyd", "Cyd had declined to take it over"),
        ("dan", "Dan was chosen"),
        ("eve", "Eve was candidate 2 of 2, equal to Dan (load 0, none assigned yet) but later by id"),
        ("fay", "Fay was away"),
    ],
)
def test_a_transfer_to_a_department_chooses_there(agent_id: str, why: str, tmp_path: Path) -> None:
    scene = transferred(to_department_id="desk")
    scene.presence("fay", "away")
    scene.decline("cyd", "c1")
    assert last(scene, tmp_path, agent_id) == f"Take-over offered to Dan: {why}"


def test_a_transfer_to_a_department_looks_for_room_there(tmp_path: Path) -> None:
    scene = office("ann")
    scene.department("bob", "cyd", id="desk")
    scene.agents("bob", "cyd", max_chats=1)
    scene.served("bob", "c0", department_id="desk")
    scene.served("ann", "c1")
    scene.say(e.ChatTransferRequested("c1", "ann", to_department_id="desk"))
    assert last(scene, tmp_path, "bob") == (
        "Take-over offered to Cyd: Bob was full: load 1 of 1, and the chat takes 1"
    )


# ---------------------------------------------------------------- the command


def test_it_is_told_in_both_languages_with_the_time_since_the_chat_began(tmp_path: Path) -> None:
    scene = two()
    scene.presence("bob", "away")
    scene.ask("c1")
    scene.at(30).agent("late")
    assert invoke(scene, tmp_path, "--why-not", "bob").stdout.splitlines() == [
        "Chat c1, workspace acme: why not Bob? (times in UTC)",
        "Monday, November 23, 2026",
        "09:00:00      +0:00  Offered to Ann: Bob was away",
        "09:00:20      +0:20  Offered to Ann: Bob was away",
    ]
    assert (
        "Annを呼び出し：Bobは離席中でした"
        in invoke(scene, tmp_path, "--why-not", "bob", "--lang", "ja").stdout
    )


def test_a_log_with_ticks_is_run_by_them(tmp_path: Path) -> None:
    scene = office("ann", "bob", ticks=True, no_answer_limit=0)
    scene.tick()
    scene.ask("c1")
    scene.beat(22)
    assert last(scene, tmp_path, "ann").startswith("Offered to Bob: Ann had been asked before")


def test_a_chat_without_a_choice_says_so(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1", bot="bot")
    assert asked(scene, tmp_path, "ann") == ["No agent was chosen or looked for yet"]


def test_an_unknown_agent_is_a_sentence_and_1(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1")
    result = invoke(scene, tmp_path, "--why-not", "zed")
    assert result.exit_code == 1
    assert str(result.exception) == "No agent zed is known in workspace acme: check the id."


def test_where_the_replay_decides_otherwise_nothing_is_claimed(tmp_path: Path) -> None:
    scene = two()
    scene.ask("c1")
    log = log_of(scene, "c1", tmp_path)
    log.decisions[0] = replace(log.decisions[0], id="ANOTHER")
    with pytest.raises(LocalError, match="decides otherwise"):
        in_file(tmp_path / "events.jsonl", log, "ann")


# ---------------------------------------------------------------- all of it


def test_every_reason_has_its_phrase_and_no_phrase_is_left_over() -> None:
    phrases = {key.split(".")[1] for key in PHRASES["en"] if key.startswith("not.")}
    assert phrases == set(get_args(Reason))


def test_on_a_sample_day_the_reasons_add_up_to_what_the_router_counted() -> None:
    _, records = rehearsal(400)
    choices = 0

    def look(ws: Workspace, data: Emission) -> None:
        nonlocal choices
        if isinstance(data, d.ChatOffered) and data.why.rule.partition("/")[0] == "offer":
            choices += 1
            department = ws.departments[ws.chats[data.chat_id].department_id]
            verdicts = {
                agent_id: judge(ws, data.chat_id, agent_id, chosen=data.agent_ids)
                for agent_id in department.settings.agent_ids
            }
            counted = Counter(verdict.reason for verdict in verdicts.values())
            assert counted.pop("chosen") == len(data.agent_ids)
            able = sum(counted.pop(reason, 0) for reason in ("ranked", "tied", "turn", "asked", "again"))
            assert counted == data.why.others
            assert min(able, 4) == len(data.why.next)
            for place, following in enumerate(data.why.next, start=2):
                verdict = verdicts[following.agent_id]
                assert verdict.reason == "asked" or verdict.values["number"] == place
        evolve(ws, data)

    folds: dict[int, Fold] = {}
    for one in records:
        number = one.entry.partition
        for step in folds.setdefault(number, Fold(number)).enter(one.entry):
            decided(step, apply=look)
    assert choices > 300
