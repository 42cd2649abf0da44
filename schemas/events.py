"""Inputs: the `data` of every type on `chat.events.v1`, as frozen dataclasses that pydantic validates at the edge.

The one rule: a `*.configured.v1` event is a whole snapshot, so every setting has its default here and nowhere else. A default of
a `float` is written as one (20.0): what is stored and read back must be written in the same bytes again.
"""

from dataclasses import field
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from schemas.envelope import Envelope, PartitionEnvelope
from schemas.frozen import dataclass
from schemas.types import (
    CHANNELS,
    Address,
    Addresses,
    BulkIds,
    Capacity,
    Channel,
    Clock,
    Count,
    CrmRight,
    Day,
    Id,
    Ids,
    Language,
    Mode,
    Name,
    Network,
    Question,
    Role,
    Seconds,
    SenderKind,
    Status,
    Strategy,
    Text,
    Visibility,
    Zone,
)

# ---------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True)
class Span:
    """One weekly opening; `close` at or before `open` ends on the next day."""

    day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    open: Clock
    close: Clock


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours in the workspace's time zone."""

    weekly: Annotated[tuple[Span, ...], Field(max_length=100)] = ()
    closed_dates: Annotated[tuple[Day, ...], Field(max_length=1_000)] = ()


@dataclass(frozen=True, slots=True)
class Tier:
    """Agents who may be asked once the chat is `after_s` old."""

    agent_ids: Ids
    after_s: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Routing:
    """How a department routes; a time-out of 0 means never."""

    mode: Mode = "offer"
    strategy: Strategy = "least_loaded"
    tiers: Annotated[tuple[Tier, ...], Field(max_length=20)] = ()
    offer_timeout_s: Seconds = 20.0
    wait_timeout_s: Seconds = 120.0
    first_reply_timeout_s: Seconds = 120.0
    decline_cooldown_s: Seconds = 60.0
    wrap_up_s: Seconds = 0.0
    idle_close_s: Seconds = 3600.0
    max_queue: Count = 0
    overflow_department_id: Id | None = None
    sticky: Literal["none", "last_agent"] = "none"
    sticky_wait_s: Seconds = 0.0
    channel_cost: dict[Channel, Annotated[int, Field(ge=1, le=1_000)]] = field(default_factory=dict)
    no_answer_limit: Count = 3
    offline_grace_s: Seconds = 60.0
    offline_policy: Literal["requeue", "keep"] = "requeue"
    priority_head_start_s: dict[Id, Seconds] = field(default_factory=dict)
    skills_relax_s: Seconds = 60.0
    after_hours: Literal["miss", "queue"] = "miss"


@dataclass(frozen=True, slots=True)
class MailSwitch:
    """One kind of mail: off without an address. `addresses` is comma-separated."""

    enabled: bool = False
    addresses: Addresses = ""


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """Which mails a department wants, and whom they come from; `language` defaults to the workspace's."""

    from_address: Address | None = None
    transcript: MailSwitch = MailSwitch()
    ip_blocked: MailSwitch = MailSwitch()
    feedback: MailSwitch = MailSwitch()
    unattended: MailSwitch = MailSwitch()
    cc: MailSwitch = MailSwitch()
    language: Language | None = None
    digest_s: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. Nothing here is trusted: addresses and names are what a visitor typed."""

    visitor_id: Id
    name: Name | None = None
    email: Address | None = None
    phone: Name | None = None
    ip: Name | None = None
    location: Name | None = None
    browser: Name | None = None
    os: Name | None = None
    widget: Name | None = None
    score: float | None = None
    lead_likelihood: float | Name | None = None
    language: Name | None = None


@dataclass(frozen=True, slots=True)
class VisitorPatch:
    """What became known about a visitor later; an absent field leaves what was known."""

    visitor_id: Id | None = None
    name: Name | None = None
    email: Address | None = None
    phone: Name | None = None
    ip: Name | None = None
    location: Name | None = None
    browser: Name | None = None
    os: Name | None = None
    widget: Name | None = None
    score: float | None = None
    lead_likelihood: float | Name | None = None
    language: Name | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote a message."""

    kind: SenderKind
    id: Id | None = None
    name: Name | None = None


@dataclass(frozen=True, slots=True)
class By:
    """Who asked for a chat's end."""

    kind: SenderKind
    id: Id | None = None


