"""Random days of a small workspace, nonsense included, for the property tests.

The one rule: each happening has a seed of its own, so Hypothesis takes away every one that a failure does not need. (Drawn
choice by choice, long days overrun Hypothesis's buffer, and short ones hardly ring anybody.) What depends on the router's
answers, such as offer ids, is looked up when the day is played.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from hypothesis import strategies as st

from schemas import events as e
from schemas.types import CHANNELS, Channel, Status
from services.router.core.partition import Emitted
from services.router.core.state import Chat, Emission
from tests.router.scenes import OFFICE, Scene

AGENTS = ("ann", "bob", "cyd")
DEPARTMENTS = ("acme", OFFICE, "sales")
CHATS = tuple(f"c{number}" for number in range(14))
NEW = "new"
"""Stands for the next free chat id."""
BOT = "bot"


@dataclass(frozen=True, slots=True)
class Answer:
    """One of those who are being asked answers."""

    which: int
    accepts: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """One of those who own a chat writes."""

    which: int


@dataclass(frozen=True, slots=True)
class Share:
    """One of those who own a chat wants to hand it on, or asks somebody to join."""

    which: int
    request: e.ChatTransferRequested | e.ChatInviteRequested


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes; in a log with ticks, with so many of them."""

    seconds: float
    ticks: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """A publisher sends its last event again."""


Happening = e.Event | Answer | Reply | Share | Pass | Repeat

TIME_OUTS_S = (0.0, 1.0, 3.0, 5.0, 30.0, 60.0)
DAY_MAX = 120
COSTS: tuple[dict[Channel, int], ...] = ({}, {}, {"email": 2}, {"web": 2})
STATUSES: tuple[Status, ...] = ("online", "online", "online", "away", "offline")
EMAIL = e.EmailSettings(
    unattended=e.MailSwitch(True, "desk@acme.test"),
    feedback=e.MailSwitch(True, "desk@acme.test, , boss@acme.test"),
    ip_blocked=e.MailSwitch(True, "desk@acme.test"),
)
BRIEF_HOURS = e.Hours((e.Span("mon", "09:00", "09:01"),), ("2026-11-30",))


