"""The kinds of visits of the sample day: where each goes, and how everybody behaves in it. One rule: people's times, unhurried."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from services.local.phrases import PHRASES, Phrases
from services.local.sample_company import COMPANIES, Company, Desk
from services.local.sample_draft import Chance
from services.local.sample_staff import WATCHED_ADDRESS
from services.local.scenario import (
    BotTransfer,
    Conduct,
    CrmDo,
    Do,
    EmailGiven,
    Farewell,
    Filing,
    Handover,
    Inbox,
    InboxDo,
    Invitation,
    Watching,
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Where a visit of some kind goes, and how people behave in it. `skilled`: the visitor may ask for a skill."""

    desk: Desk
    conduct: Conduct
    bot: bool = False
    skilled: bool = False
    known: bool = False
    """Whether the visitor's e-mail is known for certain."""
    email: str | None = None
    ip: str | None = None


Casting = Callable[[Chance], tuple[Company, Cast]]


def _talk(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    draw = chance.rng.random()
    ends = "agent" if draw < 0.6 else "visitor" if draw < 0.85 else "leaves"
    conduct = Conduct(chance.dialogue(PHRASES[desk.language]), ends=ends)  # type: ignore[arg-type]
    return company, Cast(desk, conduct, skilled=True)


def _spam(chance: Chance) -> tuple[Company, Cast]:
    """Cast a visitor whose address the agent blocks, where somebody is mailed about it."""
    company = chance.rng.choice(
        [company for company in COMPANIES if company.desks[0].email.ip_blocked.enabled]
    )
    desk = company.desks[0]
    conduct = Conduct(chance.dialogue(PHRASES[desk.language]), ends="agent", blocks_ip=True)
    return company, Cast(desk, conduct, known=True)


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


def _bot_refused(do: str) -> Casting:
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


# ---------------------------------------------------------------- several agents in one chat


def _handed_over(to: Literal["colleague", "department"], do: Do) -> Casting:
    """Return a cast for a chat its owner passes on, to a desk that visitors don't choose by themselves or to a colleague; whoever is asked does `do`."""

    def cast(chance: Chance) -> tuple[Company, Cast]:
        company, desk = chance.desk()
        words = PHRASES[desk.language]
        specialists = next(other for other in company.desks if not other.share)
        handover = Handover(
            after_lines=2,
            after_ms=chance.between_ms(2, 6),
            message=words.handover,
            agents_do=do,
            to_department_id=specialists.department_id if to == "department" else None,
        )
        return company, Cast(desk, Conduct(chance.dialogue(words), ends="agent", handover=handover))

    return cast


def _invited(chance: Chance) -> tuple[Company, Cast]:
    company, desk = chance.desk()
    words = PHRASES[desk.language]
    invitation = Invitation(
        after_ms=chance.between_ms(3, 8),
        message=words.invitation,
        says=words.colleague,
        says_after_ms=chance.between_ms(3, 6),
        stays_ms=chance.between_ms(7, 20),
    )
    conduct = Conduct(chance.dialogue(words, rounds_min=2), ends="agent", invitation=invitation)
    return company, Cast(desk, conduct)


def _watched(chance: Chance) -> tuple[Company, Cast]:
    """Cast a visitor the chief's monitors look for: by their address, or by an e-mail they may give only later."""
    company, desk = chance.desk()
    words = PHRASES[desk.language]
    conduct = Conduct(
        chance.dialogue(words, rounds_min=2), ends="agent", watching=watching(chance, words, soon=True)
    )
    draw = chance.rng.random()
    if draw < 0.3:
        return company, Cast(desk, conduct, ip=WATCHED_ADDRESS)
    if draw < 0.7:
        return company, Cast(desk, conduct, email=company.watched_email)
    given = EmailGiven(company.watched_email, chance.between_ms(8, 16))
    return company, Cast(desk, replace(conduct, email_given=given))


def watching(chance: Chance, words: Phrases, *, soon: bool = False) -> Watching:
    """Draw what a watcher of a chat would do."""
    return Watching(
        joins_after_ms=chance.between_ms(1, 3) if soon else chance.between_ms(3, 12),
        whispers=chance.rng.choice(words.whispers),
        whispers_after_ms=chance.between_ms(2, 4),
        stays_ms=chance.between_ms(5, 15),
    )


def _lingering(chance: Chance) -> tuple[Company, Cast]:
    """Cast a visitor who has one more thing to say while the chat is about to end."""
    company, desk = chance.desk()
    words = PHRASES[desk.language]
    farewell = Farewell(
        waits_ms=20 * 1000, visitor_says=words.one_more, says_after_ms=chance.between_ms(4, 10)
    )
    return company, Cast(desk, Conduct(chance.dialogue(words), ends="agent", farewell=farewell))


# ---------------------------------------------------------------- afterwards


def _forgotten(do: InboxDo) -> Casting:
    """Return a cast for a chat nobody takes, which a supervisor finds in the missed inbox."""

    def cast(chance: Chance) -> tuple[Company, Cast]:
        company, cast = _ignored(chance)
        words = PHRASES[cast.desk.language]
        inbox = Inbox(do, chance.between_ms(5, 30), cast.desk.supervisor_id, chance.rng.choice(words.replies))
        conduct = replace(cast.conduct, dialogue=chance.dialogue(words), ends="agent", inbox=inbox)
        return company, replace(cast, conduct=conduct, known=True)

    return cast


def _filed(crm: CrmDo, *, by: int | None = None) -> Casting:
    """Return a cast for a conversation after which the CRM is asked for something: by the desk's agent of this number, or the owner."""

    def cast(chance: Chance) -> tuple[Company, Cast]:
        company, desk = chance.desk(crm=True)
        words = PHRASES[desk.language]
        filing = Filing(
            after_ms=chance.between_ms(2, 10),
            crm=crm,
            crm_value=f"+81 3-5551-{chance.rng.randrange(10_000):04d}" if crm == "phone" else words.lead,
            crm_agent_id=desk.agent_id(by) if by else None,
        )
        conduct = Conduct(chance.dialogue(words), ends="agent", filing=filing)
        return company, Cast(desk, conduct, known=True)

    return cast


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of visit and how often it occurs among a thousand."""

    per_mille: float
    cast: Casting


KINDS: dict[str, Kind] = {
    "talk": Kind(653, _talk),
    "spam": Kind(3, _spam),
    "abandon": Kind(40, _abandon),
    "ignored": Kind(10, _ignored),
    "silent_agent": Kind(20, _silent_agent),
    "bot_only": Kind(60, _bot_only),
    "bot_talk": Kind(40, _bot_talk),
    "silent_bot": Kind(10, _silent_bot),
    "bot_declined": Kind(15, _bot_refused("decline")),
    "bot_ignored": Kind(12, _bot_refused("ring")),
    "bot_left": Kind(10, _bot_refused("leaves")),
    "to_colleague": Kind(13, _handed_over("colleague", "accept")),
    "to_colleague_declined": Kind(5, _handed_over("colleague", "decline")),
    "to_colleague_ignored": Kind(4, _handed_over("colleague", "ring")),
    "to_department": Kind(10, _handed_over("department", "accept")),
    "to_department_declined": Kind(3, _handed_over("department", "decline")),
    "invited": Kind(15, _invited),
    "watched": Kind(12, _watched),
    "lingering": Kind(12, _lingering),
    "assigned": Kind(10, _forgotten("assign")),
    "replied": Kind(8, _forgotten("reply")),
    "put_away": Kind(4, _forgotten("close")),
    "deleted": Kind(3, _forgotten("delete")),
    "lead": Kind(10, _filed("lead")),
    "crm_note": Kind(8, _filed("note")),
    "phone": Kind(6, _filed("phone", by=1)),
    "phone_refused": Kind(4, _filed("phone", by=2)),
}
