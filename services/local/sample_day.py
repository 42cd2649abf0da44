"""Makes the scenario of a sample day. One rule: everything is drawn from one seeded generator, in one fixed order.

People's times are written down unhurried and divided by `pace` at the end, departments' time-outs with them; the day's
length is a thing of its own. So a day of 30 s at pace 40 keeps the shape of the day and of each conversation.
"""

from collections.abc import Iterator
from dataclasses import replace

from schemas.events import ChatRequested, Visitor
from schemas.types import CHANNELS
from services.local.arrivals import DAY_MS, Bin, arrival_times
from services.local.crowd import WIDGET
from services.local.phrases import PHRASES, Phrases
from services.local.sample_company import COMPANIES, Company
from services.local.sample_draft import Draft
from services.local.sample_staff import BLOCK_LIFTED_H, BLOCKED_ADDRESS, Staff
from services.local.sample_visits import KINDS, Cast, watching
from services.local.scenario import (
    Conduct,
    EmailGiven,
    Feedback,
    Filing,
    Head,
    Inbox,
    InboxDo,
    Poisoned,
    Scenario,
    Scheduled,
    Visit,
    faster,
)

STARTS_AT_MS = 1_795_219_200_000
"""2026-11-21T00:00:00Z: the midnight where no clock runs."""
_SECOND_MS = 1000
_RETURNING_VISITORS_MAX = 60
_VISITS_OF_ONE = 25
"""In a small day fewer visitors come back, so that some do."""
_BOT = "guide-bot"
_INBOX_DOS: tuple[InboxDo, ...] = ("reply", "close", "delete")


