"""A record of each kind the notifier mails about, and several for a digest, to look at its mails without a Kafka. One rule: nobody here is real.

Ids, times and links are fixed, so that the same kind and language give the same mail, byte for byte.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, TypeVar

from schemas.decisions import AgentCard, AvailableAgent, DepartmentRef, MailPlan
from schemas.envelope import Envelope
from schemas.events import Sender, Visitor
from schemas.notices import Letter, NoticeFeedback, NoticeIpBlocked, NoticeReply, NoticeUnattended
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled, MailKind
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from schemas.types import Language, SenderKind
from services.notifier.core import Content, Mail, Rules, compose, compose_digest

_Data = TypeVar("_Data", bound=Content)
WORKSPACE = "acme"
AT = datetime(2026, 11, 21, 9, 0, 5, tzinfo=UTC)
_CHAT = "c1"
_ZONE = "Asia/Tokyo"
_FROM = "support@example.com"
_ASKED, _ANSWERED, _ENDED = (f"2026-11-21T08:{minute}:05.000Z" for minute in (57, 58, 59))

Sample: TypeAlias = Literal[MailKind, "digest"]
_Said: TypeAlias = dict[Language, str]
_DEPARTMENT: Final[_Said] = {"en": "Sales", "ja": "営業部"}
_AGENT: Final[_Said] = {"en": "Bob Agent", "ja": "佐藤 一郎"}
_COLLEAGUE: Final[_Said] = {"en": "Carol Colleague", "ja": "鈴木 美咲"}
_VISITOR: Final[_Said] = {"en": "Ann Bold", "ja": "山田 花子"}
_LOCATION: Final[_Said] = {"en": "Kyoto, Japan", "ja": "京都市"}
_QUESTION: Final[_Said] = {
    "en": "Do you sell <blue> hats & scarves?\nI need three.",
    "ja": "青い帽子はありますか？\n三つ必要です。",
}
_WELCOME: Final[_Said] = {
    "en": "Thank you for writing. Somebody will be with you shortly.",
    "ja": "お問い合わせありがとうございます。順番におつなぎします。",
}
_ANSWER: Final[_Said] = {
    "en": "Yes, three blue ones are waiting for you.\nhttps://shop.example.com/hats?colour=blue&count=3",
    "ja": "はい、青い帽子を三つご用意しております。\nhttps://shop.example.com/hats?colour=blue&count=3",
}
_WHISPER: Final[_Said] = {"en": "(a regular: ten per cent off)", "ja": "（常連のお客様：一割引まで可）"}
_THANKS: Final[_Said] = {"en": "Thank you!", "ja": "ありがとうございます！"}
_OTHER_QUESTION: Final[_Said] = {"en": "Are you open on Sundays?", "ja": "日曜日は営業していますか？"}
_COMMENT: Final[_Said] = {
    "en": "Friendly, but I waited ten minutes.",
    "ja": "丁寧でしたが、十分ほど待ちました。",
}


def mail_of(kind: Sample, language: Language) -> Mail:
    """Return the sample mail of a kind, as the notifier composes it."""
    rules = Rules(salt=b"of the samples", link=_link, default_language=language)
    if kind == "digest":
        return compose_digest([record_of(each) for each in missed(language)], rules, digest_id="digest1")
    mail = compose(record_of(_RECORDS[kind](language)), rules)
    assert mail is not None, "every sample is for somebody"
    return mail


def record_of(data: _Data) -> Envelope[str, _Data]:
    """Return a sample as it comes from its topic."""
    return Envelope("1.0", "e1", "/samples", data.TYPE, AT, WORKSPACE, data)


def _link(workspace_id: str, chat_id: str, revision: int, _at_ms: int) -> str:
    return f"https://chat.example.com/t/{workspace_id}-{chat_id}-{revision}"


def letter(language: Language, to: str = "sales@example.com", *cc: str) -> Letter:
    """Return to whom a sample goes, and from whom."""
    return Letter((to,), language, _ZONE, _FROM, cc)


def department(language: Language) -> DepartmentRef:
    """Return the department everything happens in."""
    return DepartmentRef("sales", _DEPARTMENT[language])


def agent(language: Language) -> AgentCard:
    """Return who served the chat."""
    return AgentCard("a1", _AGENT[language], "bob@example.com")


def visitor(language: Language) -> Visitor:
    """Return who asked."""
    return Visitor(
        visitor_id="v1",
        name=_VISITOR[language],
        email="ann@example.org",
        phone="+81 3 1234 5678",
        ip="203.0.113.7",
        location=_LOCATION[language],
    )


def unattended(language: Language) -> NoticeUnattended:
    """Return the notice of a chat nobody attended."""
    return NoticeUnattended(
        notice_id="jbswy3dpehpk3pxp",
        chat_id=_CHAT,
        revision=1,
        department=department(language),
        letter=letter(language),
        visitor=visitor(language),
        channel="web",
        question=_QUESTION[language],
        reason="no_reply",
        tag="unattended",
        requested_at=_ASKED,
        missed_at=_ENDED,
        available_at_start=(
            AvailableAgent("a1", _AGENT[language], 1, 4),
            AvailableAgent("a2", _COLLEAGUE[language], 4, 4),
        ),
        available_at_missed=(),
        available_counts={"at_start": 5, "at_missed": 0},
        reply_by_email=True,
        detail="timed_out",
    )


def missed(language: Language) -> Iterator[NoticeUnattended]:
    """Give the notices of a digest: of a visitor who left without a word about themselves, of one with a name, and of one without."""
    last = unattended(language)
    nobody = Visitor(visitor_id="v7", email="dan@example.org")
    yield replace(
        last,
        notice_id="n1",
        chat_id="c7",
        visitor=Visitor("v6"),
        question=_OTHER_QUESTION[language],
        reason="visitor_left",
        detail=None,
        missed_at="2026-11-21T08:39:05.000Z",
    )
    yield replace(last, notice_id="n2", missed_at="2026-11-21T08:49:05.000Z")
    yield replace(last, notice_id="n3", chat_id="c8", visitor=nobody, reason="no_agent_message", detail=None)


def ip_blocked(language: Language) -> NoticeIpBlocked:
    """Return the notice of a blocked address."""
    return NoticeIpBlocked(
        notice_id="ipblocked1",
        ip="203.0.113.0/24",
        agent=agent(language),
        blocked_at=_ENDED,
        department=department(language),
        letter=letter(language),
        chat_id=_CHAT,
        visitor=visitor(language),
    )


def feedback(language: Language) -> NoticeFeedback:
    """Return the notice of a rating."""
    return NoticeFeedback(
        notice_id="feedback1",
        chat_id=_CHAT,
        rating=4,
        given_at=_ENDED,
        department=department(language),
        letter=letter(language),
        visitor=visitor(language),
        comment=_COMMENT[language],
        agent=agent(language),
    )


def reply(language: Language) -> NoticeReply:
    """Return the notice of an answer to a missed chat."""
    return NoticeReply(
        notice_id="reply1",
        chat_id=_CHAT,
        agent=agent(language),
        department=department(language),
        letter=letter(language, "ann@example.org", "archive@example.com"),
        visitor=visitor(language),
        question=_QUESTION[language],
        text=_ANSWER[language],
    )


def transcript(language: Language) -> TranscriptCompleted:
    """Return a whole conversation, with a whisper that is in no mail."""
    said: tuple[tuple[SenderKind, str | None, str, str], ...] = (
        ("visitor", _VISITOR[language], _ASKED, _QUESTION[language]),
        ("trigger", None, _ASKED, _WELCOME[language]),
        ("agent", _AGENT[language], _ANSWERED, _ANSWER[language]),
        ("agent", _COLLEAGUE[language], _ANSWERED, _WHISPER[language]),
        ("visitor", _VISITOR[language], _ENDED, _THANKS[language]),
    )
    return TranscriptCompleted(
        chat_id=_CHAT,
        revision=1,
        part=1,
        parts=1,
        outcome="handled",
        question=_QUESTION[language],
        channel="line",
        visitor=visitor(language),
        department=department(language),
        agents=(agent(language),),
        started_at=_ASKED,
        ended_at=_ENDED,
        messages=tuple(
            TranscriptMessage(
                f"m{number}", at, Sender(kind, name=name), text, internal=text == _WHISPER[language]
            )
            for number, (kind, name, at, text) in enumerate(said, start=1)
        ),
        tags=(),
        email=MailPlan(language, _ZONE, _FROM, transcript=("sales@example.com",)),
        link=_link(WORKSPACE, _CHAT, 1, 0),
    )


def crm_note(_language: Language) -> CrmSettled:
    """Return the outcome of a note in the CRM."""
    return CrmSettled(
        kind="note",
        result="done",
        tell_owner_by_mail=True,
        request_id="r1",
        chat_id=_CHAT,
        record=CrmRecord("lead", "77", "https://crm.example.com/leads/77"),
        owner=CrmOwner("u1", _COLLEAGUE["en"], "carol@example.com"),
    )


_RECORDS: Final[dict[MailKind, Callable[[Language], Content]]] = {
    "unattended": unattended,
    "transcript": transcript,
    "ip_blocked": ip_blocked,
    "feedback": feedback,
    "reply": reply,
    "crm_note": crm_note,
}
