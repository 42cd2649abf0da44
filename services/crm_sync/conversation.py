"""Writes a finished conversation as the text of an activity or a ticket: who, when, where all of it can be read, and what was said.

The one rule: names and messages come from strangers. Each is kept to its own lines, so nobody can write a line in another's name. Internal
messages are left out: they are between an agent and a supervisor, while a CRM's feed is read by all of sales, and often quoted to the customer.
"""

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.decisions import AgentCard
from schemas.events import Sender
from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted
from schemas.types import Language
from services.crm_sync.addresses import usable_address
from services.crm_sync.connectors.records import Limits, NewActivity, NewTicket, Staff
from services.crm_sync.connectors.rich_text import as_html

ELLIPSIS = "…"
NAME_SHOWN_CHARS_MAX = 80
AGENTS_SHOWN_MAX = 10
ZONES_CACHED_MAX = 600


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language."""

    titles: dict[str, str]
    start: str
    end: str
    customer: str
    agents: str
    nobody: str
    more: str
    department: str
    result: str
    outcomes: dict[str, str]
    link: str
    visitor: str
    senders: dict[str, str]
    separator: str
    cut: str


WORDS: dict[Language, Words] = {
    "en": Words(
        titles={"chat": "Chat with {name}", "missed_chat": "Missed chat with {name}"},
        start="Start",
        end="End",
        customer="Customer",
        agents="Agents",
        nobody="nobody",
        more="and {count} more",
        department="Department",
        result="Result",
        outcomes={"handled": "handled", "handled_by_bot": "handled by a bot", "missed": "missed"},
        link="Whole conversation",
        visitor="Visitor",
        senders={"agent": "Agent", "bot": "Bot", "trigger": "Automatic message", "system": "System"},
        separator=", ",
        cut="The transcript is cut here, since it is too long for this feed. All of it can be read under the link above.",
    ),
    "ja": Words(
        titles={"chat": "{name}様とのチャット", "missed_chat": "{name}様からの不在チャット"},
        start="開始",
        end="終了",
        customer="お客様",
        agents="担当者",
        nobody="なし",
        more="ほか{count}名",
        department="部門",
        result="結果",
        outcomes={"handled": "対応済み", "handled_by_bot": "ボットが対応", "missed": "不在"},
        link="会話の全文",
        visitor="訪問者",
        senders={"agent": "担当者", "bot": "ボット", "trigger": "自動メッセージ", "system": "システム"},
        separator="、",
        cut="長すぎるため、ここで省略しました。全文は上のリンクからご覧ください。",
    ),
}


def activity_of(transcript: TranscriptCompleted, *, limits: Limits) -> NewActivity:
    """The feed entry of a conversation, its text within `limits`."""
    words = WORDS[transcript.email.language]
    kind: Literal["chat", "missed_chat"] = "missed_chat" if transcript.outcome == "missed" else "chat"
    name = _name(transcript.visitor.name) or words.visitor
    return NewActivity(
        type=kind,
        title=words.titles[kind].format(name=name),
        text=_text(transcript, words, limits=limits),
        started_at=transcript.started_at,
        ended_at=transcript.ended_at,
        link=transcript.link,
        agents=tuple(Staff(one.id, one.name, one.team, one.group) for one in transcript.agents),
    )


def ticket_of(transcript: TranscriptCompleted, *, limits: Limits, person: CrmRecord | None) -> NewTicket:
    """The ticket of a conversation, with or without an address: what was asked, who asked, and where all of it can be read."""
    entry = activity_of(transcript, limits=limits)
    visitor = transcript.visitor
    email = usable_address(visitor.email)
    name = _name(visitor.name) or email or WORDS[transcript.email.language].visitor
    return NewTicket(
        type=entry.type,
        title=entry.title,
        text=entry.text,
        question=note_text(transcript.question, limits=limits),
        name=name[: limits.name_chars_max],
        link=entry.link,
        created_at=transcript.ended_at,
        email=email,
        phone=_name(visitor.phone) or None,
        tag=transcript.tag,
        person=person,
    )


def note_text(text: str, *, limits: Limits) -> str:
    """What a person wrote, fit for a CRM: without what can't be shown, and cut with an ellipsis where it is too long."""
    clean = "\n".join("".join(filter(_shown, line)) for line in text.strip().splitlines())
    if _size(clean, limits) <= limits.body_max:
        return clean
    return _cut(clean, limits.body_max - _size(ELLIPSIS, limits), limits) + ELLIPSIS


