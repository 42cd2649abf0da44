"""Makes the scenario of a sample day. One rule: everything is drawn from one seeded generator, in one fixed order.

People's times are written down unhurried and divided by `pace` at the end, departments' time-outs with them; the day's
length is a thing of its own. So a day of 30 s at pace 40 keeps the shape of the day and of each conversation.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from random import Random

from schemas.events import (
    AgentConfigured,
    AgentPresence,
    ChatRequested,
    DepartmentConfigured,
    Event,
    Visitor,
    VisitorIpBlocked,
)
from schemas.types import CHANNELS
from services.local.arrivals import DAY_MS, Bin, arrival_times
from services.local.phrases import PHRASES, Phrases
from services.local.sample_company import COMPANIES, Company, Desk
from services.local.sample_visits import KINDS, Chance
from services.local.scenario import (
    Agent,
    Conduct,
    EmailGiven,
    Feedback,
    Head,
    Poisoned,
    Reaction,
    Scenario,
    Scheduled,
    Visit,
    faster,
)

ADMIN, CONSOLE, WIDGET = "/admin", "/frontends/console", "/frontends/web"
STARTS_AT_MS = 1_795_219_200_000
"""2026-11-21T00:00:00Z: the midnight where no clock runs."""
_SECOND_MS, _HOUR_MS = 1000, 3600 * 1000
_TALK_MS = 55 * _SECOND_MS
"""How long a conversation takes from the offer to its end, on average."""
_BUSY_SHARE = 0.95
_AGENTS_MIN, _AGENTS_MAX = 4, 400
_QUIET_AGENTS = 3
_QUIET_CAPACITY = 60
_CAPACITY = 4
_RETURNING_VISITORS = 60
_SHIFTS_H = ((0.0, 24.0), (6.0, 18.0), (8.0, 20.0), (10.0, 24.0))
_WINDOWS = 48
_BOT = "guide-bot"
_BLOCKED_NETWORK, _BLOCKED_ADDRESS = "203.0.113.64/28", "203.0.113.66"


class _Day:
    """The generator: one object holds what all parts need."""

    def __init__(self, *, seed: int, day_ms: int, pace: float) -> None:
        self.rng = Random(seed)  # noqa: S311  repeatable, not secret
        self.chance = Chance(self.rng)
        self.seed = seed
        self.day_ms = day_ms
        self.pace = pace
        self.agents: list[Agent] = []
        self.events: list[Scheduled] = []

    def at_ms(self, hour: float) -> int:
        """Return an hour of the day as ms of this day."""
        return int(hour * _HOUR_MS * self.day_ms / DAY_MS)

    def schedule(self, company: Company, at_ms: int, data: Event, *, source: str = ADMIN) -> None:
        event_id = f"{company.workspace_id}-s{self.seed}-{len(self.events)}"
        self.events.append(Scheduled(at_ms, company.workspace_id, event_id, source, data))

    # ------------------------------------------------------------ settings and agents

    def open_company(self, company: Company, *, arrivals_ms: list[int]) -> None:
        """Schedule a workspace's settings and its agents' day."""
        self.schedule(company, 0, company.workspace)
        if company.crm is not None:
            self.schedule(company, 0, company.crm)
        for desk in company.desks:
            ids = [
                f"{desk.department_id}-{number:02d}"
                for number in range(1, 1 + self._staff(desk, arrivals_ms))
            ]
            for number, agent_id in enumerate(ids):
                self._hire(company, desk, agent_id, number)
            routing = faster(desk.routing, self.pace)
            settings = DepartmentConfigured(
                desk.department_id, desk.name, agent_ids=tuple(ids), routing=routing, email=desk.email
            )
            self.schedule(company, 0, settings)
            for number, agent_id in enumerate(ids):
                self._work(company, desk, agent_id, number)

    def _staff(self, desk: Desk, arrivals_ms: list[int]) -> int:
        """Return how many agents a desk needs in the day's busiest half hour."""
        if desk.quiet:
            return _QUIET_AGENTS
        window_ms = max(self.day_ms // _WINDOWS, 1)
        counts: dict[int, int] = {}
        for at_ms in arrivals_ms:
            counts[at_ms // window_ms] = counts.get(at_ms // window_ms, 0) + 1
        at_once = max(counts.values(), default=0) * desk.share * (_TALK_MS / self.pace) / window_ms
        return min(max(ceil(at_once / (_CAPACITY * _BUSY_SHARE)), _AGENTS_MIN), _AGENTS_MAX)

    def _hire(self, company: Company, desk: Desk, agent_id: str, number: int) -> None:
        words = PHRASES[desk.language]
        agent = AgentConfigured(
            agent_id,
            words.name(self.rng.choice(words.family_names), self.rng.choice(words.given_names)),
            email=f"{agent_id}@{company.workspace_id}.example.com",
            role="supervisor" if number == 0 else "agent",
            max_chats=_QUIET_CAPACITY if desk.quiet else _CAPACITY,
            team=desk.name,
            crm="user" if number == 0 else "none",
        )
        self.schedule(company, 0, agent)
        # The second of the first desk never hears the ring, and is marked away now and then.
        deaf = number == 1 and desk is company.desks[0] and desk.routing.mode == "offer"
        wont = tuple(self._reaction(deaf=deaf, dutiful=desk.quiet) for _ in range(8))
        back_after_ms = int(self.chance.between_ms(60, 180) / self.pace)
        self.agents.append(Agent(company.workspace_id, agent_id, wont, back_after_ms))

    def _reaction(self, *, deaf: bool, dutiful: bool) -> Reaction:
        draw = self.rng.random()
        after_ms = int(self.chance.between_ms(1.5, 6) / self.pace)
        if deaf:
            return Reaction("ring")
        if dutiful or draw < 0.84:
            return Reaction("accept", after_ms)
        return Reaction("decline", after_ms) if draw < 0.93 else Reaction("ring")

    def _work(self, company: Company, desk: Desk, agent_id: str, number: int) -> None:
        """Schedule an agent's presence: a shift, lunch, and for one of each desk a lost connection at midday."""
        begins_h, ends_h = (0.0, 24.0) if desk.quiet else _SHIFTS_H[number % len(_SHIFTS_H)]
        plan: list[tuple[float, AgentPresence]] = [
            (begins_h, AgentPresence(agent_id, "online", sound=self.rng.random() < 0.9))
        ]
        if number == 2 and not desk.quiet:
            plan += [(11.6, AgentPresence(agent_id, "offline")), (15.2, AgentPresence(agent_id, "online"))]
        elif number % 3 == 1 and not desk.quiet:
            lunch_h = self.rng.uniform(11.8, 12.8)
            plan += [
                (lunch_h, AgentPresence(agent_id, "away")),
                (lunch_h + 0.7, AgentPresence(agent_id, "online")),
            ]
        if ends_h < 24:
            plan += [
                (ends_h, AgentPresence(agent_id, "away")),
                (ends_h + 1.9, AgentPresence(agent_id, "offline")),
            ]
        for hour, presence in plan:
            self.schedule(company, self.at_ms(hour), presence, source=CONSOLE)

    def block_somebody(self) -> None:
        """Schedule a network that is blocked in the night, and a visitor from there who is refused: no chat of the day's."""
        company = COMPANIES[0]
        self.schedule(
            company,
            self.at_ms(1.0),
            VisitorIpBlocked(_BLOCKED_NETWORK, self.agents[0].agent_id),
            source=CONSOLE,
        )
        refused = ChatRequested(
            f"{company.workspace_id}-s{self.seed}-refused",
            "web",
            PHRASES["ja"].questions[0],
            Visitor(f"{company.workspace_id}-blocked", ip=_BLOCKED_ADDRESS),
        )
        self.schedule(company, self.at_ms(13.0), refused, source=WIDGET)

    # ------------------------------------------------------------ visits

    def visit(self, number: int, at_ms: int, kind: str) -> Visit:
        """Cast one visitor: the company and desk, the question, and how everybody behaves."""
        company, cast = KINDS[kind].cast(self.chance)
        words = PHRASES[cast.desk.language]
        chat_id = f"{company.workspace_id}-s{self.seed}-c{number:05d}"
        in_default = cast.bot or cast.desk is company.desks[0]
        asked = ChatRequested(
            chat_id,
            CHANNELS[0] if self.rng.random() < 0.7 else self.rng.choice(CHANNELS),
            self.rng.choice(words.questions),
            self._visitor(company, words, chat_id, known=kind == "spam" or self.rng.random() < 0.6),
            department_id=None
            if in_default and self.rng.random() < 0.5
            else (company.desks[0].department_id if cast.bot else cast.desk.department_id),
            bot_id=_BOT if cast.bot else None,
        )
        request = Scheduled(at_ms, company.workspace_id, f"{chat_id}-requested", WIDGET, asked)
        return Visit(request, faster(self._with_habits(cast.conduct, words, asked), self.pace))

    def _visitor(self, company: Company, words: Phrases, chat_id: str, *, known: bool) -> Visitor:
        rng = self.rng
        family, given = rng.choice(words.family_names), rng.choice(words.given_names)
        person = f"v{rng.randrange(_RETURNING_VISITORS)}" if rng.random() < 0.4 else chat_id
        return Visitor(
            visitor_id=f"{company.workspace_id}-{person}",
            name=words.name(family, given) if rng.random() < 0.8 else None,
            email=f"{person}@visitor.{company.workspace_id}.example.net" if known else None,
            phone=f"+81 3-5550-{rng.randrange(10_000):04d}" if rng.random() < 0.2 else None,
            ip=f"2001:db8:{rng.randrange(65_536):x}::{rng.randrange(1, 65_536):x}",
            location=rng.choice(words.locations),
            browser=rng.choice(("Firefox 145", "Chrome 142", "Safari 26")),
            os=rng.choice(("Windows 11", "macOS 26", "Android 16", "iOS 26")),
            widget="main",
            score=rng.randrange(100) / 100,
            lead_likelihood=rng.choice(("low", "medium", "high")),
        )

    def _with_habits(self, conduct: Conduct, words: Phrases, asked: ChatRequested) -> Conduct:
        """Add what may happen in any conversation: a trigger, an e-mail given later, feedback."""
        rng = self.rng
        trigger = words.welcome if rng.random() < 0.25 else None
        email = EmailGiven(f"{asked.chat_id}@late.example.net", self.chance.between_ms(10, 25))
        given = email if asked.visitor.email is None and rng.random() < 0.15 else None
        rating = Feedback(
            rng.randint(1, 5),
            self.chance.between_ms(3, 15),
            rng.choice(words.comments) if rng.random() < 0.7 else None,
        )
        feedback = rating if rng.random() < 0.2 else None
        return replace(
            conduct,
            ends_after_ms=conduct.ends_after_ms or self.chance.between_ms(3, 10),
            gone_after_ms=conduct.gone_after_ms or 900 * _SECOND_MS,
            trigger=trigger,
            feedback=feedback,
            email_given=given,
        )


def make(*, chats: int, seed: int, curve: list[Bin], day_ms: int = DAY_MS, pace: float = 1.0) -> Scenario:
    """Return the scenario of a day with exactly so many chats.

    The day lasts `day_ms`; people, and the departments' time-outs, are `pace` times quicker than people are.
    """
    day = _Day(seed=seed, day_ms=day_ms, pace=pace)
    arrivals_ms = arrival_times(curve, count=chats, day_ms=day_ms, rng=day.rng)
    for company in COMPANIES:
        day.open_company(company, arrivals_ms=arrivals_ms)
    day.block_somebody()
    kinds = list(KINDS)[:chats]
    weights = [kind.per_mille for kind in KINDS.values()]
    kinds += day.rng.choices(list(KINDS), weights=weights, k=chats - len(kinds))
    day.rng.shuffle(kinds)
    # Nobody can be asked before the settings of the first moment are there.
    visits = [
        day.visit(number, max(at_ms, 1), kind)
        for number, (at_ms, kind) in enumerate(zip(arrivals_ms, kinds, strict=True), start=1)
    ]
    return Scenario(
        Head(seed, chats, day_ms, STARTS_AT_MS),
        tuple(day.agents),
        tuple(sorted(day.events, key=lambda event: event.at_ms)),
        tuple(_poison(day)),
        tuple(_repeat_one(visits, day)),
    )


def _poison(day: _Day) -> Iterator[Poisoned]:
    """Give a message of a known type whose text is missing: no reader can take it."""
    value = (
        '{"specversion":"1.0","id":"poison-s%d","source":"/frontends/web","type":"chat.message.v1",'
        '"time":"2026-11-21T12:00:00.000Z","workspaceid":"northwind","data":{"chat_id":"no-such-chat"}}'
    )
    yield Poisoned(day.at_ms(12.0), "northwind", value % day.seed)


def _repeat_one(visits: list[Visit], day: _Day) -> Iterator[Visit]:
    """Give the visits; the one in the middle of the day is asked for twice by its publisher."""
    repeated = len(visits) // 2
    for number, visit in enumerate(visits):
        if number == repeated:
            again_ms = int(day.chance.between_ms(1, 3) / day.pace)
            yield replace(visit, conduct=replace(visit.conduct, request_repeated_after_ms=again_ms))
        else:
            yield visit