@dataclass(frozen=True, slots=True)
class Layouts:
    """Fields a CRM card shows, in order."""

    lead: tuple[Name, ...] = ()
    person: tuple[Name, ...] = ()
    company: tuple[Name, ...] = ()


# ---------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True)
class WorkspaceConfigured:
    """A workspace: one portal, one company or brand."""

    TYPE: ClassVar = "workspace.configured.v1"
    name: Name
    timezone: Zone = "UTC"
    language: Language = "en"
    channels: tuple[Channel, ...] = CHANNELS
    hours: Hours | None = None
    sender: Address | None = None


@dataclass(frozen=True, slots=True)
class DepartmentConfigured:
    """A department, its agents, how it routes and what it mails."""

    TYPE: ClassVar = "department.configured.v1"
    department_id: Id
    name: Name
    description: Text | None = None
    visibility: Visibility = "public"
    enabled: bool = True
    agent_ids: Ids = ()
    routing: Routing = Routing()
    email: EmailSettings = EmailSettings()
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class DepartmentDeleted:
    """A department is no more; its waiting chats move to the default one."""

    TYPE: ClassVar = "department.deleted.v1"
    department_id: Id
    by_agent_id: Id | None = None


@dataclass(frozen=True, slots=True)
class AgentConfigured:
    """A person who answers chats. `max_chats` is the capacity in units of channel cost."""

    TYPE: ClassVar = "agent.configured.v1"
    agent_id: Id
    name: Name
    email: Address | None = None
    role: Role = "agent"
    max_chats: Capacity = 4
    skills: dict[Id, float] = field(default_factory=dict)
    languages: tuple[Name, ...] = ()
    team: Name | None = None
    group: Name | None = None
    crm: CrmRight = "none"


@dataclass(frozen=True, slots=True)
class AgentDeleted:
    """An agent is no more."""

    TYPE: ClassVar = "agent.deleted.v1"
    agent_id: Id


@dataclass(frozen=True, slots=True)
class AgentPresence:
    """An agent's status as their console reports it; `sound` off asks frontends for a silent ring."""

    TYPE: ClassVar = "agent.presence.v1"
    agent_id: Id
    status: Status
    sound: bool = True


@dataclass(frozen=True, slots=True)
class AgentHeartbeat:
    """A console's sign of life; once one was sent, 60 s of silence means offline."""

    TYPE: ClassVar = "agent.heartbeat.v1"
    agent_id: Id


@dataclass(frozen=True, slots=True)
class MonitorConfigured:
    """A watch on one agent, one IP address or one visitor e-mail."""

    TYPE: ClassVar = "monitor.configured.v1"
    monitor_id: Id
    kind: Literal["agent", "ip", "visitor_email"]
    value: Address
    owner_agent_id: Id
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class MonitorDeleted:
    """A monitor is taken away."""

    TYPE: ClassVar = "monitor.deleted.v1"
    monitor_id: Id
    by_agent_id: Id


@dataclass(frozen=True, slots=True)
class CannedCategoryConfigured:
    """A folder of canned messages."""

    TYPE: ClassVar = "canned_category.configured.v1"
    category_id: Id
    name: Name


@dataclass(frozen=True, slots=True)
class CannedCategoryDeleted:
    """A folder of canned messages is taken away."""

    TYPE: ClassVar = "canned_category.deleted.v1"
    category_id: Id
    name: Name | None = None


@dataclass(frozen=True, slots=True)
class CannedMessageConfigured:
    """A text agents insert by a few keys."""

    TYPE: ClassVar = "canned_message.configured.v1"
    canned_message_id: Id
    text: Text
    category_id: Id | None = None
    department_id: Id | None = None


@dataclass(frozen=True, slots=True)
class CannedMessageDeleted:
    """A canned message is taken away."""

    TYPE: ClassVar = "canned_message.deleted.v1"
    canned_message_id: Id


@dataclass(frozen=True, slots=True)
class CrmConfigured:
    """Which CRM a workspace uses and how its leads are matched, created and owned."""

    TYPE: ClassVar = "crm.configured.v1"
    connector: Id
    lead_policy: Literal["on_request", "always", "never"] = "on_request"
    owner_id: Id | None = None
    pool: Ids = ()
    match_order: Literal["leads_first", "contacts_first"] = "leads_first"
    match_many: Literal["newest", "all"] = "newest"
    region: Name | None = None
    layouts: Layouts = Layouts()


