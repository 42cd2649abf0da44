"""The kinds of visits of the sample day: where each goes, and how everybody behaves in it. One rule: people's times, unhurried."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from services.local.phrases import PHRASES, Phrases
from services.local.sample_company import COMPANIES, Company, Desk
from services.local.scenario import BotTransfer, Conduct, Say

_SECOND_MS = 1000


@dataclass(frozen=True, slots=True)
class Cast:
    """Where a visit of some kind goes, and how people behave in it."""

    desk: Desk
    conduct: Conduct
    bot: bool = False


class Chance:
    """Draws what is left to chance, from the day's one generator."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def between_ms(self, first_s: float, last_s: float) -> int:
        """Draw a time between two, in ms."""
        return int(self.rng.uniform(first_s, last_s) * _SECOND_MS)

    def desk(
        self, *, quiet: bool = False, modes: tuple[str, ...] = ("offer", "ring_all", "auto")
    ) -> tuple[Company, Desk]:
        """Draw a desk by its share; quiet desks evenly."""
        fitting = [
            (company, desk)
            for company in COMPANIES
            for desk in company.desks
            if desk.quiet == quiet and desk.routing.mode in modes
        ]
        return self.rng.choices(fitting, weights=[desk.share or 1.0 for _, desk in fitting])[0]

    def dialogue(self, words: Phrases) -> tuple[Say, ...]:
        """Draw a conversation: the agent speaks first and last."""
        lines = []
        for _ in range(self.rng.randint(1, 3)):
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


def _talk(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    draw = chance.rng.random()
    ends = "agent" if draw < 0.6 else "visitor" if draw < 0.85 else "leaves"
    return company, Cast(desk, Conduct(chance.dialogue(PHRASES[desk.language]), ends=ends))  # type: ignore[arg-type]


def _spam(chance: Chance) -> tuple[Company, Cast]:
    """Cast a visitor whose address the agent blocks, where somebody is mailed about it."""
    company = chance.rng.choice(
        [company for company in COMPANIES if company.desks[0].email.ip_blocked.enabled]
    )
    desk = company.desks[0]
    return company, Cast(desk, Conduct(chance.dialogue(PHRASES[desk.language]), ends="agent", blocks_ip=True))


def _abandon(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk(quiet=chance.rng.random() < 0.5, modes=("ring_all", "offer"))
    return company, Cast(desk, Conduct(agents_do="ring", leaves_after_ms=chance.between_ms(25, 60)))


def _ignored(chance: Chance) -> tuple[Company, Cast]:
    quiet = chance.rng.random() < 0.5
    company, desk = chance.desk(quiet=quiet, modes=("offer",) if quiet else ("ring_all",))
    return company, Cast(desk, Conduct(agents_do="ring"))


def _silent_agent(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    gone_after_ms = chance.between_ms(60, 100) if chance.rng.random() < 0.6 else chance.between_ms(300, 400)
    return company, Cast(desk, Conduct(agents_do="accept", agent_writes=False, gone_after_ms=gone_after_ms))


def _bot_only(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    ends = "leaves" if chance.rng.random() < 0.5 else "bot"
    conduct = Conduct(bot_says=chance.bot_dialogue(PHRASES[desk.language]), ends=ends)  # type: ignore[arg-type]
    return company, Cast(desk, conduct, bot=True)


def _bot_talk(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    words = PHRASES[desk.language]
    transfer = BotTransfer(chance.between_ms(1, 4), desk.department_id)
    conduct = Conduct(
        chance.dialogue(words), ends="agent", bot_says=chance.bot_dialogue(words), bot_transfer=transfer
    )
    return company, Cast(desk, conduct, bot=True)


def _silent_bot(chance: Chance) -> tuple[Company, Cast]:
    """Cast a bot that says nothing and hands over: an ordinary request."""
    company, desk = chance.desk()
    transfer = BotTransfer(chance.between_ms(1, 4), desk.department_id)
    conduct = Conduct(chance.dialogue(PHRASES[desk.language]), ends="visitor", bot_transfer=transfer)
    return company, Cast(desk, conduct, bot=True)


def _bot_refused(do: str) -> Callable[[Chance], tuple[Company, Cast]]:
    """Return a cast for a transfer nobody takes: every agent does `do`; for "leaves", the visitor leaves while it rings."""

    def cast(chance: Chance) -> tuple[Company, Cast]:
        company, desk = chance.desk(quiet=True)
        conduct = Conduct(
            bot_says=chance.bot_dialogue(PHRASES[desk.language]),
            bot_transfer=BotTransfer(chance.between_ms(1, 4), desk.department_id),
            agents_do="decline" if do == "decline" else "ring",
            leaves_after_ms=chance.between_ms(30, 60) if do == "leaves" else None,
            ends_after_ms=chance.between_ms(5, 30),
        )
        return company, Cast(desk, conduct, bot=True)

    return cast


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of visit and how often it occurs among a thousand."""

    per_mille: float
    cast: Callable[[Chance], tuple[Company, Cast]]


KINDS: dict[str, Kind] = {
    "talk": Kind(760, _talk),
    "spam": Kind(3, _spam),
    "abandon": Kind(40, _abandon),
    "ignored": Kind(30, _ignored),
    "silent_agent": Kind(20, _silent_agent),
    "bot_only": Kind(60, _bot_only),
    "bot_talk": Kind(40, _bot_talk),
    "silent_bot": Kind(10, _silent_bot),
    "bot_declined": Kind(15, _bot_refused("decline")),
    "bot_ignored": Kind(12, _bot_refused("ring")),
    "bot_left": Kind(10, _bot_refused("leaves")),
}
