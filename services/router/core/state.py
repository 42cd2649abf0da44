"""The state of one workspace: settings, agents, departments, chats. Plain data; `evolve` alone writes it.

A chat's phases:

    requested ─▶ bot ──▶ waiting ◀──▶ owned
                  ▲ │       │           │
                  │ └───────┼───────────┤
                  └─────────┤           ▼
             (transfer      └───────▶ closed ──▶ waiting (reopened, revision + 1)
              failed)

The one rule: what is stored stands in fields of `Chat`, `Agent`, `Department` and `Profile`; everything else is an index that
`index.rebuild` makes from them.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from schemas.decisions import AvailableAgent, Decision, MailPlan
from schemas.events import (
    AgentConfigured,
    DepartmentConfigured,
    Event,
    MonitorConfigured,
    Visitor,
    WorkspaceConfigured,
)
from schemas.notices import Notice
from schemas.types import (
    Channel,
    MissedDetail,
    MissedReason,
    MissedStatus,
    OfferKind,
    Outcome,
    Status,
    WithdrawReason,
)
from services.router.core.index import DepartmentIndex, Place
from services.router.core.last_agents import LastAgent, LastAgents
from services.router.core.timers import Agenda, DeadlineReached, Due

Phase = Literal["bot", "waiting", "owned", "closed"]
Answer = Literal["declined", "timed_out", "no_reply"]
ParticipantRole = Literal["participant", "monitor"]
Emission = Decision | Notice
"""What the router says: one record on the routing or the notices topic."""
Timers = dict[str, tuple[int, int]]
"""Armed timers by key: (due on the deadline clock, creation number)."""
Watch = tuple[str, str]
"""What a monitor and the chats it matches have in common: kind and value, in the form that is compared."""


@dataclass(slots=True)
class Offer:
    """An open offer: who is still being asked."""

    id: str
    kind: OfferKind
    ring_all: bool
    opened_ms: int
    agent_ids: list[str]

    @property
    def takes_room(self) -> bool:
        """Whether it counts as load of those who are asked."""
        return not self.ring_all and self.kind != "invite"


@dataclass(slots=True)
class Transfer:
    """A transfer under way: the owner keeps the chat until somebody takes it."""

    requested_ms: int
    to_agent_id: str | None = None
    to_department_id: str | None = None
    message: str | None = None
    asked: dict[str, Answer] = field(default_factory=dict)
    refusal: WithdrawReason | None = None
    """How the last offer ended."""
    offer: Offer | None = None
    """None only until the step's drain asks the next candidate, or gives up."""


@dataclass(slots=True)
class Chat:
    """One chat. Times without `clock` in their name are record times."""

    id: str
    sequence: int
    requested_ms: int
    born_clock_ms: int
    channel: Channel
    question: str
    visitor: Visitor
    department_id: str
    cost: int
    age_ms: int
    """When it would have come without its head start: lower goes first."""
    bot_id: str | None = None
    skills: tuple[str, ...] = ()
    phase: Phase = "waiting"
    revision: int = 1
    generation: int = 0
    started_ms: int = 0
    entered_ms: int = 0
    turned_away: MissedDetail | None = None
    entry_notes: tuple[str, ...] = ()
    wanted_skills: tuple[str, ...] = ()
    relaxed: bool = False
    tiers_open: int = 0
    offer: Offer | None = None
    offers_made: int = 0
    asked: dict[str, Answer] = field(default_factory=dict)
    owner_id: str | None = None
    last_owner_id: str | None = None
    owner_wrote: bool = False
    assigned_once: bool = False
    agent_replied: bool = False
    bot_replied: bool = False
    transfer_requested: bool = False
    bot_transfer: bool = False
    rung: bool = False
    rang_out: bool = False
    served_ids: list[str] = field(default_factory=list)
    participant_ids: dict[str, ParticipantRole] = field(default_factory=dict)
    ending_by: str | None = None
    start_agents: tuple[AvailableAgent, ...] = ()
    start_count: int = 0
    missed_reason: MissedReason | None = None
    outcome: Outcome | None = None
    inbox: MissedStatus | None = None
    notified: bool = False
    tags: tuple[str, ...] = ()
    timers: Timers = field(default_factory=dict)
    visitor_gone: bool = False
    """The visitor left or ended the chat, and nothing was heard of them since."""
    inbox_agent_id: str | None = None
    watchers: dict[str, str] = field(default_factory=dict)
    """The monitors that match, with their owners."""
    transfer: Transfer | None = None
    invite: Offer | None = None
    invited_ids: list[str] = field(default_factory=list)
    """Who accepted an invitation: after leaving they may join again."""
    sticky_id: str | None = None
    """The agent its visitor had last, while it waits for nobody else."""
    sought_clock_ms: int = 0
    """Since when people are sought for its revision, on the deadline clock; a bot's chat: since its transfer was asked for."""

    @property
    def live(self) -> bool:
        """Whether the conversation goes on."""
        return self.phase != "closed"

    @property
    def bots_alone(self) -> bool:
        """Whether it is its bot's: the bot has never asked for people, and no agent has had the chat."""
        return self.bot_id is not None and not self.transfer_requested and self.last_owner_id is None

    @property
    def offers(self) -> list[Offer]:
        """All open offers: the queue's, the transfer's, the invitation."""
        transferring = None if self.transfer is None else self.transfer.offer
        return [offer for offer in (self.offer, transferring, self.invite) if offer is not None]