@dataclass(frozen=True, slots=True)
class VisitorIpBlocked:
    """An agent blocked an address or a CIDR range for the whole workspace."""

    TYPE: ClassVar = "visitor.ip_blocked.v1"
    ip: Network
    by_agent_id: Id
    department_id: Id | None = None
    chat_id: Id | None = None


@dataclass(frozen=True, slots=True)
class VisitorIpUnblocked:
    """An agent lifted a block."""

    TYPE: ClassVar = "visitor.ip_unblocked.v1"
    ip: Network
    by_agent_id: Id
    department_id: Id | None = None
    chat_id: Id | None = None


# ---------------------------------------------------------------- chats


@dataclass(frozen=True, slots=True)
class ChatRequested:
    """A visitor asks for a chat; with `bot_id` a bot serves first."""

    TYPE: ClassVar = "chat.requested.v1"
    chat_id: Id
    channel: Channel
    question: Question
    visitor: Visitor
    department_id: Id | None = None
    bot_id: Id | None = None
    priority: Id | None = None
    skills: Annotated[tuple[Id, ...], Field(max_length=50)] = ()


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation; an internal one never reaches the visitor."""

    TYPE: ClassVar = "chat.message.v1"
    chat_id: Id
    message_id: Id
    sender: Sender
    text: Text
    internal: bool = False


@dataclass(frozen=True, slots=True)
class VisitorLeft:
    """The visitor closed the window: the live phase ends at once."""

    TYPE: ClassVar = "visitor.left.v1"
    chat_id: Id


@dataclass(frozen=True, slots=True)
class VisitorReturned:
    """The visitor is back."""

    TYPE: ClassVar = "visitor.returned.v1"
    chat_id: Id


@dataclass(frozen=True, slots=True)
class VisitorUpdated:
    """Something became known about the visitor, an e-mail given later, say."""

    TYPE: ClassVar = "visitor.updated.v1"
    chat_id: Id
    visitor: VisitorPatch


@dataclass(frozen=True, slots=True)
class OfferAccepted:
    """An agent takes what was offered."""

    TYPE: ClassVar = "offer.accepted.v1"
    offer_id: Id
    chat_id: Id
    agent_id: Id
    reason: Text | None = None


@dataclass(frozen=True, slots=True)
class OfferDeclined:
    """An agent refuses what was offered."""

    TYPE: ClassVar = "offer.declined.v1"
    offer_id: Id
    chat_id: Id
    agent_id: Id
    reason: Text | None = None


@dataclass(frozen=True, slots=True)
class BotTransferRequested:
    """A bot wants a person to take over."""

    TYPE: ClassVar = "bot.transfer_requested.v1"
    chat_id: Id
    bot_id: Id
    department_id: Id | None = None
    reason: Text | None = None


@dataclass(frozen=True, slots=True)
class ChatTransferRequested:
    """A participant wants the chat to go to another agent or department."""

    TYPE: ClassVar = "chat.transfer_requested.v1"
    chat_id: Id
    by_agent_id: Id
    to_agent_id: Id | None = None
    to_department_id: Id | None = None
    message: Text | None = None


@dataclass(frozen=True, slots=True)
class ChatInviteRequested:
    """A participant asks another agent to join."""

    TYPE: ClassVar = "chat.invite_requested.v1"
    chat_id: Id
    by_agent_id: Id
    agent_id: Id
    message: Text | None = None


@dataclass(frozen=True, slots=True)
class ChatJoinRequested:
    """The owner of a matched monitor, or an invited agent, wants to join."""

    TYPE: ClassVar = "chat.join_requested.v1"
    chat_id: Id
    agent_id: Id


@dataclass(frozen=True, slots=True)
class ParticipantLeaveRequested:
    """A joined agent leaves."""

    TYPE: ClassVar = "participant.leave_requested.v1"
    chat_id: Id
    agent_id: Id


@dataclass(frozen=True, slots=True)
class ChatEndRequested:
    """Somebody ends the chat, after `after_s` seconds unless the visitor writes in between."""

    TYPE: ClassVar = "chat.end_requested.v1"
    chat_id: Id
    by: By
    after_s: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class ChatFeedback:
    """A visitor's rating; of the last owner, unless `agent_id` says otherwise."""

    TYPE: ClassVar = "chat.feedback.v1"
    chat_id: Id
    rating: Annotated[int, Field(ge=1, le=5)]
    comment: Text | None = None
    agent_id: Id | None = None


