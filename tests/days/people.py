"""The people of a day: what they do about what they hear from the router, often too late, twice, or not at all.

The one rule: they know decisions only, as a frontend does, and the settings' limits, which they like to meet to the millisecond.
"""

from typing import Protocol

from schemas import decisions as d
from schemas import events as e
from services.router.core.partition import Emitted
from services.router.core.state import Workspace
from tests.days.firm import Firm
from tests.router.happenings import BOT

SOON_MS = 6_000
PATIENCE_MS = 300_000
TALK_MS = 180_000
MILLISECONDS = (-1, 0, 0, 1)
"""How far from a deadline somebody who aims at it acts."""


class World(Protocol):
    """Where they live."""

    firm: Firm

    @property
    def ws(self) -> Workspace:
        """The workspace as it is now."""

    def after(self, delay_ms: float, event: e.Event) -> None:
        """Has an event happen later."""


class People:
    """Visitors, agents and bots."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.firm = world.firm
        self.rng = world.firm.rng
        self.roll = world.firm.roll
        self.after = world.after

    def soon(self, mean_ms: float = SOON_MS) -> float:
        return 0 if self.roll(0.03) else self.rng.expovariate(1 / mean_ms)

    def ask(self) -> None:
        """A visitor comes; a bot, if there is one, does its part."""
        request = self.firm.request()
        chat_id = request.chat_id
        self.after(0, request)
        self.after(self.soon(PATIENCE_MS), e.VisitorLeft(chat_id))
        if request.bot_id is None:
            return
        if self.roll(0.8):
            self._say(self.soon(1_000), chat_id, "bot", BOT)
        if self.roll(0.7):
            department_id = self.firm.one((None, *self.firm.departments))
            self.after(self.soon(20_000), e.BotTransferRequested(chat_id, BOT, department_id))

    def hear(self, item: Emitted) -> None:
        """Reacts to one decision."""
        data = item.data
        match data:
            case d.ChatOffered():
                for agent_id in data.agent_ids:
                    self._rung(data, agent_id)
            case d.ChatAssigned():
                self._assigned(data)
            case d.ParticipantJoined():
                self._say(self.soon(), data.chat_id, "agent", data.agent_id)
                if self.roll(0.5):
                    self.after(self.soon(TALK_MS), e.ParticipantLeaveRequested(data.chat_id, data.agent_id))
            case d.MonitorMatched() if self.roll(0.5):
                self.after(self.soon(), e.ChatJoinRequested(data.chat_id, data.owner_agent_id))
            case d.ChatClosed() if data.outcome == "missed" and self.roll(0.3):
                self._say(self.soon(PATIENCE_MS), data.chat_id, "visitor")
            case d.ChatReopened():
                self.after(self.soon(PATIENCE_MS), e.VisitorLeft(data.chat_id))
            case d.BotTransferFailed() if self.roll(0.4):
                self._say(self.soon(), data.chat_id, "bot", BOT)
                self.after(self.soon(), e.BotTransferRequested(data.chat_id, BOT))
            case d.AgentMarkedAway() if self.roll(0.8):
                self.after(self.soon(60_000), e.AgentPresence(data.agent_id, "online"))
            case _:
                pass

    # ------------------------------------------------------------ agents

    def _rung(self, data: d.ChatOffered, agent_id: str) -> None:
        accept = e.OfferAccepted(data.offer_id, data.chat_id, agent_id)
        decline = e.OfferDeclined(data.offer_id, data.chat_id, agent_id)
        answer = accept if self.roll(0.75) else decline
        deadline_ms = (data.expires_in_ms or SOON_MS) + self.firm.one(MILLISECONDS)
        match self.rng.choices(("answers", "meets", "ignores", "late", "twice", "other", "goes"), HABITS)[0]:
            case "answers":
                self.after(self.soon(), answer)
            case "meets":
                self.after(deadline_ms, answer)
            case "late":
                self.after(deadline_ms + self.soon(), answer)
            case "twice":
                self.after(self.soon(), answer)
                self.after(self.soon(), accept)
            case "other":
                self.after(self.soon(), e.OfferAccepted(data.offer_id, data.chat_id, self.firm.anybody()))
            case "goes":
                self.after(self.soon(), e.AgentPresence(agent_id, self.firm.one(("offline", "away"))))
                self.after(self.soon(PATIENCE_MS), e.AgentPresence(agent_id, "online"))
            case _:
                pass

    def _assigned(self, data: d.ChatAssigned) -> None:
        chat_id, agent_id = data.chat_id, data.agent_id
        if self.roll(0.06):
            self.after(self.firm.one((0, 1)), e.VisitorLeft(chat_id))
        limit_s = self.world.ws.departments[data.department_id].settings.routing.first_reply_timeout_s
        if self.roll(0.15):
            self._say(limit_s * 1000 + self.firm.one(MILLISECONDS), chat_id, "agent", agent_id)
        elif self.roll(0.85):
            self._say(self.soon(), chat_id, "agent", agent_id)
        if self.roll(0.4):
            self._say(self.soon(TALK_MS), chat_id, "visitor")
        if self.roll(0.4):
            self._share(chat_id, agent_id)
        by = self.firm.one((e.By("agent", agent_id), e.By("visitor")))
        self.after(
            self.soon(TALK_MS),
            self.firm.one(
                (e.ChatEndRequested(chat_id, by, self.firm.one((0.0, 30.0))), e.VisitorLeft(chat_id))
            ),
        )

    def _share(self, chat_id: str, agent_id: str) -> None:
        """The owner wants rid of the chat, or company in it."""
        other, department_id = self.firm.anybody(), self.firm.one(self.firm.departments)
        requests: tuple[e.Event, ...] = (
            e.ChatTransferRequested(chat_id, agent_id, to_agent_id=other),
            e.ChatTransferRequested(chat_id, agent_id, to_department_id=department_id),
            e.ChatInviteRequested(chat_id, agent_id, self.firm.anybody()),
        )
        delay_ms = self.soon(TALK_MS / 4)
        for request in self.rng.sample(requests, self.firm.one((1, 2))):
            self.after(delay_ms, request)
        if self.roll(0.2):
            self.after(delay_ms + self.soon(), e.VisitorLeft(chat_id))

    def _say(self, delay_ms: float, chat_id: str, kind: str, sender_id: str | None = None) -> None:
        sender = e.Sender(kind, sender_id)  # type: ignore[arg-type]
        self.after(delay_ms, e.ChatMessage(chat_id, "m", sender, "Text.", self.roll(0.05)))


HABITS = (50, 12, 12, 6, 6, 4, 4)
"""How often somebody who is rung answers, meets the deadline, ignores it, is late, answers twice, answers for another, goes."""
