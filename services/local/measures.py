"""What a contact centre measures of a day: who waited how long, what became of the chats, and who got how many.

One rule: pure. Everything is read off the inputs and the decisions in the order they happened, so a log, a rehearsal and
the topics of a service give the same figures. What each figure means stands at `Figures`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import pstdev
from typing import Any, Literal

from schemas import decisions as d
from schemas import events as e
from schemas.envelope import Envelope
from schemas.types import OfferKind
from services.router.core.offline import Happening
from services.router.core.partition import Emitted, Entry
from services.router.core.seen import Seen

Ended = Literal["answered", "abandoned", "given_up", "waiting"]


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait for a first agent; where it had not ended with the day, `lasted_ms` is how long it was by then."""

    began_ms: int
    lasted_ms: int
    ended: Ended


@dataclass(frozen=True, slots=True)
class Figures:
    """A day in numbers. Rates and times are None where there is nothing to take them of."""

    requested: int
    """Chats asked for, each request once however often it was sent."""
    bot_transfers: int
    """Times a bot asked for an agent."""
    visitors_gone: int
    """Times a visitor left, or ended the chat."""
    accepts: int
    declines: int
    agents_online: int
    """Agents who were online at some time."""
    refused: int
    """Requests refused: a blocked address, a channel that is off, a chat id in use."""
    reopened: int
    """Revisions after a chat's first: a missed chat lives again. Each has its own wait and its own outcome."""
    handled: int
    handled_by_bot: int
    missed: int
    missed_by_reason: dict[str, int]
    unfinished: int
    """Revisions without an outcome when the day ends."""
    waited: int
    """Waits for an agent: each from the request (or its bot's transfer, or its reopening) until a first agent has the chat."""
    answered: int
    abandoned: int
    """The visitor left, or ended the chat, before."""
    given_up: int
    """The chat was missed before, without the visitor's doing: turned away, out of time, or ended by others."""
    still_waiting: int
    wait_mean_s: float | None
    """Of those answered, as are all that follow; percentiles by nearest rank."""
    wait_p90_s: float | None
    wait_p99_s: float | None
    wait_max_s: float | None
    service_level_answerable: float | None
    """Answered within the target / (answered + abandoned after the target)."""
    service_level_offered: float | None
    """Answered within the target / all waits."""
    abandonment: float | None
    """Abandoned / all waits."""
    offers: int
    """Offers made; a ring-all is one, however many agents it asks."""
    rung: int
    """Agents asked, over all offers."""
    rang_out: int
    """Offers whose time ran out."""
    answers_in_vain: int
    """Accepts and declines refused because no such offer was open to the agent."""
    marked_away: int
    handed_back: int
    """Times a chat was taken from its agent without a transfer: no first reply, agent offline or removed."""
    load_max: int | None
    """The load of an agent: chats assigned to them. Over all agents who were online."""
    load_mean: float | None
    load_variation: float | None
    """Coefficient of variation: standard deviation / mean."""
    load_by_agent: dict[str, int]
    """By workspace/agent, in alphabetical order."""


@dataclass(slots=True)
class _Chat:
    """A chat in its present revision."""

    began_ms: int | None = None
    """When its wait for a first agent began, while that lasts."""
    queued: bool = False
    missed: bool = False
    visitor_left: bool = False
    """Its bot's transfer failed because the visitor left."""
    offer_ids: dict[OfferKind, str] = field(default_factory=dict)