@dataclass(frozen=True, slots=True)
class ChatTagsChanged:
    """Tags put on chats or taken off them."""

    TYPE: ClassVar = "chat.tags_changed.v1"
    chat_ids: BulkIds
    by_agent_id: Id
    add: Annotated[tuple[Id, ...], Field(max_length=100)] = ()
    remove: Annotated[tuple[Id, ...], Field(max_length=100)] = ()


@dataclass(frozen=True, slots=True)
class ChatNoteAdded:
    """A note about the visitor, which shows in later chats too."""

    TYPE: ClassVar = "chat.note_added.v1"
    chat_id: Id
    note_id: Id
    by_agent_id: Id
    text: Text


@dataclass(frozen=True, slots=True)
class MissedAssignRequested:
    """Missed chats go to an agent."""

    TYPE: ClassVar = "missed.assign_requested.v1"
    chat_ids: BulkIds
    agent_id: Id
    by_agent_id: Id


@dataclass(frozen=True, slots=True)
class MissedCloseRequested:
    """Missed chats are done with."""

    TYPE: ClassVar = "missed.close_requested.v1"
    chat_ids: BulkIds
    by_agent_id: Id


@dataclass(frozen=True, slots=True)
class MissedDeleteRequested:
    """Missed chats leave the inbox for good."""

    TYPE: ClassVar = "missed.delete_requested.v1"
    chat_ids: BulkIds
    by_agent_id: Id


@dataclass(frozen=True, slots=True)
class MissedReplyRequested:
    """An agent answers a missed chat by e-mail."""

    TYPE: ClassVar = "missed.reply_requested.v1"
    chat_id: Id
    by_agent_id: Id
    text: Text


@dataclass(frozen=True, slots=True)
class CrmLeadRequested:
    """An agent wants a lead for the visitor."""

    TYPE: ClassVar = "crm.lead_requested.v1"
    chat_id: Id
    by_agent_id: Id
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CrmNoteRequested:
    """An agent tells the lead's owner something."""

    TYPE: ClassVar = "crm.note_requested.v1"
    chat_id: Id
    by_agent_id: Id
    text: Text


@dataclass(frozen=True, slots=True)
class CrmPhoneSet:
    """An agent enters the visitor's phone number."""

    TYPE: ClassVar = "crm.phone_set.v1"
    chat_id: Id
    by_agent_id: Id
    phone: Name


@dataclass(frozen=True, slots=True)
class RouterTick:
    """The deadline clock's beat, appended by the owner of a partition.

    `limit_ms` is the most the clock moves by one tick; it stands in the record, so that a log can be run again
    without knowing the settings of the router that wrote it.
    """

    TYPE: ClassVar = "router.tick.v1"
    partition: Annotated[int, Field(ge=0, le=100_000)]
    limit_ms: Annotated[int, Field(ge=1, le=60_000)] = 3_000


Event = (
    WorkspaceConfigured
    | DepartmentConfigured
    | DepartmentDeleted
    | AgentConfigured
    | AgentDeleted
    | AgentPresence
    | AgentHeartbeat
    | MonitorConfigured
    | MonitorDeleted
    | CannedCategoryConfigured
    | CannedCategoryDeleted
    | CannedMessageConfigured
    | CannedMessageDeleted
    | CrmConfigured
    | VisitorIpBlocked
    | VisitorIpUnblocked
    | ChatRequested
    | ChatMessage
    | VisitorLeft
    | VisitorReturned
    | VisitorUpdated
    | OfferAccepted
    | OfferDeclined
    | BotTransferRequested
    | ChatTransferRequested
    | ChatInviteRequested
    | ChatJoinRequested
    | ParticipantLeaveRequested
    | ChatEndRequested
    | ChatFeedback
    | ChatTagsChanged
    | ChatNoteAdded
    | MissedAssignRequested
    | MissedCloseRequested
    | MissedDeleteRequested
    | MissedReplyRequested
    | CrmLeadRequested
    | CrmNoteRequested
    | CrmPhoneSet
    | RouterTick
)

EventEnvelope: TypeAlias = Envelope[str, Event] | PartitionEnvelope[str, RouterTick]
"""What `codec.events.decode` returns."""
