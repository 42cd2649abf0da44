"""A small language for scenes of a workspace: say what happens, read back in words what the router decided.

The one rule: every sentence gives *all* that followed from it, so a test that compares it also says what must not appear.
Times are seconds since the scene began; a scene without ticks fires deadlines at their exact time.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from schemas import codec
from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from schemas.envelope import Envelope, PartitionEnvelope
from schemas.types import Channel, Role, SenderKind, Status
from services.router.core.offline import run
from services.router.core.partition import Emitted, Entry, Partition
from services.router.core.state import Agent, Chat, Department, Emission, Workspace
from services.router.records import encode_emitted

MONDAY_9_MS = round(datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp() * 1000)
OFFICE = "office"
"""The department most scenes play in."""

Kind = TypeVar("Kind")


class Scene:
    """One workspace, its log so far and everything decided."""

    def __init__(
        self, workspace_id: str = "acme", *, ticks: bool = False, starts_at_ms: int = MONDAY_9_MS
    ) -> None:
        self.workspace_id = workspace_id
        self.ticks = ticks
        self.starts_at_ms = starts_at_ms
        self.now_ms = starts_at_ms
        self.partition = Partition(0, exact=not ticks)
        self.entries: list[Entry] = []
        self.emitted: list[Emitted] = []
        self._ids = 0

    # ------------------------------------------------------------ time

    @property
    def now_s(self) -> float:
        return (self.now_ms - self.starts_at_ms) / 1000

    def at(self, second: float) -> "Scene":
        """Goes to a moment; what comes due *before* it is decided, what is due then comes after its events."""
        self._go(self.starts_at_ms + round(second * 1000))
        return self

    def wait(self, seconds: float) -> list[str]:
        """Lets time pass, the last instant included; gives what came due."""
        until_ms = self.now_ms + round(seconds * 1000)
        before = len(self.emitted)
        self._go(until_ms)
        if not self.ticks:
            self._hear(self.partition.fire_due(until_ms))
        return words(self.emitted[before:])

    def tick(self, *, limit_ms: int = 3_000, partition: int = 0) -> list[str]:
        self._ids += 1
        envelope: PartitionEnvelope[str, e.RouterTick] = PartitionEnvelope(
            "1.0",
            f"tick-{self._ids}",
            "/services/router",
            e.RouterTick.TYPE,
            datetime.fromtimestamp(self.now_ms / 1000, UTC),
            e.RouterTick(partition, limit_ms),
        )
        return self._append(envelope)

    def beat(self, seconds: int) -> list[str]:
        """Ticks once a second for so long."""
        heard: list[str] = []
        for _ in range(seconds):
            self._go(self.now_ms + 1000)
            heard += self.tick()
        return heard

    def _go(self, at_ms: int) -> None:
        if not self.ticks:
            self._hear(self.partition.fire_due(at_ms - 1))
        self.now_ms = at_ms

    # ------------------------------------------------------------ sentences

    def say(self, data: e.Event, *, event_id: str | None = None, source: str = "/tests") -> list[str]:
        """Publishes one event now; gives in words all that followed."""
        self._ids += 1
        envelope: Envelope[str, e.Event] = Envelope(
            "1.0",
            event_id or f"e{self._ids}",
            source,
            data.TYPE,
            datetime.fromtimestamp(self.now_ms / 1000, UTC),
            self.workspace_id,
            data,
        )
        return self._append(envelope)

    def workspace(self, **settings: Any) -> list[str]:
        return self.say(e.WorkspaceConfigured(**{"name": "Acme", **settings}))

    def department(
        self,
        *agent_ids: str,
        id: str = OFFICE,  # noqa: A002 - as in the contract
        enabled: bool = True,
        private: bool = False,
        email: e.EmailSettings | None = None,
        hours: e.Hours | None = None,
        **routing: Any,
    ) -> list[str]:
        return self.say(
            e.DepartmentConfigured(
                department_id=id,
                name=id.title(),
                visibility="private" if private else "public",
                enabled=enabled,
                agent_ids=agent_ids,
                routing=e.Routing(**routing),
                email=email or e.EmailSettings(),
                hours=hours,
            )
        )

    def agents(self, *agent_ids: str, status: Status = "online", **settings: Any) -> None:
        """Agents as the scene begins: known, and with a status."""
        for agent_id in agent_ids:
            self.agent(agent_id, **settings)
            if status != "offline":
                self.presence(agent_id, status)

    def agent(self, agent_id: str, *, role: Role = "agent", **settings: Any) -> list[str]:
        return self.say(e.AgentConfigured(agent_id, agent_id.title(), role=role, **settings))

    def presence(self, agent_id: str, status: Status, *, sound: bool = True) -> list[str]:
        return self.say(e.AgentPresence(agent_id, status, sound))

    def ask(
        self,
        chat_id: str,
        department_id: str | None = OFFICE,
        *,
        channel: Channel = "web",
        bot: str | None = None,
        priority: str | None = None,
        skills: tuple[str, ...] = (),
        **visitor: Any,
    ) -> list[str]:
        """A visitor asks for a chat."""
        return self.say(
            e.ChatRequested(
                chat_id=chat_id,
                channel=channel,
                question="How?",
                visitor=e.Visitor(**{"visitor_id": f"v-{chat_id}", **visitor}),
                department_id=department_id,
                bot_id=bot,
                priority=priority,
                skills=skills,
            )
        )

    def accept(self, agent_id: str, chat_id: str, *, offer_id: str | None = None) -> list[str]:
        return self.say(e.OfferAccepted(offer_id or self.offer_id(chat_id), chat_id, agent_id))

    def decline(self, agent_id: str, chat_id: str, *, offer_id: str | None = None) -> list[str]:
        return self.say(e.OfferDeclined(offer_id or self.offer_id(chat_id), chat_id, agent_id))

    def write(
        self, kind: SenderKind, chat_id: str, sender_id: str | None = None, *, internal: bool = False
    ) -> list[str]:
        sender = e.Sender(kind, sender_id)
        return self.say(e.ChatMessage(chat_id, f"m{self._ids}", sender, "Text.", internal))

    def transfer(self, chat_id: str, department_id: str | None = None, *, bot: str = "bot") -> list[str]:
        """The bot hands its chat over."""
        return self.say(e.BotTransferRequested(chat_id, bot, department_id))

    def watch(
        self,
        owner_id: str,
        kind: Literal["agent", "ip", "visitor_email"],
        value: str,
        *,
        id: str = "m",  # noqa: A002 - as in the contract
        enabled: bool = True,
    ) -> list[str]:
        """An agent sets a monitor up, or changes it."""
        return self.say(e.MonitorConfigured(id, kind, value, owner_id, enabled))

    def hand_on(
        self,
        chat_id: str,
        by: str,
        to: str | None = None,
        *,
        to_department: str | None = None,
        message: str | None = None,
    ) -> list[str]:
        """An agent transfers a chat."""
        return self.say(e.ChatTransferRequested(chat_id, by, to, to_department, message))

    def invite(self, chat_id: str, by: str, agent_id: str, *, message: str | None = None) -> list[str]:
        return self.say(e.ChatInviteRequested(chat_id, by, agent_id, message))

    def join(self, chat_id: str, agent_id: str) -> list[str]:
        return self.say(e.ChatJoinRequested(chat_id, agent_id))

    def step_out(self, chat_id: str, agent_id: str) -> list[str]:
        """A participant leaves."""
        return self.say(e.ParticipantLeaveRequested(chat_id, agent_id))

    def leave(self, chat_id: str) -> list[str]:
        return self.say(e.VisitorLeft(chat_id))

    def end(
        self, chat_id: str, kind: SenderKind, by_id: str | None = None, *, after_s: float = 0
    ) -> list[str]:
        return self.say(e.ChatEndRequested(chat_id, e.By(kind, by_id), after_s))

    def served(self, agent_id: str, chat_id: str, **request: Any) -> None:
        """A chat that the agent has taken and answered."""
        self.ask(chat_id, **request)
        if self.chat(chat_id).owner_id is None:
            self.accept(agent_id, chat_id)
        self.write("agent", chat_id, agent_id)

    # ------------------------------------------------------------ looking

    @property
    def ws(self) -> Workspace:
        return self.partition.workspaces[self.workspace_id]

    def chat(self, chat_id: str) -> Chat:
        return self.ws.chats[chat_id]

    def person(self, agent_id: str) -> Agent:
        return self.ws.agents[agent_id]

    def office(self, department_id: str = OFFICE) -> Department:
        return self.ws.departments[department_id]

    def offer_id(self, chat_id: str) -> str:
        """The chat's open offer, else its last one."""
        return next(
            item.data.offer_id
            for item in reversed(self.emitted)
            if isinstance(item.data, d.ChatOffered) and item.data.chat_id == chat_id
        )

    def last(self, kind: type[Kind]) -> Kind:
        """The last decision or notice of a kind, whole."""
        return next(item.data for item in reversed(self.emitted) if isinstance(item.data, kind))

    def count(self, kind: type[Any]) -> int:
        return sum(1 for item in self.emitted if isinstance(item.data, kind))

    # ------------------------------------------------------------ inside

    def _append(self, envelope: Any) -> list[str]:
        entry = Entry(envelope, 0, len(self.entries), self.now_ms)
        self.entries.append(entry)
        return words(self._hear(self.partition.apply(entry)))

    def _hear(self, emitted: list[Emitted]) -> list[Emitted]:
        self.emitted += emitted
        return emitted


