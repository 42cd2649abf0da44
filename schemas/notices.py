"""Notices: the `data` of every type on `chat.notices.v1`, written by the router: what may have to be mailed, and CRM requests.

The one rule: a notice holds all that its mail needs; the notifier keeps no settings but SMTP servers.
"""

from typing import ClassVar, Literal

from schemas.decisions import AgentCard, AvailableAgent, Caused, DepartmentRef
from schemas.events import Layouts, Visitor
from schemas.frozen import dataclass
from schemas.types import (
    Channel,
    Id,
    Ids,
    Language,
    MissedDetail,
    MissedReason,
    MissedTag,
    Name,
    Question,
    Text,
)


@dataclass(frozen=True, slots=True)
class Letter:
    """Whom a mail goes to, whom it comes from, and how it is written."""

    to: tuple[str, ...]
    language: Language
    timezone: str
    from_address: str | None = None
    cc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoticeUnattended(Caused):
    """A chat was missed and its department wants to be told."""

    TYPE: ClassVar = "notice.unattended.v1"
    notice_id: Id
    chat_id: Id
    revision: int
    department: DepartmentRef
    letter: Letter
    visitor: Visitor
    channel: Channel
    question: Question
    reason: MissedReason
    tag: MissedTag
    requested_at: str
    missed_at: str
    available_at_start: tuple[AvailableAgent, ...]
    available_at_missed: tuple[AvailableAgent, ...]
    available_counts: dict[str, int]
    reply_by_email: bool
    detail: MissedDetail | None = None
    digest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NoticeIpBlocked(Caused):
    """An agent blocked an address."""

    TYPE: ClassVar = "notice.ip_blocked.v1"
    notice_id: Id
    ip: Name
    agent: AgentCard
    blocked_at: str
    department: DepartmentRef
    letter: Letter
    chat_id: Id | None = None
    visitor: Visitor | None = None


@dataclass(frozen=True, slots=True)
class NoticeFeedback(Caused):
    """A visitor rated an agent."""

    TYPE: ClassVar = "notice.feedback.v1"
    notice_id: Id
    chat_id: Id
    rating: int
    given_at: str
    department: DepartmentRef
    letter: Letter
    visitor: Visitor
    comment: Text | None = None
    agent: AgentCard | None = None


@dataclass(frozen=True, slots=True)
class NoticeReply(Caused):
    """An agent answers a missed chat by e-mail; `letter.to` is the visitor."""

    TYPE: ClassVar = "notice.reply.v1"
    notice_id: Id
    chat_id: Id
    agent: AgentCard
    department: DepartmentRef
    letter: Letter
    visitor: Visitor
    question: Question
    text: Text


@dataclass(frozen=True, slots=True)
class NoticeCrmRequested(Caused):
    """An agent's request to the CRM, once chat and permission are checked."""

    TYPE: ClassVar = "notice.crm_requested.v1"
    notice_id: Id
    request_id: Id
    kind: Literal["lead", "note", "phone"]
    chat_id: Id
    agent: AgentCard
    visitor: Visitor
    value: Text | None = None


@dataclass(frozen=True, slots=True)
class NoticeCrmConfigured(Caused):
    """A workspace's CRM settings, whole."""

    TYPE: ClassVar = "notice.crm_configured.v1"
    notice_id: Id
    connector: Id
    lead_policy: Literal["on_request", "always", "never"]
    match_order: Literal["leads_first", "contacts_first"]
    match_many: Literal["newest", "all"]
    layouts: Layouts
    owner_id: Id | None = None
    pool: Ids = ()
    region: Name | None = None


Notice = (
    NoticeUnattended
    | NoticeIpBlocked
    | NoticeFeedback
    | NoticeReply
    | NoticeCrmRequested
    | NoticeCrmConfigured
)
