"""The people of a scenario: told what the router decides, they do what they would.

One rule: no clock, no I/O and no randomness: told what was decided and when (`hear`), and asked what is done up to a
time (`act`), the same calls give the same publications. Who does what stands in `visitors`, `conversations`, `agents` and
`supervisors`. All times are ms after the day's midnight.
"""

from collections.abc import Iterable
from functools import partial

from schemas.decisions import (
    AgentMarkedAway,
    ChatAssigned,
    ChatClosed,
    ChatMissed,
    ChatOffered,
    ChatUnassigned,
    Decision,
    MonitorMatched,
    OfferWithdrawn,
    ParticipantJoined,
    RequestRefused,
    TransferFailed,
)
from schemas.events import AgentPresence
from services.local.agents import Agents
from services.local.conversations import Conversations
from services.local.crowd import Crowd, Publication, Published
from services.local.scenario import Scenario, Scheduled
from services.local.supervisors import Supervisors
from services.local.visitors import Visitors


class People:
    """Everybody who acts in a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._crowd = Crowd(scenario)
        for event in scenario.events:
            self._crowd.at(event.at_ms, partial(self._publish_event, event))
        for poison in scenario.poisoned:
            self._crowd.at(poison.at_ms, partial(_publish, poison))
        self._visitors = Visitors(self._crowd)
        self._conversations = Conversations(self._crowd)
        self._agents = Agents(self._crowd, self._conversations)
        self._supervisors = Supervisors(self._crowd)

    @property
    def open_chats(self) -> int:
        """Return how many chats have no outcome yet, those not requested yet included."""
        return self._crowd.open_chats

    @property
    def done(self) -> bool:
        """Return whether every chat has its outcome and nobody means to do anything more."""
        return self._crowd.open_chats == 0 and self._crowd.pressing == 0

    def due_ms(self) -> int | None:
        """Return when somebody acts next, None when nobody will unless something is decided."""
        return self._crowd.due_ms()

    def act(self, until_ms: int) -> list[Published]:
        """Return what is published up to and including `until_ms`, in order; what follows from it may be due as well."""
        return self._crowd.act(until_ms)

    def hear(self, decision: Decision, now_ms: int) -> None:
        """Take note of a decision; reactions become due later than now. Decisions on strangers' chats mean nothing."""
        match decision:
            case ChatOffered():
                self._agents.offered(decision, now_ms)
            case OfferWithdrawn():
                self._agents.withdrawn(decision)
            case ChatAssigned():
                self._conversations.assigned(decision, now_ms)
            case ChatUnassigned():
                self._conversations.unassigned(decision)
            case ChatMissed():
                self._visitors.missed(decision, now_ms)
            case ChatClosed():
                self._closed(decision, now_ms)
            case TransferFailed():
                self._conversations.handover_failed(decision, now_ms)
            case ParticipantJoined():
                self._agents.joined(decision, now_ms)
            case MonitorMatched():
                self._supervisors.matched(decision, now_ms)
            case RequestRefused():
                self._crowd.refused(decision.request_id, now_ms)
            case AgentMarkedAway():
                self._agents.marked_away(decision, now_ms)
            case _:
                pass

    def _closed(self, closing: ChatClosed, now_ms: int) -> None:
        chat = self._crowd.live(closing.chat_id)
        if chat is None:
            return
        self._crowd.close(chat)
        chat.visitor_gone = chat.visitor_gone or closing.ended_by == "visitor"
        if closing.outcome == "missed":
            self._supervisors.missed(chat, now_ms)
            return
        self._visitors.closed(chat, closing, now_ms)
        if closing.outcome == "handled":
            self._agents.handled(chat, now_ms)

    def _publish_event(self, event: Scheduled, now_ms: int) -> Iterable[Published]:
        yield Publication(event.workspace_id, event.event_id, event.source, event.data)
        if isinstance(event.data, AgentPresence):
            self._agents.presence(event.data, now_ms)


def _publish(published: Published, _now_ms: int) -> Iterable[Published]:
    yield published
