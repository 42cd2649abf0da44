"""A chat's story: what it tells in both languages, what it never tells, and where it is read from.

A change of wording that is meant: `UPDATE_GOLDEN=1 pytest tests/local/test_explain.py` rewrites the stories; read them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from schemas import decisions as d
from schemas import events as e
from schemas.notices import Notice
from schemas.types import Language
from services.local.cli import app
from services.local.input_log import empty_snapshot, line
from services.local.story.chat_log import ChatLog, Collector, Fact
from tests.approved import approved
from tests.local.rehearsed import rehearsal
from tests.local.told import SECRET, company, log_of, missed, rich, sentences, told, written
from tests.router.scenes import Scene, office, value_of

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "story"
LANGUAGES: tuple[Language, ...] = ("ja", "en")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


# ---------------------------------------------------------------- whole stories


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("chat", [rich, missed])
def test_a_story_reads_as_it_was_approved(
    chat: Callable[[Path], ChatLog], language: Language, tmp_path: Path
) -> None:
    path = GOLDEN / f"{chat.__name__}.{language}.txt"
    story = "\n".join(told(chat(tmp_path), language)) + "\n"
    assert story.splitlines() == approved(path, story.encode()).decode().splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("chat", [rich, missed])
def test_nothing_that_people_wrote_and_no_address_is_told(
    chat: Callable[[Path], ChatLog], language: Language, tmp_path: Path
) -> None:
    story = "\n".join(told(chat(tmp_path), language))
    for written_or_known in (SECRET, "How?", "v@example.test", "v-c1", "hash-1"):
        assert written_or_known not in story


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_chat_of_a_sample_day_can_be_told(language: Language) -> None:
    acted, records = rehearsal(400)
    collectors: dict[str, Collector] = {}
    private: dict[str, list[str]] = {}
    for one in records:
        data = one.entry.envelope.data
        chat_id = getattr(data, "chat_id", None)
        if chat_id is not None:
            collectors.setdefault(chat_id, Collector(chat_id, None)).add_input(one.entry)
            said = [getattr(data, name, None) for name in ("text", "question", "comment", "reason")]
            if isinstance(data, e.ChatRequested):
                said += [data.visitor.email, data.visitor.phone, data.visitor.ip]
            private.setdefault(chat_id, []).extend(text for text in said if text)
        for item in one.emitted:
            about = getattr(item.data, "chat_id", chat_id)
            if about is not None and not isinstance(item.data, Notice):
                fact = Fact(item.at_ms, item.id, item.data, cause=item.cause)
                collectors[about].add_decision(item.workspace_id, one.entry.partition, fact)
    assert len(collectors) >= 400
    for chat_id, collector in collectors.items():
        log = collector.found()
        log.ws = acted.lanes[log.partition].router.workspaces[log.workspace_id]
        story = "\n".join(told(log, language))
        assert [text for text in private[chat_id] if text in story] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_reads_who_watches_a_chat(language: Language, tmp_path: Path) -> None:
    log = rich(tmp_path)
    assert any(isinstance(fact.data, d.MonitorMatched) for fact in log.decisions)
    assert any(
        isinstance(fact.data, d.ParticipantJoined) and fact.data.role == "monitor" for fact in log.decisions
    )
    assert "中村 直樹" not in "\n".join(told(log, language))


def test_what_a_publisher_slips_in_does_not_reach_the_terminal(tmp_path: Path) -> None:
    scene = Scene()
    scene.say(e.DepartmentConfigured("desk", "De\x1b[2Jsk\n", agent_ids=("ann",)))
    scene.say(e.AgentConfigured("ann", "Ann\x1b]0;owned\x07 \u202eevil"))
    scene.presence("ann", "online")
    scene.ask("c1\x1b[31m", "desk", priority="\x9b31m", skills=("\x1b",), language="\x1b[5m")
    scene.wait(300)
    scene.agent("late")
    result = invoke("c1\x1b[31m", "--file", written(scene, tmp_path / "events.jsonl"))
    assert result.exit_code == 0
    assert not [char for char in result.stdout if not char.isprintable() and char != "\n"]
    assert r"De\x1b[2Jsk\n" in result.stdout


# ---------------------------------------------------------------- single sentences


def story_of(scene: Scene, folder: Path) -> list[str]:
    return sentences(log_of(scene, "c1", folder))


def test_a_chat_that_is_open_says_how_it_stands(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1")
    assert story_of(scene, tmp_path)[-1] == "Until now: not closed; waits for an agent"
    scene.accept("ann", "c1")
    assert story_of(scene, tmp_path)[-1] == "Until now: not closed; Ann has the chat"
    scene.leave("c1")
    assert story_of(scene, tmp_path)[-1].startswith("Closed: missed; ended by the visitor")


def test_a_chat_with_its_bot_goes_nowhere_yet(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1", bot="bot")
    assert story_of(scene, tmp_path) == [
        "The visitor asked for a chat (channel web, for Office, bot bot serves first)",
        "Until now: not closed; the bot serves the visitor",
    ]


def test_a_bots_transfer_that_fails_leaves_the_chat_with_the_bot(tmp_path: Path) -> None:
    scene = office()
    scene.ask("c1", bot="bot")
    scene.write("bot", "c1", "bot")
    scene.transfer("c1")
    story = story_of(scene, tmp_path)
    assert "The bot's transfer failed: no agent was there for it" in story
    assert "MISSED: the bot's transfer was not attended" in story
    assert story[-1] == "Until now: not closed; the bot serves the visitor"


def test_an_estimate_is_told_where_there_is_one(tmp_path: Path) -> None:
    scene = office("ann", max_chats=1)
    for number in range(21):
        scene.at(number * 30).served("ann", f"c-{number}")
        scene.end(f"c-{number}", "agent", "ann")
    scene.at(630).served("ann", "other")
    scene.ask("c1")
    assert "Waits in Office, position 1, estimated wait 30 s" in story_of(scene, tmp_path)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("gone", "the department asked for is unknown, so the default one"),
        ("hidden", "Hidden is private, so the default one"),
        ("off", "Off is disabled, so the default one"),
        ("dropped", "Dropped is deleted, so the default one"),
        (None, "the default department"),
        ("shut", "overflow from Shut, outside its hours"),
        ("empty", "overflow from Empty, where nobody was online"),
        ("busy", "overflow from Busy, whose queue was full"),
    ],
)
def test_where_a_chat_went_and_why(asked: str | None, why: str, tmp_path: Path) -> None:
    scene = Scene()
    scene.department("ann", id="acme")
    scene.department(id="hidden", private=True)
    scene.department(id="off", enabled=False)
    scene.department(id="dropped")
    scene.say(e.DepartmentDeleted("dropped"))
    scene.department("ann", id="shut", overflow_department_id="acme", hours=e.Hours())
    scene.department(id="empty", overflow_department_id="acme")
    scene.department("bob", id="busy", overflow_department_id="acme", max_queue=1)
    scene.agents("ann", "bob", max_chats=0)
    scene.ask("c0", "busy")
    scene.ask("c1", asked)
    scene.wait(121)
    scene.agent("late")
    assert f"Goes to Acme: {why}" in story_of(scene, tmp_path)


def test_a_department_that_was_asked_for_and_had_is_no_news(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.wait(121)
    scene.agent("late")
    assert not [text for text in story_of(scene, tmp_path) if text.startswith("Goes to")]


@pytest.mark.parametrize(
    ("routing", "why"),
    [
        ({}, "one agent is asked at a time, least loaded first; load 1, last assigned 09:00:00"),
        (
            {"strategy": "longest_idle"},
            "one agent is asked at a time, longest idle first; idle since 09:00:00",
        ),
        ({"strategy": "round_robin"}, "one agent is asked at a time, in turn"),
        (
            {"strategy": "tiers", "tiers": (e.Tier(("ann",)),)},
            "one agent is asked at a time, by tiers; tier 1, load 1, last assigned 09:00:00",
        ),
        ({"mode": "auto"}, "assigned without asking, least loaded first; load 1, last assigned 09:00:00"),
        (
            {"mode": "ring_all"},
            "everybody available is asked at once, least loaded first; load 1, last assigned 09:00:00",
        ),
        ({"sticky": "last_agent"}, "one agent is asked at a time, kept for the agent the visitor had last"),
    ],
)
def test_why_it_was_this_agent(routing: dict[str, Any], why: str, tmp_path: Path) -> None:
    scene = office("ann", **routing)
    scene.served("ann", "c0", visitor_id="v")
    scene.ask("c1", visitor_id="v")
    assert f"Why Ann: {why}" in story_of(scene, tmp_path)


def test_a_newcomer_to_a_ring_says_so(tmp_path: Path) -> None:
    scene = office("ann", "bob", mode="ring_all")
    scene.presence("bob", "away")
    scene.ask("c1")
    scene.presence("bob", "online")
    story = story_of(scene, tmp_path)
    assert "Now also offered to Bob (rings 20 s)" in story
    assert "Why Bob: became available while the chat was ringing" in story


def test_a_next_day_and_a_long_way_are_told_with_their_date(tmp_path: Path) -> None:
    scene = office("ann", strategy="longest_idle", wait_timeout_s=0.0)
    scene.at(86_400).ask("c1")
    story = told(log_of(scene, "c1", tmp_path))
    assert story[0] == "Tuesday, November 24, 2026"
    assert "idle since 2026-11-23 09:00:00" in "\n".join(story)


def test_the_same_input_again_is_told_once_and_a_refused_one_only_as_refused(tmp_path: Path) -> None:
    scene = office("ann", "bob")
    scene.ask("c1")
    scene.accept("ann", "c1")
    message = e.ChatMessage("c1", "m", e.Sender("visitor"), SECRET)
    scene.say(message, event_id="twice")
    scene.say(message, event_id="twice")
    scene.write("agent", "c1", "bob")
    assert story_of(scene, tmp_path)[-3:] == [
        "Visitor wrote a message",
        "Refused: a message by Bob: they neither have the chat nor joined it",
        "Until now: not closed; Ann has the chat",
    ]


def test_an_answer_that_is_not_decided_yet_is_told_as_such(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.accept("ann", "c1")
    log = log_of(scene, "c1", tmp_path)
    del log.decisions[1:]
    assert sentences(log)[-2:] == [
        "Ann accepted; the router has not decided on it yet",
        "Until now: not closed; waits for an agent",
    ]


def test_decisions_tell_what_they_can_once_the_inputs_are_gone(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1")
    scene.accept("ann", "c1")
    log = log_of(scene, "c1", tmp_path)
    log.inputs.clear()
    assert [text for text in sentences(log) if "accepted" in text] == [
        "Ann accepted and has the chat; the visitor had waited 0 s"
    ]


# ---------------------------------------------------------------- the command


def served() -> Scene:
    scene = office("ann")
    scene.served("ann", "c1")
    return scene


def test_the_workspace_gives_the_language_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = written(company(), tmp_path / "events.jsonl")
    assert "訪問者がチャットを開始しました" in invoke("before", "--file", path).stdout
    assert "The visitor asked for a chat" in invoke("before", "--file", path, "--lang", "en").stdout


def test_a_pipe_gets_a_line_for_each_thing(tmp_path: Path) -> None:
    log = missed(tmp_path)
    log.effects.clear()
    result = invoke("c1", "--file", tmp_path / "events.jsonl", "--lang", "en")
    assert result.stdout.splitlines()[1:] == told(log)
    assert result.stdout.startswith("Chat c1, workspace acme (times in Asia/Tokyo)\n")


def test_an_unknown_chat_is_a_sentence_and_1(tmp_path: Path) -> None:
    path = written(served(), tmp_path / "events.jsonl")
    for arguments, where in (((), ""), (("--workspace", "other"), " in workspace other")):
        result = invoke("c9\x1b", "--file", path, *arguments)
        assert result.exit_code == 1
        assert str(result.exception) == rf"No chat c9\x1b is known{where}: check its id."


def test_a_chat_id_of_several_workspaces_needs_one(tmp_path: Path) -> None:
    acme, beta = served(), Scene("beta")
    beta.ask("c1", "beta")
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        empty_snapshot(at_ms=0)
        + b"".join(
            line(value_of(entry), partition=partition, offset=entry.offset, at_ms=entry.at_ms)
            for partition, scene in enumerate((acme, beta))
            for entry in scene.entries
        )
    )
    result = invoke("c1", "--file", path)
    assert result.exit_code == 1
    assert (
        str(result.exception) == "Several workspaces have a chat c1 (acme, beta): say which with --workspace."
    )
    assert "Waits in beta" in invoke("c1", "--file", path, "--workspace", "beta").stdout
    assert "Ann replied" in invoke("c1", "--file", path, "--workspace", "acme").stdout


def test_a_bad_line_ends_it_with_2(tmp_path: Path) -> None:
    path = written(served(), tmp_path / "events.jsonl")
    path.write_bytes(path.read_bytes() + b"no JSON\n")
    result = invoke("c1", "--file", path)
    assert result.exit_code == 2
    assert result.stderr == f"{path}:{len(path.read_bytes().splitlines())}: not JSON\n"
