"""Records the notifier reads, as the tests need them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from schemas.decisions import AgentCard, AvailableAgent, DepartmentRef, MailPlan
from schemas.envelope import Envelope
from schemas.events import Sender, Visitor
from schemas.notices import Letter, NoticeFeedback, NoticeIpBlocked, NoticeReply, NoticeUnattended
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from schemas.types import Language
from services.notifier.core import Rules

WORKSPACE = "acme"
AT = datetime(2026, 11, 21, 9, 0, 5, tzinfo=UTC)
LINK_LIFETIME_MS = 30 * 24 * 3600 * 1000
RULES = Rules(
    salt=b"salt of the tests",
    link=lambda workspace, chat, revision, at_ms: (
        f"https://chat.example.com/t/{workspace}-{chat}-{revision}-{at_ms + LINK_LIFETIME_MS}"
    ),
)


def named(language: Language, *, en: str, ja: str) -> str:
    return {"en": en, "ja": ja}[language]


def letter(language: Language = "en", *to: str) -> Letter:
    return Letter(to or ("sales@example.com",), language, "Asia/Tokyo", "support@example.com")


def department(language: Language = "en") -> DepartmentRef:
    return DepartmentRef("sales", named(language, en="Sales", ja="営業部"))


def visitor(language: Language = "en") -> Visitor:
    return Visitor(
        visitor_id="v1",
        name=named(language, en="Ann <b>Bold</b>", ja="山田 花子"),
        email="ann@example.org",
        phone="+81 3 1234 5678",
        ip="203.0.113.7",
        location=named(language, en="Kyoto, Japan", ja="京都市"),
    )


def agent(language: Language = "en") -> AgentCard:
    return AgentCard("a1", named(language, en="Bob Agent", ja="佐藤 一郎"), "bob@example.com")


def unattended(language: Language = "en", **changes: Any) -> NoticeUnattended:
    free = AvailableAgent("a1", agent(language).name, 1, 4)
    notice = NoticeUnattended(
        notice_id="jbswy3dpehpk3pxp",
        chat_id="c1",
        revision=1,
        department=department(language),
        letter=letter(language),
        visitor=visitor(language),
        channel="web",
        question=named(
            language,
            en="Do you sell <blue> hats & scarves?\nI need three.",
            ja="青い帽子はありますか？\n三つ必要です。",
        ),
        reason="no_reply",
        tag="unattended",
        requested_at="2026-11-21T08:57:05.000Z",
        missed_at="2026-11-21T08:59:05.000Z",
        available_at_start=(free,),
        available_at_missed=(),
        available_counts={"at_start": 3, "at_missed": 0},
        reply_by_email=True,
        detail="timed_out",
    )
    return replace(notice, **changes)


def ip_blocked(language: Language = "en", **changes: Any) -> NoticeIpBlocked:
    notice = NoticeIpBlocked(
        notice_id="ipblocked1",
        ip="203.0.113.0/24",
        agent=agent(language),
        blocked_at="2026-11-21T09:00:00.000Z",
        department=department(language),
        letter=letter(language),
        chat_id="c1",
        visitor=visitor(language),
    )
    return replace(notice, **changes)


def feedback(language: Language = "en", **changes: Any) -> NoticeFeedback:
    notice = NoticeFeedback(
        notice_id="feedback1",
        chat_id="c1",
        rating=2,
        given_at="2026-11-21T09:00:00.000Z",
        department=department(language),
        letter=letter(language),
        visitor=visitor(language),
        comment=named(language, en="Too slow & <rude>", ja="遅すぎます"),
        agent=agent(language),
    )
    return replace(notice, **changes)


def reply(language: Language = "en", **changes: Any) -> NoticeReply:
    notice = NoticeReply(
        notice_id="reply1",
        chat_id="c1",
        agent=agent(language),
        department=department(language),
        letter=replace(letter(language, "ann@example.org"), cc=("archive@example.com",)),
        visitor=visitor(language),
        question=unattended(language).question,
        text=named(language, en="Yes, three blue ones are waiting.", ja="はい、ございます。"),
    )
    return replace(notice, **changes)


def transcript(language: Language = "en", **changes: Any) -> TranscriptCompleted:
    def message(number: int, kind: Any, text: str, *, name: str | None = None) -> TranscriptMessage:
        at = f"2026-11-21T08:58:{number:02d}.000Z"
        return TranscriptMessage(f"m{number}", at, Sender(kind, name=name), text, internal=number == 4)

    whole = TranscriptCompleted(
        chat_id="c1",
        revision=1,
        part=1,
        parts=1,
        outcome="handled",
        question=unattended(language).question,
        channel="line",
        visitor=visitor(language),
        department=department(language),
        agents=(agent(language),),
        started_at="2026-11-21T08:57:05.000Z",
        ended_at="2026-11-21T08:59:05.000Z",
        messages=(
            message(1, "visitor", unattended(language).question, name=visitor(language).name),
            message(
                2,
                "trigger",
                named(language, en="Thank you for writing.", ja="お問い合わせありがとうございます。"),
            ),
            message(
                3,
                "agent",
                named(language, en="Yes & gladly.", ja="はい、喜んで。"),
                name=agent(language).name,
            ),
            message(4, "agent", named(language, en="(a regular)", ja="（常連）"), name=agent(language).name),
        ),
        tags=(),
        email=MailPlan(
            language=language,
            timezone="Asia/Tokyo",
            from_address="support@example.com",
            transcript=("sales@example.com",),
        ),
        link="https://chat.example.com/t/token",
    )
    return replace(whole, **changes)


def crm_settled(_language: Language = "en", **changes: Any) -> CrmSettled:
    settled = CrmSettled(
        kind="note",
        result="done",
        tell_owner_by_mail=True,
        request_id="r1",
        chat_id="c1",
        record=CrmRecord("lead", "77", "https://crm.example.com/leads/77"),
        owner=CrmOwner("u1", "Carol", "carol@example.com"),
    )
    return replace(settled, **changes)


def envelope(data: Any, *, event_id: str = "e1") -> Envelope[str, Any]:
    return Envelope("1.0", event_id, "/services/router", data.TYPE, AT, WORKSPACE, data)