@dataclass(slots=True)
class Agent:
    """One agent: settings, presence, and what they carry."""

    id: str
    settings: AgentConfigured
    status: Status = "offline"
    sound: bool = True
    removed: bool = False
    load: int = 0
    last_assigned_ms: int = 0
    idle_since_ms: int = 0
    unanswered: int = 0
    unanswered_until_ms: int = 0
    beats: bool = False
    wrap_ups: dict[str, int] = field(default_factory=dict)
    timers: Timers = field(default_factory=dict)

    @property
    def room(self) -> int:
        """Free capacity, in channel-cost units; negative after a manual assignment or a lowered limit."""
        return self.settings.max_chats - self.load


@dataclass(slots=True)
class Rota:
    """What a department's strategy and its estimates remember: stored by itself, since it changes with every chat and settings are long."""

    id: str
    last_asked_id: str | None = None
    departures_ms: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Department:
    """One department."""

    id: str
    settings: DepartmentConfigured
    removed: bool = False
    configured: bool = False

    @property
    def open(self) -> bool:
        """Whether chats may be put into it at all."""
        return self.settings.enabled and not self.removed


@dataclass(slots=True)
class Monitor:
    """A watch that one agent keeps on another, or on a visitor."""

    id: str
    settings: MonitorConfigured


@dataclass(slots=True)
class Profile:
    """What belongs to the workspace itself."""

    settings: WorkspaceConfigured
    blocked: dict[str, int] = field(default_factory=dict)
    """Blocked networks in CIDR notation, and when each was blocked."""

    @property
    def id(self) -> str:
        """There is one in a workspace."""
        return ""


@dataclass(slots=True)
class Counts:
    """The workspace's last creation number, and how many decisions and notices it has made."""

    sequence: int = 0
    decided: int = 0

    @property
    def id(self) -> str:
        """There is one in a workspace."""
        return ""


Entity = Profile | Counts | Department | Rota | Agent | Chat | Monitor | LastAgent
"""What is stored, each in a changelog record of its own."""