def _text(transcript: TranscriptCompleted, words: Words, *, limits: Limits) -> str:
    head = _head(transcript, words) + "\n\n"
    said = "\n".join(_said(transcript, words))
    if transcript.parts == 1 and _size(head + said, limits) <= limits.body_max:
        return head + said
    tail = "\n" + words.cut
    room = limits.body_max - _size(head, limits) - _size(tail, limits)
    return _cut(head + _cut(said, room, limits) + tail, limits.body_max, limits)


def _head(transcript: TranscriptCompleted, words: Words) -> str:
    zone = _zone(transcript.email.timezone)
    customer = _name(transcript.visitor.name) or words.visitor
    lines = (
        (words.link, transcript.link),
        (words.start, _moment(transcript.started_at, zone)),
        (words.end, _moment(transcript.ended_at, zone)),
        (words.customer, customer),
        (words.agents, _agents(transcript.agents, words)),
        (words.department, _name(transcript.department.name)),
        (words.result, words.outcomes[transcript.outcome]),
    )
    return "\n".join(f"{label}: {value}" for label, value in lines)


def _agents(agents: tuple[AgentCard, ...], words: Words) -> str:
    if not agents:
        return words.nobody
    shown = [_name(one.name) or one.id for one in agents[:AGENTS_SHOWN_MAX]]
    if len(agents) > AGENTS_SHOWN_MAX:
        shown.append(words.more.format(count=len(agents) - AGENTS_SHOWN_MAX))
    return words.separator.join(shown)


def _said(transcript: TranscriptCompleted, words: Words) -> list[str]:
    """The question and every message that is not internal, one speaker's line each."""
    zone = _zone(transcript.email.timezone)
    names = {one.id: one.name for one in transcript.agents}
    visitor = Sender("visitor")
    public = [one for one in transcript.messages if not one.internal]
    first = next((one.text for one in public if one.sender.kind == "visitor"), None)
    # Some frontends send the question as the first message as well.
    question = [] if first == transcript.question else [(transcript.started_at, visitor, transcript.question)]
    messages = ((one.at, one.sender, one.text) for one in public)
    return [
        f"[{_moment(at, zone, clock_only=True)}] {_speaker(sender, transcript, words, names)}: {_message(text)}"
        for at, sender, text in chain(question, messages)
        if text.strip()
    ]


def _speaker(sender: Sender, transcript: TranscriptCompleted, words: Words, names: dict[str, str]) -> str:
    if sender.kind == "visitor":
        return _name(transcript.visitor.name) or words.visitor
    known = names.get(sender.id or "") if sender.kind == "agent" else None
    return _name(known or sender.name) or words.senders[sender.kind]


@lru_cache(maxsize=ZONES_CACHED_MAX)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")  # a zone that only a newer time zone database knows


def _moment(at: str, zone: ZoneInfo, *, clock_only: bool = False) -> str:
    """RFC 3339 text as wall-clock time in `zone`; what is not a time as it stands, on one line."""
    try:
        moment = datetime.fromisoformat(at)
        local = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone)
    except (ValueError, OverflowError):
        return _name(at)
    return f"{local:%H:%M:%S}" if clock_only else f"{local:%Y-%m-%d %H:%M:%S} ({zone.key})"


def _shown(char: str) -> bool:
    """Whether a character belongs on a page: no control characters, and none that turn the direction of what follows."""
    return (
        unicodedata.category(char) not in ("Cc", "Cs")
        and char not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def _name(text: str | None) -> str:
    """A name or label on one line, at most `NAME_SHOWN_CHARS_MAX` characters."""
    words = " ".join((text or "").split())
    clean = "".join(char for char in words if _shown(char))
    return clean if len(clean) <= NAME_SHOWN_CHARS_MAX else clean[: NAME_SHOWN_CHARS_MAX - 1] + ELLIPSIS


def _message(text: str) -> str:
    """A message whose further lines are indented, so that none looks like a speaker's line."""
    lines = ("".join(char for char in line if _shown(char)) for line in text.strip().splitlines())
    return "\n    ".join(lines)


def _size(text: str, limits: Limits) -> int:
    match limits.body_unit:
        case "characters":
            return len(text)
        case "bytes":
            return len(text.encode())
        case "html":
            return len(as_html(text))


def _cut(text: str, size_max: int, limits: Limits) -> str:
    """The longest beginning of `text` that fits, never ending within a character."""
    fitting = bisect_right(
        range(len(text) + 1), max(size_max, 0), key=lambda length: _size(text[:length], limits)
    )
    return text[: fitting - 1]
