"""What the people of a scenario have in common: the chats as they know them, who is at work, and what somebody is about to do.

One rule: no clock, no I/O and no randomness. Whoever acts does so through the agenda, so the same calls give the same
publications. All times are ms after the day's midnight.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from schemas.events import ChatMessage, Event, Sender
from services.local.scenario import Agent, Poisoned, Scenario, Visit

CONSOLE, WIDGET, BOT = "/frontends/console", "/frontends/web", "/frontends/bot"


@dataclass(frozen=True, slots=True)
class Publication:
    """One event for `chat.events.v1`; the record's key is the workspace."""

    workspace_id: str
    event_id: str
    source: str
    data: Event


Published: TypeAlias = Publication | Poisoned
Action: TypeAlias = Callable[[int], Iterable[Published]]
"""What somebody does at a time."""


@dataclass(slots=True)
class Chat:
    """What the people in one chat know of it."""

    visit: Visit
    step: int = 0
    generation: int = 0
    """What was planned for an earlier one is void: the owner has changed, or waits for somebody."""
    messages: int = 0
    owner: str | None = None
    last_owner: str | None = None
    taken: bool = False
    over: bool = False
    visitor_gone: bool = False
    asked: dict[str, set[str]] = field(default_factory=dict)
    """Open offers with the agents who are asked."""
    done: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        """The id it was requested under."""
        return self.visit.asked.chat_id

    def first(self, what: str) -> bool:
        """Whether this has not been done in the chat yet; from now on it has."""
        known = what in self.done
        self.done.add(what)
        return not known

    def goes_on(self, generation: int) -> bool:
        """Whether what was planned in a generation still holds."""
        return not self.over and generation == self.generation

    def publication(self, name: str, source: str, data: Event) -> Publication:
        """An event about this chat; `name` tells its events apart."""
        return Publication(self.visit.request.workspace_id, f"{self.id}-{name}", source, data)

    def message(self, sender: Sender, text: str, *, source: str, internal: bool = False) -> Publication:
        """The next message of this chat."""
        self.messages += 1
        name = f"m{self.messages}"
        return self.publication(
            name, source, ChatMessage(self.id, f"{self.id}-{name}", sender, text, internal)
        )


@dataclass(slots=True)
class Person:
    """An agent at work."""

    agent: Agent
    online: bool = False
    offers: int = 0
    returns: int = 0
    chats: dict[str, Chat] = field(default_factory=dict)


class Crowd:
    """Everybody in a scenario, and their agenda."""

    def __init__(self, scenario: Scenario) -> None:
        self.chats = {visit.asked.chat_id: Chat(visit) for visit in scenario.visits}
        self.people = {agent.agent_id: Person(agent) for agent in scenario.agents}
        self.open_chats = len(self.chats)
        self.pressing = 0
        self._colleagues: dict[str | None, list[Person]] = {}
        for person in self.people.values():
            self._colleagues.setdefault(person.agent.department_id, []).append(person)
        self._due: list[tuple[int, int, bool, Action]] = []
        self._scheduled = 0
        self._refusals: dict[str, Callable[[int], None]] = {}

    # ------------------------------------------------------------ time

    def at(self, at_ms: int, action: Action, *, pressing: bool = True) -> None:
        """Plan an action. What is not `pressing` is only done if the day lasts that long anyway."""
        self._scheduled += 1
        self.pressing += pressing
        heapq.heappush(self._due, (at_ms, self._scheduled, pressing, action))

    def due_ms(self) -> int | None:
        """Return when somebody acts next, None when nobody will unless something is decided."""
        return self._due[0][0] if self._due else None

    def act(self, until_ms: int) -> list[Published]:
        """Return what is published up to and including `until_ms`, in order."""
        published: list[Published] = []
        while self._due and self._due[0][0] <= until_ms:
            at_ms, _, pressing, action = heapq.heappop(self._due)
            self.pressing -= pressing
            published += action(at_ms)
        return published

    def when_refused(self, event_id: str, then: Callable[[int], None]) -> None:
        """Have something done when the router refuses this request."""
        self._refusals[event_id] = then

    def refused(self, event_id: str, now_ms: int) -> None:
        """A request was refused; most people take that as it is."""
        then = self._refusals.pop(event_id, None)
        if then is not None:
            then(now_ms)

    # ------------------------------------------------------------ chats and people

    def live(self, chat_id: str) -> Chat | None:
        """Return a chat that goes on, as far as people know; None for strangers' chats."""
        chat = self.chats.get(chat_id)
        return None if chat is None or chat.over else chat

    def close(self, chat: Chat) -> None:
        """Note that a chat is over."""
        if not chat.over:
            self.disown(chat)
            chat.over = True
            chat.asked.clear()
            self.open_chats -= 1

    def reopen(self, chat: Chat) -> None:
        """Note that a chat goes on after all."""
        chat.over = False
        self.open_chats += 1

    def disown(self, chat: Chat) -> None:
        """Note that nobody has a chat any more."""
        chat.generation += 1
        person = self.people.get(chat.owner or "")
        if person is not None:
            person.chats.pop(chat.id, None)
        chat.owner = None

    def present(self, agent_id: str) -> bool:
        """Whether an agent sits at their console."""
        person = self.people.get(agent_id)
        return person is not None and person.online

    def colleague_of(self, agent_id: str) -> str | None:
        """Return who of an agent's department is at work and has the fewest chats; None where nobody else is."""
        person = self.people.get(agent_id)
        if person is None:
            return None
        others = (
            (len(other.chats), other.agent.agent_id)
            for other in self._colleagues[person.agent.department_id]
            if other.online and other is not person
        )
        return min(others, default=(0, None))[1]
