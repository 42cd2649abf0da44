"""Records to test with: a finished conversation, a request and settings, each with what a test wants to differ."""

from datetime import UTC, datetime
from typing import Any

from schemas.decisions import AgentCard, DepartmentRef, MailPlan
from schemas.envelope import Envelope
from schemas.events import Layouts, Sender, Visitor
from schemas.notices import NoticeCrmConfigured, NoticeCrmRequested
from schemas.outcomes import CrmRecord
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from services.crm_sync.connectors.records import Limits, Person, PersonKind

LIMITS = Limits(body_max=65_536, body_unit="characters", name_chars_max=256, people_found_max=100)
KEN = AgentCard("ken", "佐藤 健", team="東京", group="sales")
MIA = AgentCard("mia", "Mia O'Neil", team="Osaka")


def said(
    text: str, *, kind: Any = "visitor", by: str | None = None, internal: bool = False, n: int = 1
) -> TranscriptMessage:
    return TranscriptMessage(f"m{n}", f"2026-11-21T09:00:{n:02d}.000Z", Sender(kind, by), text, internal)


def transcript(**changes: Any) -> TranscriptCompleted:
    email = changes.pop("visitor_email", "hanako@example.com")
    name = changes.pop("visitor_name", "山田 花子")
    whole: dict[str, Any] = {
        "chat_id": "c1",
        "revision": 1,
        "part": 1,
        "parts": 1,
        "outcome": "handled",
        "question": "Do you ship to Kyoto?",
        "channel": "web",
        "visitor": Visitor("v1", name, email),
        "department": DepartmentRef("d1", "Sales"),
        "agents": (KEN,),
        "started_at": "2026-11-21T09:00:00.000Z",
        "ended_at": "2026-11-21T09:05:00.000Z",
        "messages": (said("Hello"), said("Yes, we do.", kind="agent", by="ken", n=2)),
        "tags": (),
        "email": MailPlan("en", "Asia/Tokyo"),
        "link": "https://chat.example.com/t/abc",
    }
    return TranscriptCompleted(**(whole | changes))


def settings(**changes: Any) -> NoticeCrmConfigured:
    whole: dict[str, Any] = {
        "notice_id": "n1",
        "connector": "embedded",
        "lead_policy": "on_request",
        "match_order": "leads_first",
        "match_many": "newest",
        "layouts": Layouts(),
    }
    return NoticeCrmConfigured(**(whole | changes))


def lead_request(**changes: Any) -> NoticeCrmRequested:
    whole: dict[str, Any] = {
        "notice_id": "n2",
        "request_id": "r1",
        "kind": "lead",
        "chat_id": "c1",
        "agent": KEN,
        "visitor": Visitor("v1", "山田 花子", "hanako@example.com"),
        "value": "Wants a quote",
    }
    return NoticeCrmRequested(**(whole | changes))


def person(kind: PersonKind, number: int, *, created_ms: int = 0, is_open: bool = True) -> Person:
    return Person(CrmRecord(kind, str(number)), kind, created_ms, open=is_open)


def enveloped(data: Any, *, workspace_id: str = "acme") -> Envelope[str, Any]:
    at = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
    return Envelope("1.0", "e1", "/services/test", data.TYPE, at, workspace_id, data)