class Day:
    """All that was observed of a day; `observe` makes one."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.department_ids: set[str] = set()
        self.began_ms: int | None = None
        self.ended_ms = 0
        self._did: Counter[type[Any]] = Counter()
        self._counts: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._loads: dict[str, int] = {}
        self._queue_changes: Counter[int] = Counter()
        self._chats: dict[tuple[str, str], _Chat] = {}
        self._bots_alone: set[tuple[str, str]] = set()
        """Chats that are their bots': no agent was asked for, and none has had them. Reopened, they wait for nobody."""
        self._seen: dict[int, Seen] = {}
        self._latest: Entry | None = None
        """An input that may still be refused: a refusal is the first thing that follows from it."""

    def add(self, happening: Happening) -> None:
        """Takes the next input or decision."""
        self.began_ms = happening.at_ms if self.began_ms is None else self.began_ms
        self.ended_ms = max(self.ended_ms, happening.at_ms)
        if isinstance(happening, Entry):
            self._settle()
            self._enter(happening)
        else:
            if isinstance(happening.data, d.RequestRefused):
                self._refused(happening.workspace_id, happening.data)
            self._settle()
            self._decided(happening)

    def end(self) -> None:
        """Takes note of what still waits: nothing follows any more."""
        self._settle()
        for chat in self._chats.values():
            self._stop_waiting(chat, "waiting", self.ended_ms)

    def queue(self) -> Iterator[tuple[int, int]]:
        """Give each moment the queue's length changed, and the length from then on."""
        moments = [(at_ms, change) for at_ms, change in sorted(self._queue_changes.items()) if change]
        lengths = accumulate(change for _, change in moments)
        return zip((at_ms for at_ms, _ in moments), lengths, strict=True)

    def figures(self, *, target_s: float) -> Figures:
        """Return the day in numbers; `target_s` is the service levels' time to answer."""
        counts, did = self._counts, self._did
        ended = Counter(wait.ended for wait in self.waits)
        answered = sorted(wait.lasted_ms for wait in self.waits if wait.ended == "answered")
        within = sum(1 for lasted_ms in answered if lasted_ms <= target_s * 1000)
        abandoned_late = sum(
            1 for wait in self.waits if wait.ended == "abandoned" and wait.lasted_ms > target_s * 1000
        )
        missed = self._missed.total()
        loads = dict(sorted(self._loads.items()))
        return Figures(
            requested=did[e.ChatRequested],
            bot_transfers=did[e.BotTransferRequested],
            visitors_gone=did[e.VisitorLeft],
            accepts=did[e.OfferAccepted],
            declines=did[e.OfferDeclined],
            agents_online=counts["online"],
            refused=counts["refused"],
            reopened=counts["reopened"],
            handled=counts["handled"],
            handled_by_bot=counts["handled_by_bot"],
            missed=missed,
            missed_by_reason=dict(sorted(self._missed.items())),
            unfinished=counts["revisions"] - counts["handled"] - counts["handled_by_bot"] - missed,
            waited=len(self.waits),
            answered=ended["answered"],
            abandoned=ended["abandoned"],
            given_up=ended["given_up"],
            still_waiting=ended["waiting"],
            wait_mean_s=_rounded(sum(answered), len(answered) * 1000),
            wait_p90_s=percentile_s(answered, 90),
            wait_p99_s=percentile_s(answered, 99),
            wait_max_s=percentile_s(answered, 100),
            service_level_answerable=_rounded(within, len(answered) + abandoned_late),
            service_level_offered=_rounded(within, len(self.waits)),
            abandonment=_rounded(ended["abandoned"], len(self.waits)),
            offers=counts["offers"],
            rung=counts["rung"],
            rang_out=counts["rang_out"],
            answers_in_vain=counts["in_vain"],
            marked_away=counts["marked_away"],
            handed_back=counts["handed_back"],
            load_max=max(loads.values(), default=None),
            load_mean=_rounded(sum(loads.values()), len(loads)),
            load_variation=_rounded(pstdev(loads.values()) * len(loads), sum(loads.values()))
            if loads
            else None,
            load_by_agent=loads,
        )

    # ------------------------------------------------------------ inputs

    def _enter(self, entry: Entry) -> None:
        """Count what people did; what the service makes of it is known once it has not been refused."""
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            return
        seen = self._seen.setdefault(entry.partition, Seen())
        if not seen.note(envelope.workspaceid, envelope.source, envelope.id, at_ms=entry.at_ms):
            return
        self._latest = entry
        match envelope.data:
            case e.ChatEndRequested(by=e.By(kind="visitor")):
                self._did[e.VisitorLeft] += 1
            case e.DepartmentConfigured():
                self.department_ids.add(envelope.data.department_id)
            case data:
                self._did[type(data)] += 1

    def _settle(self) -> None:
        """The latest input was not refused."""
        entry, self._latest = self._latest, None
        if entry is None or not isinstance(entry.envelope, Envelope):
            return
        workspace_id = entry.envelope.workspaceid
        match data := entry.envelope.data:
            case e.ChatRequested():
                chat = self._begin_revision(workspace_id, data.chat_id)
                if data.bot_id is None:
                    self._start_waiting(chat, entry.at_ms)
                else:
                    self._bots_alone.add((workspace_id, data.chat_id))
            case e.BotTransferRequested():
                self._bots_alone.discard((workspace_id, data.chat_id))
                chat = self._chats[workspace_id, data.chat_id]
                # One that was missed already is closed and reopened instead.
                if not chat.missed:
                    self._start_waiting(chat, entry.at_ms)
            case e.AgentPresence(status="online"):
                agent = f"{workspace_id}/{data.agent_id}"
                self._counts["online"] += agent not in self._loads
                self._loads.setdefault(agent, 0)
            case _:
                pass

    def _refused(self, workspace_id: str, refusal: d.RequestRefused) -> None:
        self._counts["refused"] += refusal.request_type == e.ChatRequested.TYPE
        self._counts["in_vain"] += refusal.code == "offer_not_open"
        latest = self._latest
        if latest is not None and isinstance(latest.envelope, Envelope):
            about = (latest.envelope.workspaceid, latest.envelope.id)
            if about == (workspace_id, refusal.request_id):
                self._latest = None

    # ------------------------------------------------------------ decisions

    def _decided(self, emitted: Emitted) -> None:
        workspace_id, at_ms = emitted.workspace_id, emitted.at_ms
        match data := emitted.data:
            case d.ChatOffered():
                chat = self._chats[workspace_id, data.chat_id]
                self._counts["offers"] += chat.offer_ids.get(data.kind) != data.offer_id
                self._counts["rung"] += len(data.agent_ids)
                chat.offer_ids[data.kind] = data.offer_id
            case d.OfferWithdrawn(reason="timed_out"):
                self._counts["rang_out"] += 1
            case d.ChatAssigned():
                chat = self._chats[workspace_id, data.chat_id]
                self._bots_alone.discard((workspace_id, data.chat_id))
                if data.by == "manual":
                    chat.began_ms = None  # it was given by hand from the missed inbox: nobody waited
                self._stop_waiting(chat, "answered", at_ms)
                self._leave_queue(chat, at_ms)
                agent = f"{workspace_id}/{data.agent_id}"
                self._loads[agent] = self._loads.get(agent, 0) + 1
            case d.ChatUnassigned() if data.reason != "transferred":
                self._counts["handed_back"] += 1
                self._join_queue(self._chats[workspace_id, data.chat_id], at_ms)
            case d.BotTransferFailed():
                self._chats[workspace_id, data.chat_id].visitor_left = data.reason == "visitor_left"
            case d.ChatMissed():
                chat = self._chats[workspace_id, data.chat_id]
                self._missed[f"{data.reason}, {data.detail}" if data.detail else data.reason] += 1
                chat.missed = True
                left = chat.visitor_left or data.reason == "visitor_left"
                self._stop_waiting(chat, "abandoned" if left else "given_up", at_ms)
                self._leave_queue(chat, at_ms)
            case d.ChatReopened():
                self._counts["reopened"] += 1
                chat = self._begin_revision(workspace_id, data.chat_id)
                if (workspace_id, data.chat_id) not in self._bots_alone:
                    self._start_waiting(chat, at_ms)
            case d.ChatClosed():
                self._counts[data.outcome] += 1
                if data.outcome != "missed":
                    self._bots_alone.discard((workspace_id, data.chat_id))
                self._leave_queue(self._chats.pop((workspace_id, data.chat_id)), at_ms)
            case d.AgentMarkedAway():
                self._counts["marked_away"] += 1
            case _:
                pass

    def _begin_revision(self, workspace_id: str, chat_id: str) -> _Chat:
        self._counts["revisions"] += 1
        chat = self._chats[workspace_id, chat_id] = _Chat()
        return chat

    # ------------------------------------------------------------ waiting

    def _start_waiting(self, chat: _Chat, at_ms: int) -> None:
        chat.began_ms = at_ms
        self._join_queue(chat, at_ms)

    def _stop_waiting(self, chat: _Chat, ended: Ended, at_ms: int) -> None:
        if chat.began_ms is not None:
            self.waits.append(Wait(chat.began_ms, at_ms - chat.began_ms, ended))
            chat.began_ms = None

    def _join_queue(self, chat: _Chat, at_ms: int) -> None:
        if not chat.queued:
            chat.queued = True
            self._queue_changes[at_ms] += 1

    def _leave_queue(self, chat: _Chat, at_ms: int) -> None:
        if chat.queued:
            chat.queued = False
            self._queue_changes[at_ms] -= 1


def observe(happenings: Iterable[Happening]) -> Day:
    """Return what was observed of a day, to its end."""
    day = Day()
    for happening in happenings:
        day.add(happening)
    day.end()
    return day


def percentile_s(ordered_ms: list[int], percent: int) -> float | None:
    """Return a percentile of times in ascending order, by nearest rank: the least that so many per cent do not exceed."""
    if not ordered_ms:
        return None
    return ordered_ms[-(-len(ordered_ms) * percent // 100) - 1] / 1000


def _rounded(part: float, whole: float) -> float | None:
    """Return a quotient to six decimals, the same on every machine; None of nothing."""
    return round(part / whole, 6) if whole else None