class Dice:
    """Draws happenings from a seed, about the people, departments and chats it is told of."""

    agents: tuple[str, ...] = AGENTS
    departments: tuple[str, ...] = DEPARTMENTS
    chats: Sequence[str] = CHATS

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.one = self.rng.choice

    def some(self, *names: str, most: int) -> tuple[str, ...]:
        return tuple(self.one(names) for _ in range(self.rng.randint(0, most)))

    def anybody(self) -> str:
        return self.one((*self.agents * 5, "ghost"))

    def time_out(self) -> float:
        return self.one(TIME_OUTS_S)

    def hours(self) -> e.Hours | None:
        return self.one((None, None, None, BRIEF_HOURS))

    def routing(self) -> e.Routing:
        one, time_out = self.one, self.time_out
        return e.Routing(
            mode=one(("offer", "offer", "ring_all", "auto")),
            strategy=one(("least_loaded", "round_robin", "longest_idle", "tiers")),
            tiers=tuple(
                e.Tier(self.some(*self.agents, most=2), time_out()) for _ in range(self.rng.randint(0, 3))
            ),
            offer_timeout_s=time_out(),
            wait_timeout_s=time_out(),
            first_reply_timeout_s=time_out(),
            decline_cooldown_s=time_out(),
            wrap_up_s=time_out(),
            idle_close_s=one((0.0, 10.0)),
            max_queue=one((0, 0, 0, 1, 3)),
            overflow_department_id=one((None, None, *self.departments)),
            channel_cost=one(COSTS),
            no_answer_limit=one((0, 0, 1, 2)),
            offline_grace_s=time_out(),
            offline_policy=one(("requeue", "keep")),
            priority_head_start_s=one(({}, {"vip": 10.0})),
            skills_relax_s=time_out(),
            after_hours=one(("miss", "queue")),
            sticky=one(("none", "none", "last_agent")),
            sticky_wait_s=time_out(),
        )

    def department(self) -> e.DepartmentConfigured:
        return e.DepartmentConfigured(
            department_id=self.one(self.departments),
            name="Name",
            visibility=self.one(("public", "public", "private")),
            enabled=self.one((True, True, True, False)),
            agent_ids=self.some(*self.agents, "ghost", most=4),
            routing=self.routing(),
            email=self.one((e.EmailSettings(), EMAIL)),
            hours=self.hours(),
        )

    def agent(self) -> e.AgentConfigured:
        return e.AgentConfigured(
            agent_id=self.one(self.agents),
            name="Name",
            role=self.one(("agent", "agent", "supervisor", "admin")),
            max_chats=self.one((1, 1, 2, 3, 0)),
            skills=self.one(({}, {"tax": 1.0}, {"tax": 0.0})),
            languages=self.one(((), ("ja",), ("ja", "ja"))),
            crm=self.one(("none", "user")),
        )

    def presence(self) -> e.AgentPresence:
        return e.AgentPresence(self.anybody(), self.one(STATUSES), self.one((True, False)))

    def request(self) -> e.ChatRequested:
        return e.ChatRequested(
            chat_id=self.one((NEW,) * 11 + (*self.chats[:1],)),
            channel=self.one(("web", "web", "email", "line")),
            question="How?",
            visitor=e.Visitor(
                visitor_id=self.one(("v", "w")),
                email=self.one((None, "", "v@example.test")),
                ip=self.one((None, "10.0.0.1", "not an address")),
                language=self.one((None, "ja")),
            ),
            department_id=self.one((OFFICE, OFFICE, OFFICE, "sales", "sales", "acme", None, "nowhere")),
            bot_id=self.one((None, None, BOT)),
            priority=self.one((None, "vip")),
            skills=self.one(((), (), (), ("tax",))),
        )

    def message(self) -> e.ChatMessage:
        sender = e.Sender(self.one(("visitor", "bot", "bot", "trigger", "system")))
        if self.rng.random() < 0.2:
            sender = e.Sender("agent", self.one((None, self.anybody())))
        return e.ChatMessage(
            self.one(self.chats), "m", sender, "Text.", self.one((False, False, False, True))
        )

    def end(self) -> e.ChatEndRequested:
        by = e.By(self.one(("visitor", "agent", "bot", "system")), self.one((None, self.anybody())))
        return e.ChatEndRequested(self.one(self.chats), by, self.one((0.0, 0.0, 3.0)))

    def transfer(self) -> e.BotTransferRequested:
        bot = self.one((BOT, BOT, BOT, "other"))
        return e.BotTransferRequested(self.one(self.chats), bot, self.one((None, None, *self.departments)))

    def share(self) -> Happening:
        """Owners hand on and invite; others join and leave; and all of them ask for what they may not have."""
        one, chat_id, agent_id = self.one, self.one(self.chats), self.anybody()
        hand_on = one(
            (
                e.ChatTransferRequested(chat_id, agent_id, to_agent_id=self.anybody()),
                e.ChatTransferRequested(
                    chat_id, agent_id, to_department_id=one((*self.departments, "nowhere"))
                ),
                e.ChatTransferRequested(chat_id, agent_id, to_department_id=one(self.departments)),
            )
        )
        invite = e.ChatInviteRequested(chat_id, agent_id, self.anybody(), "Text.")
        return one(
            (
                *(Share(self.rng.randint(0, 11), one((hand_on, hand_on, invite))) for _ in range(5)),
                one((hand_on, invite)),
                one((e.ChatJoinRequested, e.ParticipantLeaveRequested))(chat_id, agent_id),
            )
        )

    def kept(self) -> e.Event:
        """What agents do with a chat besides talking in it."""
        one, agent_id = self.one, self.anybody()
        chat_ids = (one(self.chats), *self.some(*self.chats, most=4))
        return one(
            (
                e.MissedAssignRequested(chat_ids, self.anybody(), agent_id),
                e.MissedAssignRequested(chat_ids, self.anybody(), agent_id),
                e.MissedCloseRequested(chat_ids[:2], agent_id),
                e.MissedDeleteRequested(chat_ids[:2], agent_id),
                e.MissedReplyRequested(chat_ids[0], agent_id, "Text."),
                e.ChatTagsChanged(
                    chat_ids, agent_id, self.some("a", " b ", " ", most=3), self.some("a", "b", most=1)
                ),
                e.ChatNoteAdded(chat_ids[0], "n", agent_id, "Text."),
                e.CrmLeadRequested(chat_ids[0], agent_id),
                e.CrmPhoneSet(chat_ids[0], agent_id, "123"),
            )
        )

    def watch(self) -> e.Event:
        """Somebody watches, or whispers; often those who may not."""
        one, agent_id = self.one, self.anybody()
        kind: Literal["agent", "ip", "visitor_email"] = one(("agent", "ip", "visitor_email", "visitor_email"))
        value = {"agent": one(self.agents), "ip": "10.0.0.1", "visitor_email": one(("V@example.test", ""))}[
            kind
        ]
        monitor_id = one(("m1", "m2", "m3", "m4"))
        return one(
            (
                e.MonitorConfigured(monitor_id, kind, value, agent_id, one((True, True, True, False))),
                e.MonitorConfigured(monitor_id, kind, value, agent_id),
                e.MonitorConfigured(monitor_id, kind, value, agent_id),
                e.MonitorDeleted(monitor_id, agent_id),
                e.ChatJoinRequested(one(self.chats), agent_id),
                e.ChatJoinRequested(one(self.chats), agent_id),
                e.ChatMessage(one(self.chats), "m", e.Sender("agent", agent_id), "Text.", internal=True),
            )
        )

    def rare(self) -> Happening:
        chat_id, agent_id = self.one(self.chats), self.anybody()
        return self.one(
            (
                e.WorkspaceConfigured("Acme", channels=self.one((("web",), CHANNELS, CHANNELS))),
                e.DepartmentDeleted(self.one((*self.departments, "nowhere"))),
                e.AgentDeleted(agent_id),
                e.AgentHeartbeat(agent_id),
                e.VisitorIpBlocked(self.one(("10.0.0.0/8", "10.0.0.1/32")), agent_id),
                e.VisitorIpUnblocked("10.0.0.0/8", agent_id),
                e.VisitorUpdated(chat_id, e.VisitorPatch(email="late@example.test")),
                e.VisitorReturned(chat_id),
                e.ChatFeedback(chat_id, self.rng.randint(1, 5), agent_id=self.one((None, agent_id))),
                e.ChatTransferRequested(chat_id, agent_id),
                e.ChatTransferRequested(chat_id, agent_id, agent_id, OFFICE),
                e.CrmConfigured("embedded"),
                self.one((e.OfferAccepted, e.OfferDeclined))("NO-SUCH-OFFER", chat_id, agent_id),
                Repeat(),
            )
        )

    def next(self) -> Happening:
        draws: tuple[tuple[int, Callable[[], Happening]], ...] = (
            (20, self.request),
            (15, lambda: Pass(self.one((0.0, 0.5, 1.0, 3.0, 3.0, 20.0, 70.0)), self.rng.randint(1, 4))),
            (10, self.message),
            (10, lambda: Reply(self.rng.randint(0, 11))),
            (20, lambda: Answer(self.rng.randint(0, 11), self.one((True, True, False)))),
            (6, lambda: e.VisitorLeft(self.one(self.chats))),
            (4, self.end),
            (8, self.transfer),
            (6, self.presence),
            (2, self.agent),
            (2, self.department),
            (12, self.share),
            (8, self.kept),
            (8, self.watch),
            (4, self.rare),
        )
        draw = self.rng.choices([draw for _, draw in draws], [weight for weight, _ in draws])[0]
        return draw()