class Workspace:
    """The state of one workspace with its indexes, and the record being decided."""

    def __init__(self, workspace_id: str, agenda: Agenda) -> None:
        self.id = workspace_id
        self.agenda = agenda
        self.profile = Profile(WorkspaceConfigured(name=workspace_id))
        self.counts = Counts()
        self.departments: dict[str, Department] = {}
        self.rotas: dict[str, Rota] = {}
        self.agents: dict[str, Agent] = {}
        self.chats: dict[str, Chat] = {}
        self.monitors: dict[str, Monitor] = {}
        self.last_agents = LastAgents()
        # indexes
        self.indexes: dict[str, DepartmentIndex] = {}
        self.departments_of: dict[str, list[str]] = {}
        self.owned: dict[str, dict[str, None]] = {}
        self.ringing: dict[str, dict[str, None]] = {}
        self.joined: dict[str, dict[str, None]] = {}
        self.transferring: dict[str, None] = {}
        self.blocked: dict[tuple[int, int], dict[int, None]] = {}
        """Prefixes of blocked networks by IP version and number of host bits."""
        self.watches: dict[Watch, dict[str, None]] = {}
        """The monitors that are on, by what they watch."""
        self.cards: dict[str, AvailableAgent] = {}
        self.mail_plans: dict[str, MailPlan] = {}
        # the step under way
        self.now_ms = 0
        self.clock_ms = 0
        self.partition = 0
        self.offset = 0
        self.cause = ""
        self.request_id = ""
        self.event: Event | DeadlineReached | None = None
        self.accepted: str | None = None
        self.open_departments: dict[str, None] = {}
        """Those where an agent may have become a candidate for a chat that rings nobody."""
        self.open_agents: dict[str, None] = {}
        """Those who have more room than before."""
        self.open_chats: OrderedDict[str, None] = OrderedDict()
        """Those that others may join a ring-all of."""
        self.open_places: list[Place] = []
        """Chats that somebody may have become a candidate for, and that rang nobody then: a heap, the oldest first."""
        self.doubtful: OrderedDict[str, None] = OrderedDict()
        """Bot transfers that may have nobody left."""
        self.turned_away: OrderedDict[str, None] = OrderedDict()
        self.unannounced: OrderedDict[str, None] = OrderedDict()
        self.moved: dict[str, None] = {}
        self.rewatch: dict[str, None] = {}
        self.unsettled: dict[str, None] = {}
        """Chats whose transfer lost its offer, or whose new owner may be a participant still."""
        self._opened = (
            self.open_departments,
            self.open_agents,
            self.open_chats,
            self.open_places,
            self.doubtful,
            self.turned_away,
            self.unannounced,
            self.moved,
            self.rewatch,
            self.unsettled,
        )
        # what has to be stored
        self.changed: dict[tuple[type, str], Entity | None] = {}
        """None: it is gone."""

    @property
    def default_id(self) -> str:
        """The id of the default department: the workspace's own."""
        return self.id

    def begin(
        self,
        event: Event | DeadlineReached,
        *,
        request_id: str,
        now_ms: int,
        clock_ms: int,
        cause: str,
        partition: int,
        offset: int,
    ) -> None:
        """Sets the step's time and cause; the lists of what became possible start empty."""
        self.request_id = request_id
        self.accepted = None
        self.now_ms = now_ms
        self.clock_ms = clock_ms
        self.cause = cause
        self.partition = partition
        self.offset = offset
        self.event = event
        self.forget_step()

    def forget_step(self) -> None:
        """Empties the lists of what became possible."""
        for opened in self._opened:
            if opened:
                opened.clear()

    @property
    def anything_opened(self) -> bool:
        """Whether the step has made anything possible."""
        return any(self._opened)

    def agent(self, agent_id: str | None) -> Agent | None:
        """The agent, unless unknown or removed."""
        found = self.agents.get(agent_id) if agent_id is not None else None
        return None if found is None or found.removed else found

    def take_timer(self, due: Due) -> DeadlineReached:
        """Takes the timer that is due off its entity, as the event it has become."""
        entity = self.chats[due.subject] if due.scope == "chat" else self.agents[due.subject]
        self.disarm(entity, due.key)
        return DeadlineReached(due.scope, due.subject, due.key, due.due_ms)

    def next_sequence(self) -> int:
        """A creation number."""
        counts = self.counts
        counts.sequence += 1
        self.touch(counts)
        return counts.sequence

    def touch(self, entity: Entity) -> None:
        """Notes that an entity has to be stored."""
        self.changed[entity.__class__, entity.id] = entity

    def forget(self, entity: Entity) -> None:
        """Notes that an entity is gone, and is stored no longer."""
        self.changed[entity.__class__, entity.id] = None

    def arm(self, entity: Chat | Agent, key: str, after_s: float) -> None:
        """Sets a timer anew on the deadline clock, at least a millisecond ahead, so time always passes; 0 seconds means never."""
        if key in entity.timers:
            self.disarm(entity, key)
        if after_s <= 0:
            return
        due = (self.clock_ms + max(1, round(after_s * 1000)), self.next_sequence())
        entity.timers[key] = due
        self.agenda.add(self._due(entity, key, due))
        self.touch(entity)

    def disarm(self, entity: Chat | Agent, key: str) -> None:
        """Takes a timer away, if it is armed."""
        due = entity.timers.pop(key, None)
        if due is not None:
            self.agenda.remove(self.id, due[1])
            self.touch(entity)

    def disarm_all(self, entity: Chat | Agent) -> None:
        """Takes all timers of an entity away."""
        for key in list(entity.timers):
            self.disarm(entity, key)

    def enter_timers(self, entity: Chat | Agent) -> None:
        """Enters the timers of a restored entity into the agenda."""
        for key, due in entity.timers.items():
            self.agenda.add(self._due(entity, key, due))

    def _due(self, entity: Chat | Agent, key: str, due: tuple[int, int]) -> Due:
        return Due(due[0], due[1], self.id, "chat" if type(entity) is Chat else "agent", entity.id, key)
