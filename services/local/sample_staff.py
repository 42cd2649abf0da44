"""The settings and the staff of the sample day: who works where and when, who watches whom, and what admins change under way.

One rule: a change under way is a whole snapshot like any other, and takes effect while visitors wait.
"""

from dataclasses import replace
from math import ceil

from schemas.events import (
    AgentConfigured,
    AgentPresence,
    ChatRequested,
    DepartmentConfigured,
    Event,
    MonitorConfigured,
    MonitorDeleted,
    Visitor,
    VisitorIpBlocked,
    VisitorIpUnblocked,
)
from services.local.crowd import CONSOLE, WIDGET
from services.local.phrases import PHRASES
from services.local.sample_company import COMPANIES, Company, Desk
from services.local.sample_draft import Draft
from services.local.scenario import Agent, Reaction, faster

ADMIN = "/admin"
BLOCKED_NETWORK, BLOCKED_ADDRESS = "203.0.113.64/28", "203.0.113.66"
BLOCK_LIFTED_H = 14.0
WATCHED_ADDRESS = "2001:db8:7::7"
_SECOND_MS = 1000
_TALK_MS = 55 * _SECOND_MS
"""How long a conversation takes from the offer to its end, on average."""
_BUSY_SHARE = 0.95
_AGENTS_MIN, _AGENTS_MAX = 4, 400
_FIXED_AGENTS = 3
_FIXED_CAPACITY = 60
_CAPACITY = 4
_SHIFTS_H = ((0.0, 24.0), (6.0, 18.0), (8.0, 20.0), (10.0, 24.0))
_WINDOWS = 48
_DEAF, _ABSENT, _WATCHED = 1, 2, 3
"""By their place at a desk: one never hears the ring, one loses the connection for hours, one is watched."""


