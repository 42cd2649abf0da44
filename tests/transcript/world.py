"""Two logs as a router would leave them: events, and the decisions that follow. Time moves only when told."""

from dataclasses import dataclass, field
from typing import Any, Literal

from schemas import codec
from schemas.decisions import (
    AgentCard,
    AvailableAgent,
    Cause,
    ChatClosed,
    ChatMissed,
    ChatReopened,
    ChatTagged,
    DepartmentRef,
    MailPlan,
    MissedUpdated,
    Position,
    RequestRefused,
    Rule,
    Why,
)
from schemas.envelope import from_ms
from schemas.events import (
    By,
    ChatEndRequested,
    ChatMessage,
    ChatRequested,
    ChatTagsChanged,
    MissedDeleteRequested,
    MissedReplyRequested,
    Sender,
    Visitor,
)
from schemas.notices import Letter, NoticeReply
from schemas.outcomes import MailSettled
from schemas.topics import EVENTS, NOTICES, ROUTING
from schemas.types import Language, MissedReason, MissedTag, Outcome, RefusalCode, SenderKind
from services.runtime.ports import InputRecord

START_MS = 1_795_251_600_000
MAIL = MailPlan(language="ja", timezone="Asia/Tokyo", transcript=("desk@example.com",))
SENDERS: dict[SenderKind, Sender] = {
    "visitor": Sender("visitor", "v1", "花子"),
    "agent": Sender("agent", "a1"),
    "bot": Sender("bot", "b1"),
    "trigger": Sender("trigger"),
    "system": Sender("system"),
}


def link(workspace_id: str, chat_id: str, revision: int, ended_ms: int) -> str:
    return f"https://chat.example/t/{workspace_id}.{chat_id}.{revision}.{ended_ms}"


