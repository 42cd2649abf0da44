"""Chats whose stories are told, shared by tests: scenes of the router, with what workers would have done about them.

The one rule: the scene goes through a file as an export would, so what is told is read the way `explain` reads it.
"""

from pathlib import Path

from schemas import events as e
from schemas.decisions import AgentCard, DepartmentRef, MailPlan
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted
from schemas.types import Language
from services.local.input_log import empty_snapshot, line
from services.local.story import chat_log
from services.local.story.chat_log import ChatLog, Fact
from services.local.story.layout import rows
from services.local.story.teller import tell
from services.local.story.words import Words
from tests.router.scenes import Scene, value_of

SECRET = "Text."
"""What everybody in a scene says."""


def written(scene: Scene, path: Path) -> Path:
    """The scene's log as `export` writes it."""
    lines = [
        line(value_of(entry), partition=entry.partition, offset=entry.offset, at_ms=entry.at_ms)
        for entry in scene.entries
    ]
    path.write_bytes(empty_snapshot(at_ms=scene.starts_at_ms) + b"".join(lines))
    return path


def log_of(scene: Scene, chat_id: str, folder: Path) -> ChatLog:
    return chat_log.from_file(written(scene, folder / "events.jsonl"), chat_id)


def told(log: ChatLog, language: Language = "en") -> list[str]:
    words = Words(log.ws, language)
    return list(rows(tell(log, words), words, begun_ms=log.begun_ms))


def sentences(log: ChatLog, language: Language = "en") -> list[str]:
    """The story without its times."""
    return [one.text for one in tell(log, Words(log.ws, language))]


def company() -> Scene:
    """A company in Japan: a support team, a private team of specialists and a supervisor."""
    scene = Scene()
    scene.workspace(name="京都旅館予約", timezone="Asia/Tokyo", language="ja")
    people = {"hanako": "佐藤 花子", "kenta": "鈴木 健太", "misaki": "高橋 美咲", "sho": "田中 翔"}
    for agent_id, name in people.items():
        scene.say(e.AgentConfigured(agent_id, name, skills={"refund": 1.0} if agent_id == "sho" else {}))
    scene.say(e.AgentConfigured("naoki", "中村 直樹", role="supervisor"))
    scene.say(
        e.DepartmentConfigured(
            "support",
            "サポート",
            agent_ids=("hanako", "kenta", "misaki"),
            routing=e.Routing(first_reply_timeout_s=60.0, no_answer_limit=1),
        )
    )
    scene.say(
        e.DepartmentConfigured("billing", "請求チーム", visibility="private", agent_ids=("sho", "misaki"))
    )
    scene.say(e.DepartmentConfigured("acme", "総合窓口", routing=e.Routing(overflow_department_id="support")))
    for agent_id in (*people, "naoki"):
        scene.presence(agent_id, "online", sound=agent_id != "misaki")
    scene.served("hanako", "before", department_id="support")
    return scene


def rich(folder: Path) -> ChatLog:
    """A chat with which almost everything happens, and what the workers did about it."""
    scene = company()
    scene.say(e.MonitorConfigured("m1", "agent", "hanako", "naoki"))
    scene.at(60).ask("c1", "billing", bot="helper", language="ja", priority="vip", email="v@example.test")
    scene.at(61).write("bot", "c1", "helper")
    scene.at(70).write("visitor", "c1")
    scene.at(71).write("bot", "c1", "helper")
    scene.at(95).transfer("c1", bot="helper")
    scene.at(99).decline("kenta", "c1")
    scene.at(125).accept("hanako", "c1")
    scene.at(126).accept("kenta", "c1")
    scene.at(140).write("agent", "c1", "hanako")
    scene.at(150).write("visitor", "c1")
    scene.at(170).write("agent", "c1", "hanako")
    scene.at(171).write("agent", "c1", "kenta")
    scene.at(175).say(e.ChatJoinRequested("c1", "naoki"))
    scene.at(180).say(e.ChatInviteRequested("c1", "hanako", "kenta", SECRET))
    scene.at(185).accept("kenta", "c1")
    scene.at(190).write("agent", "c1", "kenta")
    scene.at(200).say(e.ParticipantLeaveRequested("c1", "kenta"))
    scene.at(205).presence("misaki", "online")
    scene.at(210).say(e.ChatTransferRequested("c1", "hanako", to_department_id="billing", message=SECRET))
    scene.at(220).decline("misaki", "c1")
    scene.at(230).accept("sho", "c1")
    scene.at(238).write("agent", "c1", "sho")
    scene.say(e.ChatTagsChanged(("c1", "before"), "sho", ("refund", "京都"), ()))
    scene.at(300).say(e.ChatNoteAdded("c1", "n1", "sho", SECRET))
    scene.at(310).end("c1", "agent", "sho", after_s=60)
    scene.at(400).say(e.ChatFeedback("c1", 5, comment=SECRET))
    log = log_of(scene, "c1", folder)
    ended_ms = log.decisions[-1].at_ms
    log.effects += [
        Fact(ended_ms + 400, "t1", transcript()),
        Fact(ended_ms + 900, "m1", MailSettled("n1", "transcript", "hash-1", "sent", "c1")),
        Fact(ended_ms + 900, "m2", MailSettled("n1", "transcript", "hash-2", "sent", "c1")),
        Fact(ended_ms + 900, "m3", MailSettled("n1", "transcript", "hash-3", "failed", "c1", "550")),
        Fact(
            ended_ms + 1200,
            "r1",
            CrmSettled(
                "activity",
                "done",
                record=CrmRecord("Lead", "L-7"),
                chat_id="c1",
                owner=CrmOwner("o1", "山本 葵"),
            ),
        ),
        Fact(ended_ms + 1300, "r2", CrmSettled("lead", "no_match", chat_id="c1")),
    ]
    return log


def missed(folder: Path) -> ChatLog:
    """A chat that rings out, is missed, comes back the next day, and is answered by e-mail after it was missed again."""
    scene = company()
    scene.at(10).ask("c1", None, skills=("refund",), email="v@example.test")
    scene.at(75).presence("kenta", "away")
    scene.at(86_400).write("visitor", "c1")
    scene.wait(10)
    for agent_id in ("hanako", "kenta", "misaki"):
        scene.presence(agent_id, "offline")
    scene.wait(200)
    scene.say(e.MissedAssignRequested(("c1", "c9"), "hanako", "naoki"))
    scene.at(87_000).say(e.MissedReplyRequested("c1", "hanako", SECRET))
    scene.at(87_010).say(e.MissedCloseRequested(("c1",), "hanako"))
    log = log_of(scene, "c1", folder)
    log.effects.append(Fact(scene.now_ms, "m1", MailSettled("n1", "reply", "hash-1", "sent", "c1")))
    return log


def transcript() -> TranscriptCompleted:
    return TranscriptCompleted(
        chat_id="c1",
        revision=1,
        part=1,
        parts=2,
        outcome="handled",
        question=SECRET,
        channel="web",
        visitor=e.Visitor("v-c1"),
        department=DepartmentRef("billing", "請求チーム"),
        agents=(AgentCard("sho", "田中 翔"),),
        started_at="2026-11-23T09:01:00.000Z",
        ended_at="2026-11-23T09:06:10.000Z",
        messages=(),
        tags=(),
        email=MailPlan("ja", "Asia/Tokyo"),
        link="https://chat.example.test/t/abc",
    )
