"""What a mail says, in its reader's language and timezone: the values its templates are filled with.

The one rule: values are plain text as it came; escaping is the templates' business, cleaning headers is `message.py`'s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import assert_never
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import (
    DateTimePattern,
    get_date_format,
    get_datetime_format,
    get_time_format,
    parse_pattern,
)

from schemas.decisions import AvailableAgent
from schemas.events import Visitor
from schemas.notices import NoticeFeedback, NoticeIpBlocked, NoticeReply, NoticeUnattended
from schemas.outcomes import CrmSettled
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from schemas.types import Language
from services.notifier.core import Digest, Mail, Told
from services.notifier.wording import PHRASES


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled value."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """A message of a conversation."""

    at: str
    who: str
    text: str
    side: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that the templates show."""

    language: str
    subject: str
    intro: str
    rows: tuple[Row, ...]
    hints: tuple[str, ...] = ()
    lines_title: str = ""
    lines: tuple[Line, ...] = ()
    link: str | None = None
    link_text: str
    footer: str


@cache
def _format(language: Language) -> tuple[Locale, DateTimePattern]:
    """Return what `babel.dates.format_datetime(…, "medium")` looks up and puts together for each time anew."""
    locale = Locale(language)
    both = get_datetime_format("medium", locale=locale)
    time, date = get_time_format("medium", locale=locale), get_date_format("medium", locale=locale)
    return locale, parse_pattern(str(both).replace("{0}", time.pattern).replace("{1}", date.pattern))


class _Writer:
    """Phrases and times for one mail's reader."""

    def __init__(self, mail: Mail) -> None:
        self._phrases = PHRASES[mail.language]
        self._locale, self._pattern = _format(mail.language)
        self._zone = ZoneInfo(mail.timezone)
        self._zone_name = mail.timezone

    def say(self, key: str, **values: object) -> str:
        return self._phrases[key].format(**values) if values else self._phrases[key]

    def time(self, moment: str, *, zone: bool = True) -> str:
        local = datetime.fromisoformat(moment).astimezone(self._zone)
        text = self._pattern.apply(local, self._locale).replace("\u202f", " ")
        return f"{text} ({self._zone_name})" if zone else text

    def row(self, key: str, value: str | None) -> Iterator[Row]:
        if value:
            yield Row(self.say(key), value)

    def visitor(self, visitor: Visitor) -> Iterator[Row]:
        yield Row(self.say("visitor"), visitor.name or visitor.visitor_id)
        yield from self.row("email", visitor.email)
        yield from self.row("phone", visitor.phone)
        yield from self.row("location", visitor.location)
        yield from self.row("ip", visitor.ip)

    def agents(self, agents: tuple[AvailableAgent, ...], more: int) -> str:
        listed = [
            self.say("load", name=agent.name, load=agent.load, capacity=agent.capacity) for agent in agents
        ]
        if more > 0:
            listed.append(self.say("more", count=more))
        return self.say("between").join(listed) if listed else self.say("nobody")


def view(mail: Mail) -> View:
    """Return what a mail says."""
    write = _Writer(mail)
    data = mail.content
    hints: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    named: Mapping[str, object]
    kind = "digest" if isinstance(data, Digest) else mail.kind
    match data:
        case NoticeUnattended():
            named = {"visitor": _named(write, data.visitor), "department": data.department.name}
            rows = tuple(_unattended(write, data))
            hints = (write.say("reply_by_email" if data.reply_by_email else "no_reply_by_email"),)
        case TranscriptCompleted():
            named = {"visitor": _named(write, data.visitor), "department": data.department.name}
            rows = tuple(_transcript(write, data))
            # Transcripts are passed on to visitors: a whisper is in none.
            lines = tuple(_line(write, message) for message in data.messages if not message.internal)
            hints = (write.say("more_behind_link"),) if data.parts > 1 else ()
        case NoticeIpBlocked():
            named = {"ip": data.ip, "agent": data.agent.name, "department": data.department.name}
            rows = tuple(_ip_blocked(write, data))
        case NoticeFeedback():
            agent = data.agent.name if data.agent else write.say("unknown_agent")
            named = {"rating": data.rating, "agent": agent, "department": data.department.name}
            rows = tuple(_feedback(write, data))
        case NoticeReply():
            named = {"agent": data.agent.name, "department": data.department.name}
            rows = (Row(write.say("answer"), data.text), *write.row("question", data.question))
        case CrmSettled():
            named = {}
            rows = tuple(_crm_note(write, data))
        case Digest():
            notice = data.told[-1].envelope.data
            named = {"count": len(data.told), "department": notice.department.name}
            rows = tuple(_digest(write, data))
            lines = tuple(_missed(write, told) for told in data.told)
        case _:
            assert_never(data)
    return View(
        language=mail.language,
        subject=write.say(f"subject.{kind}", **named),
        intro=write.say(f"intro.{kind}", **named),
        rows=rows,
        hints=hints,
        lines_title=write.say("missed_chats" if kind == "digest" else "transcript"),
        lines=lines,
        link=mail.link,
        link_text=write.say("link.crm_note" if mail.kind == "crm_note" else "link"),
        footer="" if mail.kind == "reply" else write.say("footer"),
    )


