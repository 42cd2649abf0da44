"""Decisions: the `data` of every type on `chat.routing.v1`, written by the router alone.

The one rule: a decision carries all that `evolve` needs to apply it, so inputs and decisions rebuild the state without deciding again.
"""

from dataclasses import field
from typing import ClassVar, Literal

from schemas.events import Visitor
from schemas.frozen import dataclass
from schemas.types import (
    Audience,
    BotTransferFailure,
    Id,
    Language,
    MissedDetail,
    MissedReason,
    MissedStatus,
    MissedTag,
    Mode,
    Name,
    OfferKind,
    Outcome,
    RefusalCode,
    Strategy,
    Text,
    UnassignReason,
    WithdrawReason,
)

# ---------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True)
class Cause:
    """What a decision follows from: one record of `chat.events.v1`, or a deadline (`timer`)."""

    event_id: Id | None = None
    partition: int | None = None
    offset: int | None = None
    timer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caused:
    """What every decision carries. `cause` is stamped when the record is written."""

    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with the value they were ranked by (lower goes first)."""

    agent_id: Id
    rank: tuple[float | str, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """The rule that chose, the chosen agent's rank, the next four, and counts of all others by reason."""

    rule: str
    rank: tuple[float | str, ...] = ()
    next: tuple[Ranked, ...] = ()
    others: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AvailableAgent:
    """An agent who was available, as the missed chat's detail page shows them."""

    id: Id
    name: Name
    load: int
    capacity: int


@dataclass(frozen=True, slots=True)
class AgentCard:
    """Who served a chat."""

    id: Id
    name: Name
    email: str | None = None
    team: Name | None = None
    group: Name | None = None


@dataclass(frozen=True, slots=True)
class DepartmentRef:
    """A department as other services name it."""

    id: Id
    name: Name


@dataclass(frozen=True, slots=True)
class Rule:
    """The routing rule a chat was missed under."""

    department_id: Id
    department: Name
    mode: Mode
    strategy: Strategy
    offer_timeout_s: float
    wait_timeout_s: float
    first_reply_timeout_s: float
    skills: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class MailPlan:
    """A department's mail settings resolved: whom each mail goes to (nobody where it is off)."""

    language: Language
    timezone: str
    from_address: str | None = None
    transcript: tuple[str, ...] = ()
    ip_blocked: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    unattended: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    digest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Position:
    """A record of `chat.events.v1`."""

    partition: int
    offset: int


# ---------------------------------------------------------------- the queue and offers


@dataclass(frozen=True, slots=True)
class ChatQueued(Caused):
    """A chat waits. `estimated_wait_s` is absent until 20 chats have left that queue."""

    TYPE: ClassVar = "chat.queued.v1"
    AUDIENCE: ClassVar[Audience] = "visitor"
    chat_id: Id
    department_id: Id
    position: int
    estimated_wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChatOffered(Caused):
    """Agents are asked. The same offer again names newcomers to a ring-all."""

    TYPE: ClassVar = "chat.offered.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    offer_id: Id
    agent_ids: tuple[Id, ...]
    kind: OfferKind
    why: Why
    expires_at: str | None = None
    expires_in_ms: int | None = None
    silent_agent_ids: tuple[Id, ...] = ()
    message: Text | None = None


@dataclass(frozen=True, slots=True)
class OfferWithdrawn(Caused):
    """These agents are no longer asked; with the last of them the offer is closed."""

    TYPE: ClassVar = "offer.withdrawn.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    offer_id: Id
    agent_ids: tuple[Id, ...]
    reason: WithdrawReason


@dataclass(frozen=True, slots=True)
class ChatAssigned(Caused):
    """An agent owns the chat. `waited_ms` runs from the last queue entry or transfer request."""

    TYPE: ClassVar = "chat.assigned.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    agent_id: Id
    department_id: Id
    by: Literal["accept", "auto", "transfer", "manual"]
    waited_ms: int
    generation: int
    why: Why


@dataclass(frozen=True, slots=True)
class ChatUnassigned(Caused):
    """An agent no longer owns the chat."""

    TYPE: ClassVar = "chat.unassigned.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    agent_id: Id
    reason: UnassignReason
    generation: int


# ---------------------------------------------------------------- missed, bots, ends


@dataclass(frozen=True, slots=True)
class ChatMissed(Caused):
    """Nobody replied: why, under which rule, and who could have."""

    TYPE: ClassVar = "chat.missed.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    revision: int
    reason: MissedReason
    tag: MissedTag
    rule: Rule
    available_at_start: tuple[AvailableAgent, ...]
    available_at_missed: tuple[AvailableAgent, ...]
    available_counts: dict[str, int]
    reply_by_email: bool
    why: Why
    detail: MissedDetail | None = None


