"""The people of a scenario: agents, visitors and bots who react to what the router decides.

One rule: no clock, no I/O and no randomness: told what was decided and when (`hear`), and asked what is done up to a
time (`act`), the same calls give the same publications. All times are ms after the day's midnight.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from schemas.decisions import (
    AgentMarkedAway,
    ChatAssigned,
    ChatClosed,
    ChatMissed,
    ChatOffered,
    ChatUnassigned,
    Decision,
    OfferWithdrawn,
    RequestRefused,
)
from schemas.events import (
    AgentPresence,
    BotTransferRequested,
    By,
    ChatEndRequested,
    ChatFeedback,
    ChatMessage,
    Event,
    OfferAccepted,
    OfferDeclined,
    Sender,
    VisitorIpBlocked,
    VisitorLeft,
    VisitorPatch,
    VisitorUpdated,
)
from services.local.scenario import Agent, Poisoned, Reaction, Say, Scenario, Scheduled, Visit

CONSOLE, WIDGET, BOT = "/frontends/console", "/frontends/web", "/frontends/bot"


@dataclass(frozen=True, slots=True)
class Publication:
    """One event for `chat.events.v1`; the record's key is the workspace."""

    workspace_id: str
    event_id: str
    source: str
    data: Event


Published: TypeAlias = Publication | Poisoned
_Action: TypeAlias = Callable[[int], Iterable[Published]]


@dataclass(slots=True)
class _Chat:
    """What the people in one chat know of it."""

    visit: Visit
    step: int = 0
    generation: int = 0
    messages: int = 0
    owner: str | None = None
    taken: bool = False
    over: bool = False
    asked: dict[str, set[str]] = field(default_factory=dict)
    """Open offers with the agents who are asked."""


@dataclass(slots=True)
class _Person:
    """An agent at work."""

    agent: Agent
    online: bool = False
    offers: int = 0
    returns: int = 0
    chats: dict[str, _Chat] = field(default_factory=dict)