def _named(write: _Writer, visitor: Visitor) -> str:
    return visitor.name or visitor.email or write.say("unknown_visitor")


def _unattended(write: _Writer, data: NoticeUnattended) -> Iterator[Row]:
    yield Row(write.say("tag"), write.say(f"tag.{data.tag}"))
    yield Row(write.say("reason"), _reason(write, data))
    yield Row(write.say("question"), data.question)
    yield from write.visitor(data.visitor)
    yield Row(write.say("channel"), data.channel)
    yield Row(write.say("requested"), write.time(data.requested_at))
    yield Row(write.say("missed"), write.time(data.missed_at))
    for key, agents, count in (
        ("available_start", data.available_at_start, data.available_counts.get("at_start", 0)),
        ("available_missed", data.available_at_missed, data.available_counts.get("at_missed", 0)),
    ):
        yield Row(write.say(key), write.agents(agents, count - len(agents)))


def _reason(write: _Writer, data: NoticeUnattended) -> str:
    reason = write.say(f"reason.{data.reason}")
    if not data.detail:
        return reason
    return write.say("detailed", reason=reason, detail=write.say(f"detail.{data.detail}"))


def _digest(write: _Writer, data: Digest) -> Iterator[Row]:
    first, last = data.told[0].envelope.data, data.told[-1].envelope.data
    yield Row(write.say("department"), last.department.name)
    yield Row(write.say("first_missed"), write.time(first.missed_at))
    yield Row(write.say("last_missed"), write.time(last.missed_at))


def _missed(write: _Writer, told: Told) -> Line:
    data = told.envelope.data
    address = data.visitor.email if data.visitor.name else None  # it stands for a name already
    texts = (_reason(write, data), address, data.question)
    return Line(
        write.time(data.missed_at, zone=False),
        _named(write, data.visitor),
        "\n".join(text for text in texts if text),
        link=told.link,
    )


def _transcript(write: _Writer, data: TranscriptCompleted) -> Iterator[Row]:
    yield from write.visitor(data.visitor)
    yield Row(write.say("question"), data.question)
    yield from write.row("agents", write.say("between").join(agent.name for agent in data.agents))
    yield Row(write.say("channel"), data.channel)
    yield Row(write.say("started"), write.time(data.started_at))
    yield Row(write.say("ended"), write.time(data.ended_at))


def _ip_blocked(write: _Writer, data: NoticeIpBlocked) -> Iterator[Row]:
    yield Row(write.say("ip"), data.ip)
    yield Row(write.say("agent"), data.agent.name)
    yield Row(write.say("blocked"), write.time(data.blocked_at))
    yield Row(write.say("department"), data.department.name)
    if data.visitor is not None:
        yield Row(write.say("visitor"), data.visitor.name or data.visitor.visitor_id)
        yield from write.row("email", data.visitor.email)


def _feedback(write: _Writer, data: NoticeFeedback) -> Iterator[Row]:
    yield Row(write.say("rating"), f"{data.rating}/5")
    yield from write.row("comment", data.comment)
    yield Row(write.say("agent"), data.agent.name if data.agent else write.say("unknown_agent"))
    yield Row(write.say("given"), write.time(data.given_at))
    yield from write.visitor(data.visitor)


def _crm_note(write: _Writer, data: CrmSettled) -> Iterator[Row]:
    if data.record is not None:
        yield Row(write.say("record"), f"{data.record.type} {data.record.id}")


def _line(write: _Writer, message: TranscriptMessage) -> Line:
    sender = message.sender
    who = sender.name or write.say(f"sender.{sender.kind}")
    return Line(write.time(message.at, zone=False), who, message.text, sender.kind)
