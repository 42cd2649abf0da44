"""An archive at size: seeded chats and messages, written by the archive's own statements, without topics and records.

The one rule: the same seed gives the same rows; what a workspace is set up with comes first, through its events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from sqlalchemy import Engine

from schemas import decisions as d
from schemas import events as e
from schemas.envelope import Envelope, from_ms
from schemas.topics import EVENTS, ROUTING, TRANSCRIPTS
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from services.transcript.archive.batch import Batch, Told
from services.transcript.archive.clocks import Clock
from services.transcript.archive.database import write
from services.transcript.archive.rows import rows
from services.transcript.archive.settings import snapshot

START_MS = 1_795_251_600_000
CHATS_PER_BATCH = 500
SETTINGS_MAX = 10_000
RECORDS_MAX = 10
"""Offsets left for the settings, and for each chat."""
RARE = "幻の注文票"
"""In one chat of a thousand."""
COMMON = "料金"
"""In about every third chat."""
WHISPERED = "要注意人物"
"""In whispers only, of one chat of fifty."""
_PHRASES = (
    "料金について教えてください。",
    "届け先を変更できますか。",
    "ご注文番号をお願いいたします。",
    "返品の手続きはどうすればよいでしょうか。",
    "はい、承りました。少々お待ちください。",
    "ログインできません。パスワードを忘れました。",
    "Could you tell me where my parcel is?",
    "ﾎﾃﾙの予約を取り消したいのですが。",
    "領収書を発行していただけますか。",
    "ありがとうございました。助かりました。",
)
_TAGS = ("返品", "vip", "請求", "bug", "再連絡")


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything in one workspace."""

    chats: int
    messages: int = 10
    """Per chat."""
    agents: int = 50
    departments: int = 10
    days: int = 60


def fill(engine: Engine, size: Size, *, workspace_id: str = "acme", seed: int = 1, partition: int = 0) -> int:
    """Fills a prepared archive; returns how many chats and messages it wrote. A workspace can be filled once."""
    random = Random(f"{workspace_id}/{seed}")
    with engine.begin() as connection:
        write(connection, _settings(size, workspace_id))
    written = 0
    for first in range(0, size.chats, CHATS_PER_BATCH):
        batch = Batch(heard={workspace_id: (START_MS, partition)})
        for number in range(first, min(first + CHATS_PER_BATCH, size.chats)):
            for place, (topic, data, at_ms) in enumerate(chat(number, size, workspace_id, random)):
                offset = SETTINGS_MAX + number * RECORDS_MAX + place
                envelope = _envelope(data, f"{number}-{place}", workspace_id, at_ms)
                batch.rows += rows(envelope, offset=offset, at_ms=at_ms)
                if topic == ROUTING:
                    batch.decisions.append(_told(envelope, offset, at_ms))
            written += 1 + size.messages
        with engine.begin() as connection:
            write(connection, batch)
    return written


def settings(size: Size) -> Iterator[Any]:
    """The events a workspace is set up with."""
    yield e.WorkspaceConfigured("Acme", timezone="Asia/Tokyo", language="ja")
    for number in range(size.agents):
        role: Any = "admin" if number == 0 else "supervisor" if number < 4 else "agent"
        yield e.AgentConfigured(f"a{number}", f"担当 {number}", role=role)
        yield e.AgentPresence(f"a{number}", "online" if number % 3 else "away")
    for number in range(size.departments):
        members = tuple(f"a{agent}" for agent in range(number, size.agents, size.departments))
        visibility: Any = "private" if number % 5 == 4 else "public"
        yield e.DepartmentConfigured(f"d{number}", f"部署 {number}", agent_ids=members, visibility=visibility)
    for number in range(200):
        yield e.CannedMessageConfigured(f"m{number}", f"{_PHRASES[number % len(_PHRASES)]} ({number})")