def opening(dice: Dice) -> Iterator[Happening]:
    """Mostly a day opens with two departments whose agents are online."""
    if dice.rng.random() < 0.9:
        yield from (replace(dice.agent(), agent_id=agent_id) for agent_id in AGENTS)
        for department_id in DEPARTMENTS[1:]:
            drawn = replace(dice.department(), department_id=department_id, enabled=True, hours=None)
            yield replace(drawn, agent_ids=dice.some(*AGENTS, most=3) or AGENTS)
        yield from (e.AgentPresence(agent_id, "online") for agent_id in AGENTS)


def stream(seed: int) -> Iterator[Happening]:
    """An endless day."""
    dice = Dice(seed)
    yield from opening(dice)
    while True:
        yield dice.next()


def day_of(seed: int, seeds: list[int]) -> list[Happening]:
    """An opening, and one happening for each of the seeds."""
    return [*opening(Dice(seed)), *(Dice(each).next() for each in seeds)]


_seeds = st.integers(0, 2**32)
days: st.SearchStrategy[list[Happening]] = st.builds(
    day_of,
    _seeds,
    st.lists(_seeds, max_size=DAY_MAX // 3) | st.lists(_seeds, min_size=DAY_MAX // 2, max_size=DAY_MAX),
)


def play(scene: Scene, day: list[Happening]) -> Scene:
    """Lets a day happen."""
    for happening in day:
        happen(scene, happening)
    scene.wait(0)
    return scene


def happen(scene: Scene, happening: Happening) -> None:
    match happening:
        case Answer():
            asked = _asked(scene)
            if asked:
                chat_id, agent_id, offer_id = asked[happening.which % len(asked)]
                (scene.accept if happening.accepts else scene.decline)(agent_id, chat_id, offer_id=offer_id)
        case Reply():
            owned = _owned(scene)
            if owned:
                scene.write("agent", *owned[happening.which % len(owned)])
        case Share():
            owned = _owned(scene)
            if owned:
                chat_id, owner_id = owned[happening.which % len(owned)]
                scene.say(replace(happening.request, chat_id=chat_id, by_agent_id=owner_id))
        case e.ChatRequested(chat_id="new"):
            scene.say(replace(happening, chat_id=f"c{len(_chats(scene))}"))
        case Pass():
            if scene.ticks:
                for _ in range(happening.ticks):
                    scene.wait(happening.seconds / happening.ticks)
                    scene.tick()
            else:
                scene.at(scene.now_s + happening.seconds)
        case Repeat():
            if scene.entries:
                last = scene.entries[-1]
                scene.entries.append(replace(last, offset=len(scene.entries), at_ms=scene.now_ms))
                scene.emitted += scene.partition.apply(scene.entries[-1])
        case _:
            scene.say(happening)


def _chats(scene: Scene) -> list[Chat]:
    ws = scene.partition.workspaces.get(scene.workspace_id)
    return [] if ws is None else list(ws.chats.values())


def _owned(scene: Scene) -> list[tuple[str, str]]:
    """Every chat that somebody owns, with its owner."""
    return [(chat.id, chat.owner_id) for chat in _chats(scene) if chat.owner_id is not None]


def _asked(scene: Scene) -> list[tuple[str, str, str]]:
    """Everybody who is being asked, with the chat and the offer."""
    return [
        (chat.id, agent_id, offer.id)
        for chat in _chats(scene)
        for offer in chat.offers
        for agent_id in offer.agent_ids
    ]


def with_cause(emitted: Emitted) -> Any:
    """The decision or notice as a reader of its topic has it."""
    data: Emission = emitted.data
    return replace(data, cause=emitted.cause)