class Staff:
    """Writes settings and staff into a day."""

    def __init__(self, draft: Draft, arrivals_ms: list[int]) -> None:
        self._draft = draft
        self._rng = draft.rng
        self._peak = self._busiest_window(arrivals_ms)
        self._desks: dict[str, DepartmentConfigured] = {}
        self._agents: dict[str, AgentConfigured] = {}

    def open(self, company: Company) -> None:
        """Schedule a workspace's settings and its agents' day."""
        self._set(company, 0.0, company.workspace)
        if company.crm is not None:
            self._set(company, 0.0, company.crm)
        self._hire_chief(company)
        for desk in company.desks:
            self._open_desk(company, desk)
        self._watch(company)

    def change_under_way(self) -> None:
        """Schedule what admins change while visitors wait: a desk is disabled for a while, another's rules and an agent's limit change."""
        sakura, northwind, fuji = COMPANIES
        sales = self._desks["northwind-sales"]
        self._set(northwind, 12.5, replace(sales, enabled=False))
        self._set(northwind, 12.9, sales)
        general = self._desks["sakura"]
        fairer = replace(general.routing, strategy="longest_idle")
        self._set(sakura, 15.0, replace(general, routing=fairer))
        busy = self._agents["fuji-02"]
        self._set(fuji, 11.0, replace(busy, max_chats=1))
        self._set(fuji, 16.0, busy)

    def block_somebody(self) -> None:
        """Schedule a network that is blocked in the night, a visitor from there who is refused (no chat of the day's), and its release."""
        company = COMPANIES[0]
        by = company.desks[0].supervisor_id
        self._set(company, 1.0, VisitorIpBlocked(BLOCKED_NETWORK, by), source=CONSOLE)
        refused = ChatRequested(
            f"{company.workspace_id}-s{self._draft.seed}-refused",
            "web",
            PHRASES["ja"].questions[0],
            Visitor(f"{company.workspace_id}-blocked", ip=BLOCKED_ADDRESS),
        )
        self._set(company, 13.0, refused, source=WIDGET)
        self._set(company, BLOCK_LIFTED_H, VisitorIpUnblocked(BLOCKED_NETWORK, by), source=CONSOLE)

    def _set(self, company: Company, hour: float, data: Event, *, source: str = ADMIN) -> None:
        self._draft.schedule(company, self._draft.at_ms(hour), data, source=source)

    # ------------------------------------------------------------ settings

    def _open_desk(self, company: Company, desk: Desk) -> None:
        count = self._size(desk)
        ids = [desk.agent_id(number) for number in range(1, 1 + count)]
        for number, agent_id in enumerate(ids):
            self._hire(company, desk, agent_id, number)
        settings = self._desks[desk.department_id] = DepartmentConfigured(
            desk.department_id,
            desk.name,
            visibility=desk.visibility,
            agent_ids=tuple(ids),
            routing=faster(desk.routing, self._draft.pace),
            email=desk.email,
        )
        self._set(company, 0.0, settings)
        for number, agent_id in enumerate(ids):
            self._work(company, desk, agent_id, number)

    def _busiest_window(self, arrivals_ms: list[int]) -> float:
        """Return how many conversations go on at once in the day's busiest half hour."""
        window_ms = max(self._draft.day_ms // _WINDOWS, 1)
        counts: dict[int, int] = {}
        for at_ms in arrivals_ms:
            counts[at_ms // window_ms] = counts.get(at_ms // window_ms, 0) + 1
        return max(counts.values(), default=0) * (_TALK_MS / self._draft.pace) / window_ms

    def _size(self, desk: Desk) -> int:
        """Return how many agents a desk needs then."""
        if not desk.share:
            return _FIXED_AGENTS
        return min(max(ceil(self._peak * desk.share / (_CAPACITY * _BUSY_SHARE)), _AGENTS_MIN), _AGENTS_MAX)

    def _watch(self, company: Company) -> None:
        """Schedule monitors: the chief's for a visitor and an address all day, a supervisor's for one agent during the day."""
        chief, supervisor = company.chief_id, company.desks[0].supervisor_id
        monitor = f"{company.workspace_id}-watch"
        for monitored in (
            MonitorConfigured(f"{monitor}-email", "visitor_email", company.watched_email, chief),
            MonitorConfigured(f"{monitor}-ip", "ip", WATCHED_ADDRESS, chief),
        ):
            self._set(company, 0.0, monitored, source=CONSOLE)
        watched = company.desks[0].agent_id(1 + _WATCHED)
        settings = MonitorConfigured(f"{monitor}-agent", "agent", watched, supervisor)
        self._set(company, 10.0, settings, source=CONSOLE)
        self._set(company, 15.0, MonitorDeleted(settings.monitor_id, supervisor), source=CONSOLE)

    # ------------------------------------------------------------ people

    def _hire_chief(self, company: Company) -> None:
        chief = AgentConfigured(company.chief_id, "Chief", role="admin", crm="admin")
        self._set(company, 0.0, chief)
        self._draft.agents.append(Agent(company.workspace_id, chief.agent_id, (Reaction("ring"),), 0))
        self._set(company, 0.0, AgentPresence(chief.agent_id, "online", sound=False), source=CONSOLE)

    def _hire(self, company: Company, desk: Desk, agent_id: str, number: int) -> None:
        words = PHRASES[desk.language]
        first = number == 0
        agent = self._agents[agent_id] = AgentConfigured(
            agent_id,
            words.name(self._rng.choice(words.family_names), self._rng.choice(words.given_names)),
            email=f"{agent_id}@{company.workspace_id}.example.com",
            role="supervisor" if first else "agent",
            max_chats=_CAPACITY if desk.share else _FIXED_CAPACITY,
            skills={desk.skills[number % len(desk.skills)]: 1.0} if desk.skills else {},
            languages=company.languages if number % 2 == 0 else company.languages and (desk.language,),
            team=desk.name,
            crm="user" if first else "none",
        )
        self._set(company, 0.0, agent)
        # Who never hears the ring is marked away now and then.
        deaf = number == _DEAF and desk is company.desks[0] and desk.routing.mode == "offer"
        wont = tuple(self._reaction(deaf=deaf, dutiful=not desk.share) for _ in range(8))
        back_after_ms = int(self._draft.chance.between_ms(60, 180) / self._draft.pace)
        self._draft.agents.append(
            Agent(company.workspace_id, agent_id, wont, back_after_ms, desk.department_id)
        )

    def _reaction(self, *, deaf: bool, dutiful: bool) -> Reaction:
        draw = self._rng.random()
        after_ms = int(self._draft.chance.between_ms(1.5, 6) / self._draft.pace)
        if deaf:
            return Reaction("ring")
        if dutiful or draw < 0.84:
            return Reaction("accept", after_ms)
        return Reaction("decline", after_ms) if draw < 0.93 else Reaction("ring")

    def _work(self, company: Company, desk: Desk, agent_id: str, number: int) -> None:
        """Schedule an agent's presence: a shift, lunch, and for some a lost connection, for seconds or for hours."""
        begins_h, ends_h = _SHIFTS_H[number % len(_SHIFTS_H)] if desk.share else (0.0, 24.0)
        at_ms = self._draft.at_ms
        online, away, offline = (AgentPresence(agent_id, status) for status in ("online", "away", "offline"))
        plan = [(at_ms(begins_h), replace(online, sound=self._rng.random() < 0.9))]
        if number == _ABSENT and desk.share:
            plan += [(at_ms(11.6), offline), (at_ms(15.2), online)]
        elif number % 3 == 1 and desk.share:
            lunch_h = self._rng.uniform(11.8, 12.8)
            plan += [(at_ms(lunch_h), away), (at_ms(lunch_h + 0.7), online)]
        elif number and desk.share:
            # Back within the grace time, so nobody loses a chat.
            lost_ms = at_ms(self._rng.uniform(10.5, 17.0))
            plan += [
                (lost_ms, offline),
                (lost_ms + int(self._draft.chance.between_ms(5, 20) / self._draft.pace), online),
            ]
        if ends_h < 24:
            plan += [(at_ms(ends_h), away), (at_ms(ends_h + 1.9), offline)]
        for when_ms, presence in plan:
            self._draft.schedule(company, when_ms, presence, source=CONSOLE)