def _settings(size: Size, workspace_id: str) -> Batch:
    batch = Batch(heard={workspace_id: (START_MS, 0)})
    for offset, data in enumerate(settings(size)):
        envelope = _envelope(data, f"setting-{offset}", workspace_id, START_MS)
        batch.events.append(_told(envelope, offset, START_MS))
        kept = snapshot(envelope, offset=offset, at_ms=START_MS)
        assert kept is not None
        batch.rows.append(kept)
    batch.events = [
        told for told in batch.events if isinstance(told.data, e.AgentConfigured | e.AgentPresence)
    ]
    return batch


def _envelope(data: Any, event_id: str, workspace_id: str, at_ms: int) -> Envelope[str, Any]:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return Envelope("1.0", event_id, "/bulk", data.TYPE, at, workspace_id, data)


def _told(envelope: Envelope[str, Any], offset: int, at_ms: int) -> Told:
    return Told(
        envelope.workspaceid,
        envelope.source,
        envelope.id,
        offset,
        at_ms,
        Clock(at_ms, at_ms, at_ms),
        envelope.data,
    )


def chat(number: int, size: Size, workspace_id: str, random: Random) -> Iterator[tuple[str, Any, int]]:
    """What the topics hold of a finished chat: topic, data and time of each record."""
    chat_id = f"{workspace_id}-{number:07d}"
    began_ms = START_MS + number * size.days * 24 * 3600 * 1000 // size.chats
    ended_ms = began_ms + 600_000
    visitor = e.Visitor(
        f"v{random.randrange(size.chats // 5 + 1)}", name="花子", email=f"v{number}@example.com"
    )
    department = d.DepartmentRef(f"d{number % size.departments}", f"部署 {number % size.departments}")
    agent = d.AgentCard(f"a{random.randrange(size.agents)}", "担当")
    missed = number % 10 == 3
    outcome: Any = "missed" if missed else "handled_by_bot" if number % 10 == 7 else "handled"
    question = f"{random.choice(_PHRASES)} {RARE if number % 1_000 == 500 else ''}".strip()
    said = tuple(_messages(number, size, began_ms, agent.id, random))
    served = (agent,) if outcome == "handled" else ()
    plan = d.MailPlan("ja", "Asia/Tokyo")
    started, ended = from_ms(began_ms), from_ms(ended_ms)
    yield EVENTS, e.ChatRequested(chat_id, "web", question, visitor, department.id), began_ms
    yield ROUTING, d.ChatQueued(chat_id, department.id, 1), began_ms
    if missed:
        rule = d.Rule(department.id, department.name, "offer", "least_loaded", 20, 120, 0)
        tag: Any = "bot_transfer_failed" if number % 20 == 3 else "unattended"
        reason: Any = "no_reply" if tag == "unattended" else "transfer_not_attended"
        lost = d.ChatMissed(chat_id, 1, reason, tag, rule, (), (), {"at_start": 3}, True, d.Why("missed"))
        yield ROUTING, lost, ended_ms
    source = d.Position(0, 2 * number)
    closed = d.ChatClosed(
        chat_id, 1, outcome, "agent", started, ended, served, department, visitor, plan, source
    )
    yield ROUTING, closed, ended_ms
    tags = tuple(random.sample(_TAGS, random.choice((0, 0, 1, 2))))
    if tags:
        yield ROUTING, d.ChatTagged(chat_id, tags), ended_ms
    if number % 7 == 0:
        yield EVENTS, e.ChatNoteAdded(chat_id, f"n{number}", agent.id, "お得意様です。"), ended_ms
    whole = TranscriptCompleted(
        chat_id,
        1,
        1,
        1,
        outcome,
        question,
        "web",
        visitor,
        department,
        served,
        started,
        ended,
        said,
        tags,
        plan,
        "",
    )
    yield TRANSCRIPTS, whole, ended_ms


def _messages(
    number: int, size: Size, began_ms: int, agent_id: str, random: Random
) -> Iterator[TranscriptMessage]:
    for place in range(size.messages):
        mine = place % 2 == 1
        sender = e.Sender("agent", agent_id) if mine else e.Sender("visitor")
        text = f"{random.choice(_PHRASES)} {number}-{place}"
        internal = mine and number % 50 == 0 and place == 1
        if internal:
            text = WHISPERED
        yield TranscriptMessage(f"m{place}", from_ms(began_ms + place * 20_000), sender, text, internal)
