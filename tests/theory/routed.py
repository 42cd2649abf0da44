"""The router behind the counter: the same visitors come, one chat an agent, and nothing times out.

The one rule: the log is written as the router answers. What it decides on a record is heard before the next one is taken from
`entries`, so a chat ends its handle time after the router gave it to somebody, and not when the recursion says so.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from heapq import heappop, heappush

from schemas import events as e
from schemas.decisions import ChatAssigned
from schemas.envelope import Envelope
from services.router.core.offline import run
from services.router.core.partition import Emitted, Entry
from tests.theory.station import Station, Visitor, given, visitors_of

WORKSPACE, DESK = "theory", "desk"
WHEN = datetime(2026, 11, 21, tzinfo=UTC)
"""What publishers say; the router goes by the records' times."""


class Act(IntEnum):
    """What somebody does, in this order at the same millisecond: an agent who becomes free takes whoever has not left before."""

    WRITES = 0
    ENDS = 1
    LEAVES = 2
    COMES = 3


def routed(visitors: list[Visitor], *, agents: int) -> list[int | None]:
    """Each visitor's wait as the router tells it, None for those who left before anybody was free."""
    counter = _Counter(visitors, agents=agents)
    for emitted in run(counter.entries(), ticks=False):
        if isinstance(emitted.data, ChatAssigned):
            counter.assigned(emitted, emitted.data)
    return [counter.waits_ms.get(number) for number in range(len(visitors))]


def differ(station: Station, *, seed: int, arrivals: int) -> list[int]:
    """The visitors, by number, whose wait in the router is not the recursion's, to the millisecond."""
    visitors = visitors_of(station, seed=seed, arrivals=arrivals)
    pairs = zip(given(visitors, agents=station.agents), routed(visitors, agents=station.agents), strict=True)
    return [number for number, (wanted, found) in enumerate(pairs) if wanted != found]


class _Counter:
    """The publishers: everybody who comes, waits, is served and goes."""

    def __init__(self, visitors: list[Visitor], *, agents: int) -> None:
        self.waits_ms: dict[int, int] = {}
        self._visitors = visitors
        self._agent_ids = tuple(f"agent-{number}" for number in range(agents))
        self._owner_ids: dict[int, str] = {}
        self._due = [(visitor.at_ms, Act.COMES, number) for number, visitor in enumerate(visitors)]
        self._offset = 0

    def assigned(self, emitted: Emitted, fact: ChatAssigned) -> None:
        """An agent has the chat: they write at once, and are done with it after its handle time."""
        number = int(fact.chat_id)
        self.waits_ms[number] = fact.waited_ms
        self._owner_ids[number] = fact.agent_id
        heappush(self._due, (emitted.at_ms, Act.WRITES, number))
        heappush(self._due, (emitted.at_ms + self._visitors[number].handle_ms, Act.ENDS, number))

    def entries(self) -> Iterator[Entry]:
        """The log, as it comes about."""
        for event in self._settings():
            yield self._entry(event, 0)
        while self._due:
            at_ms, act, number = heappop(self._due)
            answer = self._event(act, number, at_ms)
            if answer is not None:
                yield self._entry(answer, at_ms)

    def _settings(self) -> Iterator[e.Event]:
        routing = e.Routing(mode="auto", wait_timeout_s=0, first_reply_timeout_s=0)
        yield e.DepartmentConfigured(DESK, "Desk", agent_ids=self._agent_ids, routing=routing)
        for agent_id in self._agent_ids:
            yield e.AgentConfigured(agent_id, "Name", max_chats=1)
            yield e.AgentPresence(agent_id, "online")

    def _event(self, act: Act, number: int, at_ms: int) -> e.Event | None:
        chat_id = str(number)
        match act:
            case Act.WRITES:  # without a reply the chat would be missed
                return e.ChatMessage(chat_id, "m", e.Sender("agent", self._owner_ids.pop(number)), "Hello.")
            case Act.ENDS:
                return e.ChatEndRequested(chat_id, e.By("visitor"))
            case Act.LEAVES:
                return None if number in self.waits_ms else e.VisitorLeft(chat_id)
            case Act.COMES:
                heappush(self._due, (at_ms + self._visitors[number].patience_ms, Act.LEAVES, number))
                return e.ChatRequested(chat_id, "web", "?", e.Visitor(chat_id), department_id=DESK)

    def _entry(self, event: e.Event, at_ms: int) -> Entry:
        self._offset += 1
        envelope: Envelope[str, e.Event] = Envelope(
            "1.0", str(self._offset), "/tests", event.TYPE, WHEN, WORKSPACE, event
        )
        return Entry(envelope, 0, self._offset, at_ms)