@dataclass
class World:
    """Builds both logs of partition 0."""

    now_ms: int = START_MS
    events: list[InputRecord] = field(default_factory=list)
    routing: list[InputRecord] = field(default_factory=list)
    notices: list[InputRecord] = field(default_factory=list)
    settled: list[tuple[str, MailSettled]] = field(default_factory=list)
    """What became of mails, by workspace."""

    # ------------------------------------------------------------ raw

    def raw(self, value: bytes, *, workspace: str) -> int:
        """Appends bytes to the events; returns their offset."""
        offset = len(self.events)
        self.events.append(InputRecord(EVENTS, 0, offset, self.now_ms, workspace.encode(), value))
        return offset

    def publish(
        self, data: Any, *, workspace: str = "acme", event_id: str | None = None, time_ms: int | None = None
    ) -> int:
        event_id = event_id or f"e{len(self.events)}"
        at_ms = self.now_ms if time_ms is None else time_ms
        value = codec.encode(
            data, event_id=event_id, source="/frontends/web", at_ms=at_ms, workspace_id=workspace
        )
        return self.raw(value, workspace=workspace)

    def tick(self) -> int:
        value = codec.encode_tick(
            event_id=f"t{len(self.events)}",
            source="/services/router",
            at_ms=self.now_ms,
            partition=0,
            limit_ms=3000,
        )
        return self.raw(value, workspace="0")

    def again(self, offset: int) -> int:
        """Publishes a record a second time."""
        old = self.events[offset]
        assert old.key is not None
        assert old.value is not None
        return self.raw(old.value, workspace=old.key.decode())

    def decide(self, data: Any, *, at: int, workspace: str = "acme", timer: str | None = None) -> None:
        """A decision that follows from the event at `at`, or from a timer that its tick fired."""
        cause = Cause(timer=timer) if timer else Cause(event_id=f"e{at}", partition=0, offset=at)
        offset = 2 * len(self.routing)  # transaction markers leave holes
        value = codec.encode(
            data,
            event_id=f"d{offset}",
            source="/services/router",
            at_ms=self.now_ms,
            workspace_id=workspace,
            cause=cause,
        )
        # Every other decision is one of a trace.
        context = (("traceparent", f"00-{at + 1:032x}-{offset + 1:016x}-01".encode()),) if offset % 4 else ()
        self.routing.append(InputRecord(ROUTING, 0, offset, self.now_ms, workspace.encode(), value, context))

    # ------------------------------------------------------------ what people do

    def request(self, chat: str, *, workspace: str = "acme", question: str = "料金について") -> int:
        visitor = Visitor("v1", name="花子", email="hanako@example.com")
        return self.publish(ChatRequested(chat, "web", question, visitor), workspace=workspace)

    def say(
        self,
        chat: str,
        text: str = "hello",
        *,
        kind: SenderKind = "visitor",
        message_id: str | None = None,
        internal: bool = False,
        workspace: str = "acme",
        time_ms: int | None = None,
    ) -> int:
        message_id = message_id or f"m{len(self.events)}"
        data = ChatMessage(chat, message_id, SENDERS[kind], text, internal)
        return self.publish(data, workspace=workspace, time_ms=time_ms)

    def refuse(
        self,
        at: int,
        *,
        kind: str = ChatRequested.TYPE,
        code: RefusalCode = "chat_already_exists",
        workspace: str = "acme",
    ) -> None:
        self.decide(RequestRefused(f"e{at}", kind, code, "no"), at=at, workspace=workspace)

    def tag(self, chat: str, *tags: str, workspace: str = "acme") -> int:
        at = self.publish(ChatTagsChanged((chat,), "a1", add=tags), workspace=workspace)
        self.decide(ChatTagged(chat, tags), at=at, workspace=workspace)
        return at

    def missed(
        self,
        chat: str,
        *,
        at: int,
        revision: int = 1,
        reason: MissedReason = "no_reply",
        tag: MissedTag = "unattended",
        workspace: str = "acme",
    ) -> None:
        data = ChatMissed(
            chat,
            revision,
            reason,
            tag,
            rule=Rule("sales", "営業", "offer", "least_loaded", 20, 120, 0, ("ja",)),
            available_at_start=(AvailableAgent("a1", "Ann <b>", 1, 4),),
            available_at_missed=(),
            available_counts={"at_start": 3, "at_missed": 0},
            reply_by_email=True,
            why=Why("no_reply"),
            detail="timed_out",
        )
        self.decide(data, at=at, workspace=workspace, timer=f"wait:{chat}")

    def closed(
        self,
        chat: str,
        *,
        at: int,
        revision: int = 1,
        outcome: Outcome = "handled",
        workspace: str = "acme",
        language: Language = "ja",
        visitor: Visitor | None = None,
        **changed: Any,
    ) -> None:
        values: dict[str, Any] = {
            "agents": (AgentCard("a1", "Ann", "ann@example.com"),) if outcome == "handled" else (),
            "department": DepartmentRef("sales", "営業"),
            "email": MailPlan(language=language, timezone="Asia/Tokyo"),
            "reason": None,
            "ended_by": "agent",
        }
        data = ChatClosed(
            chat,
            revision,
            outcome,
            started_at=from_ms(START_MS),
            ended_at=from_ms(self.now_ms),
            visitor=visitor or Visitor("v1", name="花子", email="hanako@example.com"),
            source=Position(0, at),
            **(values | changed),
        )
        self.decide(data, at=at, workspace=workspace)

    def end(self, chat: str, *, revision: int = 1, workspace: str = "acme", **changed: Any) -> int:
        """Somebody ends a chat that was handled."""
        at = self.publish(ChatEndRequested(chat, By("agent", "a1")), workspace=workspace)
        self.closed(chat, at=at, revision=revision, workspace=workspace, **changed)
        return at

    def miss(self, chat: str, *, revision: int = 1, workspace: str = "acme") -> int:
        """The waiting limit passes at a tick."""
        at = self.tick()
        self.missed(chat, at=at, revision=revision, workspace=workspace)
        self.closed(chat, at=at, revision=revision, outcome="missed", workspace=workspace)
        return at

    def reopen(self, chat: str, *, at: int, revision: int, workspace: str = "acme") -> None:
        self.decide(ChatReopened(chat, revision), at=at, workspace=workspace)

    def answer(
        self,
        chat: str,
        text: str,
        *results: Literal["sent", "failed"],
        workspace: str = "acme",
    ) -> None:
        """An agent answers a missed chat by e-mail; so it went out to each address."""
        number = len(self.notices)
        at = self.publish(MissedReplyRequested(chat, "a1", text), workspace=workspace)
        notice = NoticeReply(
            f"n-reply{number}",
            chat,
            AgentCard("a1", "Ann"),
            DepartmentRef("sales", "営業"),
            Letter(("v@example.com", "desk@example.com"), "ja", "Asia/Tokyo"),
            Visitor("v1", email="v@example.com"),
            "料金について",
            text,
            cause=Cause(event_id=f"e{at}", partition=0, offset=at),
        )
        value = codec.encode(
            notice,
            event_id=f"n{number}",
            source="/services/router",
            at_ms=self.now_ms,
            workspace_id=workspace,
        )
        self.notices.append(InputRecord(NOTICES, 0, number, self.now_ms, workspace.encode(), value))
        self.settled += [
            (workspace, MailSettled(notice.notice_id, "reply", f"hash{place}", result, chat_id=chat))
            for place, result in enumerate(results)
        ]

    def delete(self, chat: str, *, workspace: str = "acme") -> int:
        at = self.publish(MissedDeleteRequested((chat,), "a1"), workspace=workspace)
        self.decide(MissedUpdated(chat, "deleted"), at=at, workspace=workspace)
        return at
