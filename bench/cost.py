"""What an event costs the core in a large workspace, and what the core keeps in memory.

One rule: only the core's own time is taken, never that of making the events; small and large run in turns, and the best round counts.
"""

import os
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from multiprocessing import get_context
from time import perf_counter_ns

from bench import live_chats
from bench.processes import memory_mb
from bench.rows import Row
from schemas import decisions as d
from schemas import events as e
from schemas.envelope import Envelope
from services.router.changelog import Changelog
from services.router.core.partition import Emitted, Entry, Partition

SMALL, LARGE = (10, 5), (10_000, 5_000)
"""Agents, and chats that wait."""
SIZE_BOUND, DRAIN_BOUND, LIVE_BOUND_MB, MONTH_BOUND = 1.5, 2.0, 400.0, 1.01
CYCLES, ROUNDS = 400, 5
DRAIN_AGENTS, DRAIN_WAITING, DRAIN_CAPACITY = 1_000, 5_000, 4
MONTH_DAYS, EARLY_DAYS, CHATS_PER_DAY = 30, 2, 3_000
WRITTEN_CHATS = 50
"""After so many chats the changelog is written."""
BEGIN_MS = round(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 24 * 3600 * 1000
_DEPARTMENT, _VISITOR = "desk", e.By("visitor")


@dataclass(slots=True)
class Desk:
    """One workspace with one department, and a clock of its own."""

    partition: Partition = field(default_factory=lambda: Partition(0, exact=True))
    now_ms: int = BEGIN_MS
    spent_ns: int = 0
    """The core's time."""
    decided: int = 0
    events: int = 0
    ids: "count[int]" = field(default_factory=count)

    def hear(self, data: e.Event) -> list[Emitted]:
        """Apply an event now."""
        at_ms, number = self.now_ms, next(self.ids)
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
        envelope: Envelope[str, e.Event] = Envelope(
            "1.0", f"e{number}", "/bench", data.TYPE, moment, "acme", data
        )
        entry = Entry(envelope, 0, number, at_ms)
        start_ns = perf_counter_ns()
        emitted = self.partition.fire_due(at_ms) + self.partition.apply(entry)
        self.spent_ns += perf_counter_ns() - start_ns
        self.decided += len(emitted)
        self.events += 1
        return emitted

    def open(self, agents: int, *, capacity: int, online: bool) -> None:
        """Configure the department and its agents."""
        names = tuple(f"agent-{number:05}" for number in range(agents))
        forever = e.Routing(
            offer_timeout_s=0.0, wait_timeout_s=0.0, first_reply_timeout_s=0.0, no_answer_limit=0
        )
        self.hear(
            e.DepartmentConfigured(department_id=_DEPARTMENT, name="Desk", agent_ids=names, routing=forever)
        )
        for name in names:
            self.hear(e.AgentConfigured(agent_id=name, name=name, max_chats=capacity))
            if online:
                self.hear(e.AgentPresence(name, "online"))

    def ask(self, number: int) -> list[Emitted]:
        """A visitor asks for a chat."""
        visitor = e.Visitor(visitor_id=f"visitor-{number}")
        return self.hear(e.ChatRequested(_chat(number), "web", "How?", visitor, department_id=_DEPARTMENT))

    def take(self, emitted: list[Emitted]) -> deque[tuple[str, str]]:
        """Whoever is offered a chat accepts it and writes; give the chats with their owners."""
        taken: deque[tuple[str, str]] = deque()
        for item in emitted:
            if isinstance(item.data, d.ChatOffered):
                chat_id, agent_id = item.data.chat_id, item.data.agent_ids[0]
                self.hear(e.OfferAccepted(item.data.offer_id, chat_id, agent_id))
                self.hear(e.ChatMessage(chat_id, "m1", e.Sender("agent", agent_id), "Hello."))
                self.hear(e.ChatMessage(chat_id, "m2", e.Sender("visitor"), "Thanks."))
                taken.append((chat_id, agent_id))
        return taken

    def reset(self) -> None:
        """Begin to count anew."""
        self.spent_ns = self.decided = self.events = 0


def measure() -> list[Row]:
    """Return the rows; about a minute of one core."""
    cycles = {size: _busy(*size) for size in (SMALL, LARGE)}
    event_us = dict.fromkeys(cycles, float("inf"))
    decision_us = float("inf")
    for _ in range(ROUNDS):
        for size, (desk, owned, numbers) in cycles.items():
            desk.reset()
            _turn(desk, owned, numbers)
            event_us[size] = min(event_us[size], desk.spent_ns / 1000 / desk.events)
            if size == SMALL:
                decision_us = min(decision_us, desk.spent_ns / 1000 / desk.decided)
    drain_us = min(_drained() for _ in range(ROUNDS - 2))
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        live_mb = pool.submit(_live_mb).result()
        month = pool.submit(_month).result()
    return [
        Row("event, 10 agents, 5 waiting", event_us[SMALL], "µs"),
        Row("event, 10,000 agents, 5,000 waiting / 10 and 5", event_us[LARGE] / event_us[SMALL], "ratio", SIZE_BOUND),
        Row("decision, 1,000 agents come online, 5,000 waiting / quiet", drain_us / decision_us, "ratio", DRAIN_BOUND),
        Row("core alone with 100,000 live chats", live_mb, "MB", LIVE_BOUND_MB),
        Row("memory after a month / after two days", month, "ratio", MONTH_BOUND),
    ]  # fmt: skip


def _busy(agents: int, waiting: int) -> tuple[Desk, deque[tuple[str, str]], "count[int]"]:
    """A desk where every agent has a chat and so many more wait; the chats with their owners, and numbers for new ones."""
    desk, owned, numbers = Desk(), deque[tuple[str, str]](), count()
    desk.open(agents, capacity=1, online=True)
    for _ in range(agents):
        desk.now_ms += 1
        owned += desk.take(desk.ask(next(numbers)))
    for _ in range(waiting):
        desk.now_ms += 1
        desk.ask(next(numbers))
    assert len(owned) == agents, "everybody has a chat"
    return desk, owned, numbers


def _turn(desk: Desk, owned: deque[tuple[str, str]], numbers: "count[int]") -> None:
    """Chats end, the next that wait are taken, and others come."""
    for _ in range(CYCLES):
        desk.now_ms += 50
        chat_id, _ = owned.popleft()
        owned += desk.take(desk.hear(e.ChatEndRequested(chat_id, _VISITOR)))
        desk.ask(next(numbers))


def _drained() -> float:
    """The time of a decision, in µs, while agents come online one after another and many chats wait."""
    desk = Desk()
    desk.open(DRAIN_AGENTS, capacity=DRAIN_CAPACITY, online=False)
    for number in range(DRAIN_WAITING):
        desk.now_ms += 1
        desk.ask(number)
    desk.reset()
    for number in range(DRAIN_AGENTS):
        desk.hear(e.AgentPresence(f"agent-{number:05}", "online"))
    assert desk.decided == DRAIN_AGENTS * DRAIN_CAPACITY, (
        "everybody is asked for as many chats as they can take"
    )
    return desk.spent_ns / 1000 / desk.decided


def _live_mb() -> float:
    """The memory of a process whose core holds 100,000 live chats."""
    partition = Partition(live_chats.PARTITION)
    for _changes in live_chats.batches(BEGIN_MS, partition):
        pass
    used = memory_mb(os.getpid())
    assert partition.workspaces, "it is still held"
    return used


def _month() -> float:
    """The memory after a month, by that after two days, both at midnight: allocated blocks, which do not depend on what else was freed before."""
    desk, numbers, early = Desk(), count(), 0
    changelog = Changelog(desk.partition)
    desk.open(20, capacity=4, online=True)
    for day in range(1, MONTH_DAYS + 1):
        for _ in range(CHATS_PER_DAY):
            desk.now_ms += DAY_MS // CHATS_PER_DAY
            number = next(numbers)
            taken = desk.take(desk.ask(number))
            desk.hear(e.ChatEndRequested(_chat(number), _VISITOR))
            assert taken, "somebody has room"
            if number % WRITTEN_CHATS == 0:
                deque(changelog.changes(), maxlen=0)
        if day == EARLY_DAYS:
            early = sys.getallocatedblocks()
    return sys.getallocatedblocks() / early


def _chat(number: int) -> str:
    return f"chat-{number:08}"