@dataclass(frozen=True, slots=True)
class BotTransferFailed(Caused):
    """A bot's request for a person came to nothing."""

    TYPE: ClassVar = "bot.transfer_failed.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    bot_id: Id
    reason: BotTransferFailure


@dataclass(frozen=True, slots=True)
class ChatReopened(Caused):
    """A closed missed chat lives again."""

    TYPE: ClassVar = "chat.reopened.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    revision: int


@dataclass(frozen=True, slots=True)
class ChatClosed(Caused):
    """The one outcome of a revision, with all that transcript, mail and CRM need."""

    TYPE: ClassVar = "chat.closed.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    revision: int
    outcome: Outcome
    ended_by: str
    started_at: str
    ended_at: str
    agents: tuple[AgentCard, ...]
    department: DepartmentRef
    visitor: Visitor
    email: MailPlan
    source: Position
    reason: str | None = None


# ---------------------------------------------------------------- transfers, participants, monitors


@dataclass(frozen=True, slots=True)
class ChatTransferred(Caused):
    """A transfer was taken."""

    TYPE: ClassVar = "chat.transferred.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    from_agent_id: Id
    to_agent_id: Id | None = None
    to_department_id: Id | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TransferFailed(Caused):
    """A transfer was refused or timed out; the owner keeps the chat."""

    TYPE: ClassVar = "transfer.failed.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    from_agent_id: Id
    to_agent_id: Id | None = None
    to_department_id: Id | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ParticipantJoined(Caused):
    """Another agent takes part; with role=monitor they watch, and only they may know."""

    TYPE: ClassVar = "participant.joined.v1"
    AUDIENCE: ClassVar[Audience] = "owner"
    chat_id: Id
    agent_id: Id
    role: Literal["participant", "monitor"]


@dataclass(frozen=True, slots=True)
class ParticipantLeft(Caused):
    """A joined agent left; with role=monitor only they may know."""

    TYPE: ClassVar = "participant.left.v1"
    AUDIENCE: ClassVar[Audience] = "owner"
    chat_id: Id
    agent_id: Id
    role: Literal["participant", "monitor"]


@dataclass(frozen=True, slots=True)
class MonitorMatched(Caused):
    """A live chat is watched. Only the monitor's owner may know."""

    TYPE: ClassVar = "monitor.matched.v1"
    AUDIENCE: ClassVar[Audience] = "owner"
    monitor_id: Id
    chat_id: Id
    owner_agent_id: Id


@dataclass(frozen=True, slots=True)
class MonitorUnmatched(Caused):
    """A chat is no longer watched. Only the monitor's owner may know."""

    TYPE: ClassVar = "monitor.unmatched.v1"
    AUDIENCE: ClassVar[Audience] = "owner"
    monitor_id: Id
    chat_id: Id
    owner_agent_id: Id


# ---------------------------------------------------------------- the inbox, agents, refusals


@dataclass(frozen=True, slots=True)
class MissedUpdated(Caused):
    """A missed chat's place in the inbox changed."""

    TYPE: ClassVar = "missed.updated.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    status: MissedStatus
    agent_id: Id | None = None
    by_agent_id: Id | None = None


@dataclass(frozen=True, slots=True)
class ChatTagged(Caused):
    """A chat's tags, all of them."""

    TYPE: ClassVar = "chat.tagged.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    chat_id: Id
    tags: tuple[Id, ...]


@dataclass(frozen=True, slots=True)
class AgentMarkedAway(Caused):
    """An agent let too many offers ring out."""

    TYPE: ClassVar = "agent.marked_away.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    agent_id: Id
    reason: str


@dataclass(frozen=True, slots=True)
class RequestRefused(Caused):
    """A request that can't be granted, with a code for programs and a sentence for people."""

    TYPE: ClassVar = "request.refused.v1"
    AUDIENCE: ClassVar[Audience] = "agents"
    request_id: Id
    request_type: Id
    code: RefusalCode
    message: str
    subject: Id | None = None


Decision = (
    ChatQueued
    | ChatOffered
    | OfferWithdrawn
    | ChatAssigned
    | ChatUnassigned
    | ChatMissed
    | BotTransferFailed
    | ChatReopened
    | ChatClosed
    | ChatTransferred
    | TransferFailed
    | ParticipantJoined
    | ParticipantLeft
    | MonitorMatched
    | MonitorUnmatched
    | MissedUpdated
    | ChatTagged
    | AgentMarkedAway
    | RequestRefused
)