class People:
    """Everybody who acts in a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._chats = {visit.asked.chat_id: _Chat(visit) for visit in scenario.visits}
        self._requests = {visit.request.event_id: visit.asked.chat_id for visit in scenario.visits}
        self._people = {agent.agent_id: _Person(agent) for agent in scenario.agents}
        self._due: list[tuple[int, int, bool, _Action]] = []
        self._scheduled = 0
        self._pressing = 0
        self._open_chats = len(self._chats)
        for event in scenario.events:
            self._at(event.at_ms, partial(self._publish_event, event))
        for poison in scenario.poisoned:
            self._at(poison.at_ms, partial(_publish, poison))
        for chat in self._chats.values():
            self._at(chat.visit.request.at_ms, partial(self._request, chat))

    @property
    def open_chats(self) -> int:
        """Return how many chats have no outcome yet, those not requested yet included."""
        return self._open_chats

    @property
    def done(self) -> bool:
        """Return whether every chat has its outcome and nobody means to do anything more."""
        return self._open_chats == 0 and self._pressing == 0

    def due_ms(self) -> int | None:
        """Return when somebody acts next, None when nobody will unless something is decided."""
        return self._due[0][0] if self._due else None

    def act(self, until_ms: int) -> list[Published]:
        """Return what is published up to and including `until_ms`, in order; what follows from it may be due as well."""
        published: list[Published] = []
        while self._due and self._due[0][0] <= until_ms:
            at_ms, _, pressing, action = heapq.heappop(self._due)
            self._pressing -= pressing
            published += action(at_ms)
        return published

    def hear(self, decision: Decision, now_ms: int) -> None:
        """Take note of a decision; reactions become due later than now. Decisions on strangers' chats mean nothing."""
        match decision:
            case ChatOffered():
                self._offered(decision, now_ms)
            case OfferWithdrawn():
                self._withdrawn(decision)
            case ChatAssigned():
                self._assigned(decision, now_ms)
            case ChatUnassigned():
                self._unassigned(decision)
            case ChatMissed():
                self._missed(decision, now_ms)
            case ChatClosed():
                self._closed(decision, now_ms)
            case RequestRefused() if decision.request_id in self._requests:
                self._over(self._chats[self._requests[decision.request_id]])
            case AgentMarkedAway():
                self._marked_away(decision, now_ms)
            case _:
                pass

    # ------------------------------------------------------------ time

    def _at(self, at_ms: int, action: _Action, *, pressing: bool = True) -> None:
        """Plan an action. What is not `pressing` is only done if the day lasts that long anyway."""
        self._scheduled += 1
        self._pressing += pressing
        heapq.heappush(self._due, (at_ms, self._scheduled, pressing, action))

    def _publish_event(self, event: Scheduled, now_ms: int) -> Iterable[Published]:
        yield Publication(event.workspace_id, event.event_id, event.source, event.data)
        if isinstance(event.data, AgentPresence):
            self._presence(event.data, now_ms)

    def _presence(self, presence: AgentPresence, now_ms: int) -> None:
        person = self._people.get(presence.agent_id)
        if person is None:
            return
        person.online = presence.status == "online"
        if person.online:
            for chat in person.chats.values():
                chat.generation += 1
                self._go_on(chat, now_ms)

    # ------------------------------------------------------------ the visitor and the bot

    def _request(self, chat: _Chat, now_ms: int) -> Iterable[Published]:
        visit, conduct = chat.visit, chat.visit.conduct
        request = visit.request
        publication = Publication(request.workspace_id, request.event_id, request.source, request.data)
        yield publication
        if conduct.trigger is not None:
            yield self._message(chat, Sender("trigger", "welcome"), conduct.trigger, source=WIDGET)
        if conduct.request_repeated_after_ms is not None:
            self._at(now_ms + conduct.request_repeated_after_ms, partial(_publish, publication))
        if conduct.leaves_after_ms is not None:
            self._at(now_ms + conduct.leaves_after_ms, partial(self._lose_patience, chat), pressing=False)
        if conduct.email_given is not None:
            self._at(now_ms + conduct.email_given.after_ms, partial(self._give_email, chat))
        self._at(now_ms + conduct.gone_after_ms, partial(self._leave, chat), pressing=False)
        if visit.asked.bot_id is not None:
            self._bot_goes_on(chat, 0, now_ms)

    def _bot_goes_on(self, chat: _Chat, step: int, now_ms: int) -> None:
        conduct = chat.visit.conduct
        if step < len(conduct.bot_says):
            self._at(now_ms + conduct.bot_says[step].after_ms, partial(self._bot_says, chat, step))
        elif conduct.bot_transfer is not None:
            self._at(now_ms + conduct.bot_transfer.after_ms, partial(self._bot_transfers, chat))
        else:
            self._at(now_ms + conduct.ends_after_ms, partial(self._end, chat, None))

    def _bot_says(self, chat: _Chat, step: int, now_ms: int) -> Iterable[Published]:
        if chat.over:
            return
        bot_id = chat.visit.asked.bot_id
        said = chat.visit.conduct.bot_says[step]
        sender, source = (Sender("bot", bot_id), BOT) if said.by == "bot" else (self._visitor(chat), WIDGET)
        yield self._message(chat, sender, said.text, source=source)
        self._bot_goes_on(chat, step + 1, now_ms)

    def _bot_transfers(self, chat: _Chat, _now_ms: int) -> Iterable[Published]:
        asked, transfer = chat.visit.asked, chat.visit.conduct.bot_transfer
        if chat.over or asked.bot_id is None or transfer is None:
            return
        wish = BotTransferRequested(asked.chat_id, asked.bot_id, transfer.department_id)
        yield self._publication(chat, "transfer", BOT, wish)

    def _lose_patience(self, chat: _Chat, now_ms: int) -> Iterable[Published]:
        return () if chat.taken else self._leave(chat, now_ms)

    def _leave(self, chat: _Chat, _now_ms: int) -> Iterable[Published]:
        if not chat.over:
            yield self._publication(chat, "left", WIDGET, VisitorLeft(chat.visit.asked.chat_id))

    def _give_email(self, chat: _Chat, _now_ms: int) -> Iterable[Published]:
        given = chat.visit.conduct.email_given
        if not chat.over and given is not None:
            update = VisitorUpdated(chat.visit.asked.chat_id, VisitorPatch(email=given.email))
            yield self._publication(chat, "email", WIDGET, update)

    def _rate(self, chat: _Chat, _now_ms: int) -> Iterable[Published]:
        feedback = chat.visit.conduct.feedback
        assert feedback is not None, "planned only where the visitor rates"
        rating = ChatFeedback(chat.visit.asked.chat_id, feedback.rating, feedback.comment)
        yield self._publication(chat, "feedback", WIDGET, rating)

    # ------------------------------------------------------------ agents and offers

    def _offered(self, offer: ChatOffered, now_ms: int) -> None:
        chat = self._chats.get(offer.chat_id)
        if chat is None or chat.over:
            return
        asked = chat.asked.setdefault(offer.offer_id, set())
        for agent_id in offer.agent_ids:
            person = self._people.get(agent_id)
            if person is None or agent_id in asked:
                continue
            asked.add(agent_id)
            reaction = person.agent.reactions[person.offers % len(person.agent.reactions)]
            person.offers += 1
            wanted = chat.visit.conduct.agents_do
            if wanted is not None:
                reaction = Reaction(wanted, reaction.after_ms)
            if reaction.do != "ring":
                act = partial(self._answer, chat, offer.offer_id, person, accepts=reaction.do == "accept")
                self._at(now_ms + reaction.after_ms, act)

    def _answer(
        self, chat: _Chat, offer_id: str, person: _Person, _now_ms: int, *, accepts: bool
    ) -> Iterable[Published]:
        agent_id = person.agent.agent_id
        if not person.online or agent_id not in chat.asked.get(offer_id, ()):
            return
        kind = OfferAccepted if accepts else OfferDeclined
        answer = kind(offer_id, chat.visit.asked.chat_id, agent_id)
        # Who is asked again within the same offer (gone and back) may answer twice; the id makes it one answer.
        yield Publication(chat.visit.request.workspace_id, f"{offer_id}-{agent_id}", CONSOLE, answer)

    def _withdrawn(self, withdrawal: OfferWithdrawn) -> None:
        chat = self._chats.get(withdrawal.chat_id)
        if chat is not None and withdrawal.offer_id in chat.asked:
            chat.asked[withdrawal.offer_id].difference_update(withdrawal.agent_ids)

    def _marked_away(self, marked: AgentMarkedAway, now_ms: int) -> None:
        person = self._people.get(marked.agent_id)
        if person is not None:
            self._at(now_ms + person.agent.back_after_ms, partial(self._come_back, person), pressing=False)

    def _come_back(self, person: _Person, _now_ms: int) -> Iterable[Published]:
        agent = person.agent
        if person.online:
            person.returns += 1
            event_id = f"{agent.agent_id}-returns-{person.returns}"
            yield Publication(agent.workspace_id, event_id, CONSOLE, AgentPresence(agent.agent_id, "online"))

    # ------------------------------------------------------------ the conversation

    def _assigned(self, assignment: ChatAssigned, now_ms: int) -> None:
        chat = self._chats.get(assignment.chat_id)
        if chat is None or chat.over:
            return
        chat.asked.clear()
        chat.owner, chat.taken = assignment.agent_id, True
        chat.generation += 1
        person = self._people.get(assignment.agent_id)
        if person is not None:
            person.chats[assignment.chat_id] = chat
        self._go_on(chat, now_ms)

    def _unassigned(self, unassignment: ChatUnassigned) -> None:
        chat = self._chats.get(unassignment.chat_id)
        if chat is not None:
            self._disown(chat)

    def _disown(self, chat: _Chat) -> None:
        chat.generation += 1
        person = self._people.get(chat.owner or "")
        if person is not None:
            person.chats.pop(chat.visit.asked.chat_id, None)
        chat.owner = None

    def _go_on(self, chat: _Chat, now_ms: int) -> None:
        """Plan the next step of the conversation, which a change of the owner makes void."""
        conduct = chat.visit.conduct
        if chat.over or not conduct.agent_writes:
            return
        if chat.step < len(conduct.dialogue):
            said = conduct.dialogue[chat.step]
            self._at(now_ms + said.after_ms, partial(self._say, chat, chat.generation, said))
        else:
            self._at(now_ms + conduct.ends_after_ms, partial(self._end, chat, chat.generation))

    def _say(self, chat: _Chat, generation: int, said: Say, now_ms: int) -> Iterable[Published]:
        if chat.over or generation != chat.generation or chat.owner is None:
            return
        if said.by == "agent":
            if not self._present(chat.owner):
                return
            sender, source = Sender("agent", chat.owner), CONSOLE
        else:
            sender, source = self._visitor(chat), WIDGET
        yield self._message(chat, sender, said.text, source=source)
        chat.step += 1
        self._go_on(chat, now_ms)

    def _end(self, chat: _Chat, generation: int | None, now_ms: int) -> Iterable[Published]:
        """End a conversation; `generation` is None where a bot serves alone."""
        asked, conduct = chat.visit.asked, chat.visit.conduct
        if chat.over or (generation is not None and generation != chat.generation):
            return
        if conduct.ends == "leaves":
            yield from self._leave(chat, now_ms)
            return
        if conduct.ends == "agent":
            if chat.owner is None or not self._present(chat.owner):
                return
            if conduct.blocks_ip and asked.visitor.ip is not None:
                block = VisitorIpBlocked(
                    asked.visitor.ip, chat.owner, department_id=asked.department_id, chat_id=asked.chat_id
                )
                yield self._publication(chat, "block", CONSOLE, block)
            by, source = By("agent", chat.owner), CONSOLE
        elif conduct.ends == "bot":
            by, source = By("bot", asked.bot_id), BOT
        else:
            by, source = By("visitor", asked.visitor.visitor_id), WIDGET
        yield self._publication(chat, "end", source, ChatEndRequested(asked.chat_id, by))

    def _present(self, agent_id: str) -> bool:
        person = self._people.get(agent_id)
        return person is not None and person.online

    # ------------------------------------------------------------ ends

    def _missed(self, missed: ChatMissed, now_ms: int) -> None:
        """Nobody came: where a bot goes on serving, the visitor says no more and leaves."""
        chat = self._chats.get(missed.chat_id)
        if chat is not None and not chat.over and chat.visit.asked.bot_id is not None:
            self._at(now_ms + chat.visit.conduct.ends_after_ms, partial(self._leave, chat), pressing=False)

    def _closed(self, closing: ChatClosed, now_ms: int) -> None:
        chat = self._chats.get(closing.chat_id)
        if chat is None or chat.over:
            return
        self._over(chat)
        feedback = chat.visit.conduct.feedback
        if feedback is not None and closing.outcome == "handled":
            self._at(now_ms + feedback.after_ms, partial(self._rate, chat))

    def _over(self, chat: _Chat) -> None:
        if not chat.over:
            self._disown(chat)
            chat.over = True
            chat.asked.clear()
            self._open_chats -= 1

    # ------------------------------------------------------------ publications

    def _visitor(self, chat: _Chat) -> Sender:
        visitor = chat.visit.asked.visitor
        return Sender("visitor", visitor.visitor_id, visitor.name)

    def _message(self, chat: _Chat, sender: Sender, text: str, *, source: str) -> Publication:
        chat.messages += 1
        chat_id = chat.visit.asked.chat_id
        message = ChatMessage(chat_id, f"{chat_id}-m{chat.messages}", sender, text)
        return self._publication(chat, f"m{chat.messages}", source, message)

    def _publication(self, chat: _Chat, name: str, source: str, data: Event) -> Publication:
        workspace_id = chat.visit.request.workspace_id
        return Publication(workspace_id, f"{chat.visit.asked.chat_id}-{name}", source, data)


def _publish(published: Published, _now_ms: int) -> Iterable[Published]:
    yield published
