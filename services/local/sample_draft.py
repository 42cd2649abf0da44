"""The sample day while it is written: its one generator, its clock, and what is scheduled so far.

One rule: everything is drawn from the day's generator, in one fixed order. People's times are drawn unhurried; whoever
schedules divides them by the pace.
"""

from random import Random

from schemas.events import Event
from services.local.arrivals import DAY_MS
from services.local.phrases import Phrases
from services.local.sample_company import COMPANIES, Company, Desk
from services.local.scenario import Agent, Say, Scheduled

_SECOND_MS, _HOUR_MS = 1000, 3600 * 1000


class Chance:
    """Draws what is left to chance."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def between_ms(self, first_s: float, last_s: float) -> int:
        """Draw a time between two, in ms."""
        return int(self.rng.uniform(first_s, last_s) * _SECOND_MS)

    def desk(
        self,
        *,
        quiet: bool = False,
        modes: tuple[str, ...] = ("offer", "ring_all", "auto"),
        crm: bool = False,
    ) -> tuple[Company, Desk]:
        """Draw a desk visitors come to by its share; quiet desks evenly. `crm`: of a company that has one."""
        fitting = [
            (company, desk)
            for company in COMPANIES
            for desk in company.desks
            if desk.quiet == quiet
            and desk.visibility == "public"
            and desk.routing.mode in modes
            and (company.crm is not None or not crm)
        ]
        return self.rng.choices(fitting, weights=[desk.share or 1.0 for _, desk in fitting])[0]

    def dialogue(self, words: Phrases, *, rounds_min: int = 1) -> tuple[Say, ...]:
        """Draw a conversation: the agent speaks first and last."""
        lines = []
        for _ in range(self.rng.randint(rounds_min, 3)):
            lines.append(Say("agent", self.rng.choice(words.agent_lines), self.between_ms(4, 18)))
            lines.append(Say("visitor", self.rng.choice(words.visitor_lines), self.between_ms(4, 14)))
        lines.append(Say("agent", words.agent_lines[-2], self.between_ms(4, 12)))
        return tuple(lines)

    def bot_dialogue(self, words: Phrases) -> tuple[Say, ...]:
        """Draw what bot and visitor say before anybody else comes."""
        return (
            Say("bot", words.bot_lines[0], self.between_ms(0.5, 2)),
            Say("visitor", self.rng.choice(words.visitor_lines), self.between_ms(3, 10)),
            Say("bot", words.bot_lines[1], self.between_ms(0.5, 2)),
        )


class Draft:
    """One day in the making."""

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

    def schedule(self, company: Company, at_ms: int, data: Event, *, source: str) -> None:
        """Have an event published at its time."""
        event_id = f"{company.workspace_id}-s{self.seed}-{len(self.events)}"
        self.events.append(Scheduled(at_ms, company.workspace_id, event_id, source, data))
