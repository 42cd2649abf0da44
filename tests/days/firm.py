"""A random workspace: its departments, agents, hours and settings, and what its people do besides chatting.

The one rule: a seed gives the same workspace everywhere; all that is drawn comes from one stream of chance.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from schemas import events as e
from schemas.types import CHANNELS
from services.router.core.state import Workspace
from tests.router.happenings import BOT, Dice

WORKSPACE = "acme"
DATES = (
    ("Asia/Tokyo", date(2026, 11, 23)),
    ("Asia/Kathmandu", date(2026, 12, 31)),
    ("America/New_York", date(2026, 11, 1)),
    ("America/New_York", date(2027, 3, 14)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/Berlin", date(2027, 3, 28)),
    ("Australia/Lord_Howe", date(2027, 4, 4)),
)
"""Zones and days; on most the clocks go forward or back, in Lord Howe by half an hour."""
TIME_OUTS_S = (0.0, 5.0, 20.0, 60.0, 60.0, 120.0, 120.0, 600.0)
AGENTS_MAX = (1, 4, 8, 15, 30)
DEPARTMENTS_MAX = 6
WEEK: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = (
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
)
CLOCKS = ("00:00", "01:30", "02:30", "06:00", "12:00", "22:00", "23:59")


class Firm(Dice):
    """Draws one workspace and its happenings."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = self.rng
        self.zone, self.date = self.one(DATES)
        midnight = datetime(self.date.year, self.date.month, self.date.day, tzinfo=ZoneInfo(self.zone))
        self.begins_ms = round(midnight.timestamp() * 1000)
        self.agents = tuple(f"a{number:02}" for number in range(rng.randint(1, self.one(AGENTS_MAX))))
        self.departments = (
            WORKSPACE,
            *(f"d{number}" for number in range(rng.randint(0, DEPARTMENTS_MAX - 1))),
        )
        self.chats = self.asked = ["c0"]

    def roll(self, chance: float) -> bool:
        return self.rng.random() < chance

    # ------------------------------------------------------------ settings

    def time_out(self) -> float:
        return self.one(TIME_OUTS_S)

    def hours(self) -> e.Hours | None:
        """None for most; spans around the night and the change of clocks otherwise, and perhaps the day itself closed."""
        if self.roll(0.8):
            return None
        spans = tuple(
            e.Span(day, *self.rng.choices(CLOCKS, k=2)) for day in WEEK for _ in range(self.rng.randint(1, 2))
        )
        closed = [self.date + timedelta(days=change) for change in (-1, 0, 1) if self.roll(0.1)]
        return e.Hours(spans, tuple(day.isoformat() for day in closed))

    def routing(self) -> e.Routing:
        return replace(
            super().routing(),
            idle_close_s=self.one((0.0, 60.0, 3600.0)),
            max_queue=self.one((0, 0, 0, 0, 2, 10)),
            offer_timeout_s=self.one((1.0, 20.0, 20.0, 20.0, 60.0, 0.0)),
            priority_head_start_s=self.one(({}, {"vip": 600.0}, {"vip": 10.0})),
        )

    def department(self) -> e.DepartmentConfigured:
        count = len(self.agents)
        members = self.rng.sample(self.agents, self.one((count, count, self.rng.randint(0, count))))
        return replace(super().department(), agent_ids=(*members, *self.some("ghost", most=1)))

    def agent(self) -> e.AgentConfigured:
        return replace(super().agent(), max_chats=self.one((0, 1, 2, 3, 4, 4, 8)))

    def opening(self) -> list[e.Event]:
        """The workspace as a shift begins: overflow chains, most departments open, most agents online."""
        hours = self.hours() if self.roll(0.3) else None
        zone = e.WorkspaceConfigured("Acme", self.zone, hours=hours)
        departments = [
            replace(self.department(), department_id=each, enabled=each == WORKSPACE or self.roll(0.9))
            for each in self.departments
        ]
        if self.roll(0.5):
            departments = [
                replace(each, routing=replace(each.routing, overflow_department_id=other.department_id))
                for each, other in pairwise((*departments, departments[0]))
            ]
        agents = [replace(self.agent(), agent_id=agent_id) for agent_id in self.agents]
        online = [e.AgentPresence(agent_id, "online") for agent_id in self.agents if self.roll(0.9)]
        watched = [
            e.MonitorConfigured(f"m{number}", "agent", self.one(self.agents), self.one(self.agents))
            for number in range(self.rng.randint(0, 3))
        ]
        unblocked = e.VisitorIpUnblocked("10.0.0.0/8", self.agents[0])
        return [zone, *departments, *agents, *online, *watched, unblocked]

    # ------------------------------------------------------------ happenings

    def request(self) -> e.ChatRequested:
        """A new chat; a few come with an id that is in use."""
        drawn = super().request()
        chat_id = f"c{len(self.asked)}"
        if self.roll(0.98):
            self.asked.append(chat_id)
        return replace(
            drawn,
            chat_id=self.asked[-1],
            visitor=replace(drawn.visitor, visitor_id=f"v{self.rng.randint(0, 40)}"),
            department_id=self.one((None, "nowhere", *self.departments * 3)),
            bot_id=BOT if self.roll(0.25) else None,
        )

    def interference(self, ws: Workspace) -> list[e.Event]:
        """What somebody does in between; two admins at once may."""
        draws: tuple[tuple[int, Callable[[], Any]], ...] = (
            (2, self.kept),
            (3, self.watch),
            (1, self.message),
            (1, self.presence),
            (1, self.agent),
            (2, self.department),
            (1, self.end),
            (4, lambda: self._blow(ws)),
        )
        draw = self.rng.choices([draw for _, draw in draws], [weight for weight, _ in draws])[0]
        return [draw() for _ in range(self.one((1, 1, 1, 2)))]

    def _blow(self, ws: Workspace) -> e.Event:
        """A change of settings that hurts: departments where chats wait, and agents who have some."""
        waiting = [department_id for department_id, index in ws.indexes.items() if index.waiting]
        busy = [agent.id for agent in ws.agents.values() if agent.load and not agent.removed]
        agent_id, department_id = self.one(busy or self.agents), self.one(waiting or self.departments)
        chat_id = self.one(self.chats)
        return self.one(
            (
                e.DepartmentDeleted(department_id),
                replace(self.department(), department_id=department_id, enabled=False),
                replace(self.department(), department_id=department_id, agent_ids=()),
                e.AgentDeleted(agent_id),
                replace(self.agent(), agent_id=agent_id, max_chats=1),
                e.AgentHeartbeat(agent_id),
                e.WorkspaceConfigured("Acme", self.zone, channels=self.one((("web",), CHANNELS, CHANNELS))),
                e.VisitorIpBlocked("10.0.0.0/8", agent_id),
                e.VisitorUpdated(chat_id, e.VisitorPatch(email="late@example.test")),
            )
        )
