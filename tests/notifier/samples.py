"""Records the notifier reads, as the tests need them: the samples of `chat-routing mail preview`, with what a test changes."""

from dataclasses import replace
from typing import Any

from schemas.decisions import AgentCard, DepartmentRef
from schemas.envelope import Envelope
from schemas.events import Visitor
from schemas.notices import Letter, NoticeFeedback, NoticeIpBlocked, NoticeReply, NoticeUnattended
from schemas.outcomes import CrmSettled
from schemas.transcripts import TranscriptCompleted
from schemas.types import Language
from services.local import sample_mails
from services.notifier.core import Rules

WORKSPACE = sample_mails.WORKSPACE
LINK_LIFETIME_MS = 30 * 24 * 3600 * 1000
RULES = Rules(
    salt=b"salt of the tests",
    link=lambda workspace, chat, revision, at_ms: (
        f"https://chat.example.com/t/{workspace}-{chat}-{revision}-{at_ms + LINK_LIFETIME_MS}"
    ),
)


def letter(language: Language = "en", *to: str) -> Letter:
    whole = sample_mails.letter(language)
    return replace(whole, to=to) if to else whole


def department(language: Language = "en") -> DepartmentRef:
    return sample_mails.department(language)


def visitor(language: Language = "en") -> Visitor:
    return sample_mails.visitor(language)


def agent(language: Language = "en") -> AgentCard:
    return sample_mails.agent(language)


def unattended(language: Language = "en", **changes: Any) -> NoticeUnattended:
    return replace(sample_mails.unattended(language), **changes)


def ip_blocked(language: Language = "en", **changes: Any) -> NoticeIpBlocked:
    return replace(sample_mails.ip_blocked(language), **changes)


def feedback(language: Language = "en", **changes: Any) -> NoticeFeedback:
    return replace(sample_mails.feedback(language), **changes)


def reply(language: Language = "en", **changes: Any) -> NoticeReply:
    return replace(sample_mails.reply(language), **changes)


def transcript(language: Language = "en", **changes: Any) -> TranscriptCompleted:
    return replace(sample_mails.transcript(language), **changes)


def crm_settled(language: Language = "en", **changes: Any) -> CrmSettled:
    return replace(sample_mails.crm_note(language), **changes)


def envelope(data: Any, *, event_id: str = "e1") -> Envelope[str, Any]:
    return Envelope("1.0", event_id, "/services/router", data.TYPE, sample_mails.AT, WORKSPACE, data)