def office(*agent_ids: str, max_chats: int = 4, ticks: bool = False, **routing: Any) -> Scene:
    """A scene with one department and its agents, all online."""
    scene = Scene(ticks=ticks)
    scene.department(*agent_ids, **routing)
    scene.agents(*agent_ids, max_chats=max_chats)
    return scene


def words(emitted: Iterable[Emitted]) -> list[str]:
    """What was decided, one short sentence each."""
    return [sentence(item.data) for item in emitted]


def sentence(data: Emission) -> str:
    """One decision or notice in words."""
    match data:
        case d.ChatQueued():
            return f"queued {data.chat_id} in {data.department_id} at {data.position}"
        case d.ChatOffered():
            as_kind = "" if data.kind == "new" else f" as {data.kind}"
            return f"offered {data.chat_id} to {'+'.join(data.agent_ids)}{as_kind}"
        case d.OfferWithdrawn():
            return f"withdrawn {data.chat_id} from {'+'.join(data.agent_ids)}: {data.reason}"
        case d.ChatAssigned():
            return f"assigned {data.chat_id} to {data.agent_id} by {data.by}"
        case d.ChatUnassigned():
            return f"unassigned {data.chat_id} from {data.agent_id}: {data.reason}"
        case d.ChatMissed():
            return f"missed {data.chat_id}: {data.reason}{'/' + data.detail if data.detail else ''}"
        case d.ChatTransferred():
            to = f" of {data.to_department_id}" if data.to_department_id else ""
            return f"transferred {data.chat_id} from {data.from_agent_id} to {data.to_agent_id}{to}"
        case d.TransferFailed():
            to = data.to_agent_id or data.to_department_id or ""
            return f"{data.chat_id} not transferred to {to}: {data.reason}"
        case d.ParticipantJoined():
            return f"{data.agent_id} joined {data.chat_id} as {data.role}"
        case d.ParticipantLeft():
            return f"{data.agent_id} left {data.chat_id} as {data.role}"
        case d.BotTransferFailed():
            return f"transfer of {data.chat_id} failed: {data.reason}"
        case d.ChatReopened():
            return f"reopened {data.chat_id} as {data.revision}"
        case d.ChatClosed():
            return f"closed {data.chat_id}: {data.outcome}"
        case d.AgentMarkedAway():
            return f"marked away {data.agent_id}"
        case d.RequestRefused():
            return f"refused: {data.code}"
        case d.MonitorMatched():
            return f"matched {data.monitor_id} to {data.chat_id} for {data.owner_agent_id}"
        case d.MonitorUnmatched():
            return f"unmatched {data.monitor_id} from {data.chat_id} for {data.owner_agent_id}"
        case d.MissedUpdated():
            to = f" to {data.agent_id}" if data.agent_id else ""
            return f"inbox {data.chat_id}: {data.status}{to}"
        case d.ChatTagged():
            return f"tagged {data.chat_id}: {', '.join(data.tags)}"
        case n.NoticeCrmRequested():
            return f"crm {data.kind} for {data.chat_id}"
        case n.NoticeUnattended() | n.NoticeFeedback() | n.NoticeReply():
            return f"{data.TYPE.removesuffix('.v1')} {data.chat_id}"
        case n.NoticeIpBlocked():
            return f"notice.ip_blocked {data.ip}"
        case _:
            return data.TYPE.removesuffix(".v1")


def decided(scene: Scene) -> list[bytes]:
    """Everything the scene decided, as it would stand in the topics."""
    return [encode_emitted(item).value or b"" for item in scene.emitted]


def run_again(scene: Scene) -> list[bytes]:
    """The plain run over the scene's log, up to its present moment."""
    emitted = run(scene.entries, ticks=scene.ticks, until_ms=None if scene.ticks else scene.now_ms)
    return [encode_emitted(item).value or b"" for item in emitted]


def value_of(entry: Entry) -> bytes:
    """An entry as the bytes a publisher would have sent."""
    envelope = entry.envelope
    if isinstance(envelope, PartitionEnvelope):
        return codec.encode_tick(
            event_id=envelope.id,
            source=envelope.source,
            at_ms=entry.at_ms,
            partition=envelope.data.partition,
            limit_ms=envelope.data.limit_ms,
        )
    return codec.encode(
        envelope.data,
        event_id=envelope.id,
        source=envelope.source,
        at_ms=entry.at_ms,
        workspace_id=envelope.workspaceid,
    )