class _Visits:
    """Writes the visits of a day."""

    def __init__(self, draft: Draft, *, chats: int) -> None:
        self._draft = draft
        self._returning = min(1 + chats // _VISITS_OF_ONE, _RETURNING_VISITORS_MAX)
        self._chance, self._rng = draft.chance, draft.rng
        self._released = False

    def visit(self, number: int, at_ms: int, kind: str) -> Visit:
        """Cast one visitor: the company and desk, the question, and how everybody behaves."""
        company, cast = KINDS[kind].cast(self._chance)
        rng = self._rng
        words = PHRASES[cast.desk.language]
        chat_id = f"{company.workspace_id}-s{self._draft.seed}-c{number:05d}"
        in_default = cast.bot or cast.desk is company.desks[0]
        asked = ChatRequested(
            chat_id,
            CHANNELS[0] if rng.random() < 0.7 else rng.choice(CHANNELS),
            rng.choice(words.questions),
            self._visitor(company, cast, chat_id, at_ms),
            department_id=None
            if in_default and rng.random() < 0.5
            else (company.desks[0].department_id if cast.bot else cast.desk.department_id),
            bot_id=_BOT if cast.bot else None,
            skills=(rng.choice(cast.desk.skills),)
            if cast.skilled and cast.desk.skills and rng.random() < 0.3
            else (),
        )
        request = Scheduled(at_ms, company.workspace_id, f"{chat_id}-requested", WIDGET, asked)
        conduct = self._with_habits(self._with_rarer_habits(cast, words), words, asked)
        return Visit(request, faster(conduct, self._draft.pace))

    def _visitor(self, company: Company, cast: Cast, chat_id: str, at_ms: int) -> Visitor:
        rng = self._rng
        words = PHRASES[cast.desk.language]
        family, given = rng.choice(words.family_names), rng.choice(words.given_names)
        person = f"v{rng.randrange(self._returning)}" if rng.random() < 0.4 else chat_id
        email = f"{person}@visitor.{company.workspace_id}.example.net"
        secret = cast.conduct.email_given is not None or (rng.random() < 0.4 and not cast.known)
        ip = f"2001:db8:{rng.randrange(65_536):x}::{rng.randrange(1, 65_536):x}"
        if company is COMPANIES[0] and not self._released and at_ms > self._draft.at_ms(BLOCK_LIFTED_H):
            self._released, ip = True, BLOCKED_ADDRESS
        return Visitor(
            visitor_id=f"{company.workspace_id}-{person}",
            name=words.name(family, given) if rng.random() < 0.8 else None,
            email=cast.email or (None if secret else email),
            phone=f"+81 3-5550-{rng.randrange(10_000):04d}" if rng.random() < 0.2 else None,
            ip=cast.ip or ip,
            location=rng.choice(words.locations),
            browser=rng.choice(("Firefox 145", "Chrome 142", "Safari 26")),
            os=rng.choice(("Windows 11", "macOS 26", "Android 16", "iOS 26")),
            widget="main",
            score=rng.randrange(100) / 100,
            lead_likelihood=rng.choice(("low", "medium", "high")),
            language=rng.choice((*company.languages, cast.desk.language)) if company.languages else None,
        )

    def _with_habits(self, conduct: Conduct, words: Phrases, asked: ChatRequested) -> Conduct:
        """Add what may happen in any conversation: a trigger, an e-mail given later, feedback."""
        rng = self._rng
        trigger = words.welcome if rng.random() < 0.25 else None
        email = EmailGiven(f"{asked.chat_id}@late.example.net", self._chance.between_ms(10, 25))
        given = email if asked.visitor.email is None and rng.random() < 0.15 else None
        rating = Feedback(
            rng.randint(1, 5),
            self._chance.between_ms(3, 15),
            rng.choice(words.comments) if rng.random() < 0.7 else None,
        )
        feedback = rating if rng.random() < 0.2 else None
        return replace(
            conduct,
            ends_after_ms=conduct.ends_after_ms or self._chance.between_ms(3, 10),
            gone_after_ms=conduct.gone_after_ms or 900 * _SECOND_MS,
            trigger=trigger,
            feedback=feedback,
            email_given=conduct.email_given or given,
        )

    def _with_rarer_habits(self, cast: Cast, words: Phrases) -> Conduct:
        """Add what follows where it comes to that: tags and a note, a look into a watched chat, work in the missed inbox."""
        rng, chance, conduct = self._rng, self._chance, cast.conduct
        tags = (rng.choice(words.tags),) if rng.random() < 0.7 else ()
        note = rng.choice(words.notes) if not tags or rng.random() < 0.4 else None
        filing = Filing(chance.between_ms(2, 10), tags, note) if rng.random() < 0.15 else None
        look = watching(chance, words) if rng.random() < 0.15 else None
        do = rng.choices(_INBOX_DOS, weights=(4, 4, 1))[0]
        inbox = Inbox(do, chance.between_ms(20, 90), cast.desk.supervisor_id, rng.choice(words.replies))
        return replace(
            conduct,
            filing=conduct.filing or filing,
            watching=conduct.watching or look,
            inbox=conduct.inbox or (inbox if rng.random() < 0.4 else None),
        )


def make(*, chats: int, seed: int, curve: list[Bin], day_ms: int = DAY_MS, pace: float = 1.0) -> Scenario:
    """Return the scenario of a day with exactly so many chats.

    The day lasts `day_ms`; people, and the departments' time-outs, are `pace` times quicker than people are.
    """
    day = Draft(seed=seed, day_ms=day_ms, pace=pace)
    arrivals_ms = arrival_times(curve, count=chats, day_ms=day_ms, rng=day.rng)
    staff = Staff(day, arrivals_ms)
    for company in COMPANIES:
        staff.open(company)
    staff.change_under_way()
    staff.block_somebody()
    writer = _Visits(day, chats=chats)
    kinds = list(KINDS)[:chats]
    weights = [kind.per_mille for kind in KINDS.values()]
    kinds += day.rng.choices(list(KINDS), weights=weights, k=chats - len(kinds))
    day.rng.shuffle(kinds)
    # Nobody can be asked before the settings of the first moment are there.
    visits = [
        writer.visit(number, max(at_ms, 1), kind)
        for number, (at_ms, kind) in enumerate(zip(arrivals_ms, kinds, strict=True), start=1)
    ]
    return Scenario(
        Head(seed, chats, day_ms, STARTS_AT_MS),
        tuple(day.agents),
        tuple(sorted(day.events, key=lambda event: event.at_ms)),
        tuple(_poison(day)),
        tuple(_repeat_one(visits, day)),
    )


def _poison(day: Draft) -> Iterator[Poisoned]:
    """Give a message of a known type whose text is missing: no reader can take it."""
    value = (
        '{"specversion":"1.0","id":"poison-s%d","source":"/frontends/web","type":"chat.message.v1",'
        '"time":"2026-11-21T12:00:00.000Z","workspaceid":"northwind","data":{"chat_id":"no-such-chat"}}'
    )
    yield Poisoned(day.at_ms(12.0), "northwind", value % day.seed)


def _repeat_one(visits: list[Visit], day: Draft) -> Iterator[Visit]:
    """Give the visits; the one in the middle of the day is asked for twice by its publisher."""
    repeated = len(visits) // 2
    for number, visit in enumerate(visits):
        if number == repeated:
            again_ms = int(day.chance.between_ms(1, 3) / day.pace)
            yield replace(visit, conduct=replace(visit.conduct, request_repeated_after_ms=again_ms))
        else:
            yield visit
