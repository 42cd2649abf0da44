"""What a partition's chats amount to, for the metrics: counted from its decisions, never read by any.

    a step is decided   ─▶ `hear`      counts its decisions
    a batch is decided  ─▶ `look`      notes what it changed (`standing`)
    it is committed     ─▶ `settle`    hands the counts over
    now and then        ─▶ `gauges`    how the partition stands

The one rule: nothing is handed over before the commit, so what is not committed is not counted: a partition that fails is thrown away, its
figures with it. Times are those of records and decisions. All this costs every event: no decision is looked at twice, and what is known
of a chat or a department stands together, for one look-up each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.decisions import (
    BotTransferFailed,
    ChatAssigned,
    ChatClosed,
    ChatMissed,
    ChatOffered,
    ChatQueued,
    ChatReopened,
    ChatTransferred,
    OfferWithdrawn,
    RequestRefused,
    TransferFailed,
)
from schemas.events import ChatRequested, OfferAccepted
from services.router.core.names import Names, Where
from services.router.core.partition import Emitted, Entry, Partition, Step, decided
from services.router.core.standing import Gauge, Gauges, Labels, Standing
from services.router.core.state import Chat, Workspace

DESKS_KEPT_MAX = 1_000
"""Departments of a workspace, deleted ones included, whose labels are kept: more are looked up anew."""


class _Count:
    """A counter of a department, as far as it is not settled, and those of it that have one label more."""

    def __init__(self, name: str, labels: Labels, fresh: list["_Count"]) -> None:
        """`fresh`: where it enters itself while there is something to settle."""
        self.name = name
        self.labels = labels
        self.times = 0
        self._fresh = fresh
        self._parts: dict[str, _Count] = {}

    def of(self, label: str) -> "_Count":
        """The counter with one label more."""
        found = self._parts.get(label)
        if found is None:
            found = self._parts[label] = _Count(self.name, (*self.labels, label), self._fresh)
        return found

    def add(self, times: int) -> None:
        """Counts."""
        if self.times == 0:
            self._fresh.append(self)
        self.times += times


class _Desk:
    """What is counted of a department."""

    def __init__(self, department_id: str, where: Where, fresh: list[_Count]) -> None:
        self.id = department_id
        self.where = where
        self.arrived = _Count("chats_arrived", where, fresh)
        self.finished = _Count("chats_finished", where, fresh)
        self.missed = _Count("chats_missed", where, fresh)
        self.offers_made = _Count("offers_made", where, fresh)
        self.offers = _Count("offers", where, fresh)
        self.accepted = self.offers.of("accepted")
        self.first_waits = _Count("agent_waits", where, fresh)
        self.answered = self.first_waits.of("answered")
        self.transfers = _Count("transfers", where, fresh)
        self.bot_transfers_failed = _Count("bot_transfers_failed", where, fresh)
        self.answered_ms: list[int] = []
        """After how long chats were answered, as far as it is not settled."""


class _Wait:
    """A chat's stay in a queue. One is made for most chats; a dataclass takes four times as long to make."""

    def __init__(self, since_ms: int, desk: _Desk) -> None:
        self.since_ms = since_ms
        self.desk = desk
        self.estimated_s: float | None = None
        """What was announced last."""


class _Case:
    """A live chat, as far as it counts."""

    def __init__(self, chat: Chat, desk: _Desk) -> None:
        self.chat = chat
        self.desk = desk
        """Where it counted last, and most often counts next."""
        self.wait: _Wait | None = None
        self.over = False
        """Whether the first wait of this revision is over."""


@dataclass(slots=True)
class Waits:
    """The waits that ended in a batch."""

    answered_ms: list[tuple[Where, list[int]]]
    """Where chats were answered, and each after how long."""
    misjudged_s: list[float]
    """How far announced waits were from the real ones. A worker that takes a partition over does not know what was announced."""


@dataclass(slots=True)
class _Books:
    """What is known of one workspace's live chats."""

    ws: Workspace
    desks: dict[str, _Desk] = field(default_factory=dict)
    cases: dict[str, _Case] = field(default_factory=dict)
    waits: dict[str, _Wait] = field(default_factory=dict)
    """Both by chat."""


class Figures:
    """The figures of one partition. Whoever makes them settles them after each batch: until then its counts are kept."""

    def __init__(self, partition: Partition, names: Names, *, within_ms: int) -> None:
        """`within_ms`: the service level's threshold."""
        self._partition = partition
        self._names = names
        self._within_ms = within_ms
        self._standing = Standing(partition, names)
        self._books: dict[str, _Books] = {}
        self._fresh: list[_Count] = []
        """What was counted since the last batch was settled."""
        self._answered: list[_Desk] = []
        """Where chats were answered since then."""
        self._misjudged_s: list[float] = []
        self._expected = 0
        """Live chats by the books: those found, with those that arrived since, without those that finished."""
        self._waiting = self._at_ms = 0
        """How many chats wait, and up to when that was summed up."""
        self._area_ms = 0
        """The chats that wait, summed up over time: the L of Little's law is its slope."""
        self._left = self._waited_ms = 0
        """How many have left their queues, and how long they had been there."""
        self._area_settled_ms = self._left_settled = self._waited_settled_ms = 0

    def restored(self) -> None:
        """Takes in a state that was restored: what is there has not arrived, and has waited since it entered its queue."""
        at_ms = self._at_ms = self._partition.clock.last_ms
        live = self._standing.begin()
        self._expected = len(live)
        for ws, chat in live:
            books = self._of(ws)
            case = self._case(books, chat.id)
            case.over = chat.assigned_once or chat.missed_reason is not None
            if chat.phase == "waiting":
                self._enter(books, case, case.desk, at_ms)
                self._area_ms += at_ms - chat.entered_ms
        self._area_settled_ms = self._area_ms

    # ---------------------------------------------------------------- a record

    def apply(self, entry: Entry) -> list[Emitted]:
        """Has the partition decide a record, and counts it."""
        emitted: list[Emitted] = []
        for step in self._partition.steps(entry):
            said = decided(step)
            self.hear(step, said)
            emitted += said
        return emitted

    def hear(self, step: Step, emitted: list[Emitted]) -> None:
        """Counts a step and what was decided in it."""
        event: Any = step.event
        kind = type(event)
        if not emitted and kind is not _REQUESTED:
            return  # most steps lead to nothing; of these only requests count, since a bot takes one without a word
        books = self._of(step.ws)
        if kind is _REQUESTED:
            if step.ws.accepted is not None:
                self._arrived(books, step.ws.accepted)
        elif kind is _ACCEPTED and type(emitted[0].data) is not _REFUSED:
            self._desk_now(books, event.chat_id).accepted.add(1)
        for item in emitted:
            self._take(books, item.data, item.at_ms)

    def _take(self, books: _Books, data: Any, at_ms: int) -> None:
        """Counts one decision; those of the most chats come first."""
        kind = type(data)
        if kind is _OFFERED:
            self._offered(books, data, at_ms)
        elif kind is _CLOSED:
            self._closed(books, data, at_ms)
        elif kind is _WITHDRAWN:
            self._desk_now(books, data.chat_id).offers.of(data.reason).add(len(data.agent_ids))
        elif kind is _ASSIGNED:
            self._assigned(books, data, at_ms)
        elif kind is _QUEUED:
            self._queued(books, data, at_ms)
        elif kind is _MISSED:
            self._missed(books, data, at_ms)
        elif kind is _BOT_TRANSFER_FAILED:
            self._desk_now(books, data.chat_id).bot_transfers_failed.of(data.reason).add(1)
        elif kind is _TRANSFERRED:
            self._desk_now(books, data.chat_id).transfers.of("taken").add(1)
        elif kind is _TRANSFER_FAILED:
            self._desk_now(books, data.chat_id).transfers.of("failed").add(1)
        elif kind is _REOPENED:
            self._arrived(books, data.chat_id)

    # ---------------------------------------------------------------- what is known

    def _of(self, ws: Workspace) -> _Books:
        found = self._books.get(ws.id)
        if found is None:
            found = self._books[ws.id] = _Books(ws)
        return found

    def _case(self, books: _Books, chat_id: str) -> _Case:
        found = books.cases.get(chat_id)
        if found is None:
            chat = books.ws.chats[chat_id]
            found = books.cases[chat_id] = _Case(chat, self._desk(books, chat.department_id))
        return found

    def _desk(self, books: _Books, department_id: str) -> _Desk:
        found = books.desks.get(department_id)
        if found is None:
            where = self._names.where(books.ws.id, department_id)
            found = books.desks[department_id] = _Desk(department_id, where, self._fresh)
        return found

    def _desk_of(self, books: _Books, case: _Case, department_id: str) -> _Desk:
        """The desk of a department that a chat counts in."""
        if case.desk.id != department_id:
            case.desk = self._desk(books, department_id)
        return case.desk

    def _desk_now(self, books: _Books, chat_id: str) -> _Desk:
        """The desk of the department that a chat is in."""
        case = self._case(books, chat_id)
        return self._desk_of(books, case, case.chat.department_id)

    # ---------------------------------------------------------------- decisions

    def _arrived(self, books: _Books, chat_id: str) -> None:
        self._expected += 1
        self._desk_now(books, chat_id).arrived.add(1)

    def _closed(self, books: _Books, data: Any, at_ms: int) -> None:
        chat_id = data.chat_id
        case = self._case(books, chat_id)
        self._leave(books, case, at_ms)
        del books.cases[chat_id]
        self._expected -= 1
        self._desk_of(books, case, data.department.id).finished.of(data.outcome).add(1)

    def _offered(self, books: _Books, data: Any, at_ms: int) -> None:
        kind: str = data.kind
        case = self._case(books, data.chat_id)
        desk = self._desk_of(books, case, case.chat.department_id)
        desk.offers_made.of(kind).add(len(data.agent_ids))
        if kind == "new" or kind == "bot_transfer":  # noqa: PLR1714 - compiled, it is quicker than a tuple
            self._wait(books, case, desk, at_ms)

    def _assigned(self, books: _Books, data: Any, at_ms: int) -> None:
        waited_ms: int = data.waited_ms
        case = self._case(books, data.chat_id)
        wait = self._leave(books, case, at_ms)
        if wait is not None and wait.estimated_s is not None:
            self._misjudged_s.append(abs(waited_ms / 1000 - wait.estimated_s))
        if case.over:
            return
        case.over = True
        by: str = data.by
        if by != "manual":  # who was given a chat by hand has not answered it
            desk = self._desk_of(books, case, data.department_id)
            self._first_wait(desk.answered, waited_ms)
            if not desk.answered_ms:
                self._answered.append(desk)
            desk.answered_ms.append(waited_ms)

    def _missed(self, books: _Books, data: Any, at_ms: int) -> None:
        case = self._case(books, data.chat_id)
        desk = self._desk_of(books, case, data.rule.department_id)
        desk.missed.of(data.reason).of(data.detail or "").add(1)
        wait = self._leave(books, case, at_ms)
        if wait is not None and not case.over:
            result = "abandoned" if case.chat.visitor_gone else "unanswered"
            self._first_wait(wait.desk.first_waits.of(result), at_ms - wait.since_ms)
        case.over = True  # its bot may go on with it

    def _first_wait(self, count: _Count, waited_ms: int) -> None:
        count.of("yes" if waited_ms <= self._within_ms else "no").add(1)

    # ---------------------------------------------------------------- waiting

    def _queued(self, books: _Books, data: Any, at_ms: int) -> None:
        case = self._case(books, data.chat_id)
        desk = self._desk_of(books, case, case.chat.department_id)
        self._wait(books, case, desk, at_ms).estimated_s = data.estimated_wait_s

    def _wait(self, books: _Books, case: _Case, desk: _Desk, at_ms: int) -> _Wait:
        """A chat is in a queue: newly, or still, or in another than before."""
        wait = case.wait
        if wait is not None:
            if wait.since_ms == case.chat.entered_ms and wait.desk.id == desk.id:
                return wait
            self._leave(books, case, at_ms)
        return self._enter(books, case, desk, at_ms)

    def _enter(self, books: _Books, case: _Case, desk: _Desk, at_ms: int) -> _Wait:
        self._pass(at_ms)
        self._waiting += 1
        wait = case.wait = books.waits[case.chat.id] = _Wait(case.chat.entered_ms, desk)
        return wait

    def _leave(self, books: _Books, case: _Case, at_ms: int) -> _Wait | None:
        """Ends a chat's wait, and gives it; None where it did not wait."""
        wait = case.wait
        if wait is not None:
            case.wait = None
            del books.waits[case.chat.id]
            self._pass(at_ms)
            self._waiting -= 1
            self._left += 1
            self._waited_ms += at_ms - wait.since_ms
        return wait

    def _pass(self, at_ms: int) -> None:
        """Time passes for those who wait."""
        self._area_ms += self._waiting * (at_ms - self._at_ms)
        self._at_ms = at_ms

    # ---------------------------------------------------------------- a batch

    def look(self) -> None:
        """Notes what a batch has changed; before the changelog is written, since that forgets it."""
        self._standing.look()

    def settle(self, tallies: Mapping[str, Gauge]) -> Waits:
        """The batch is committed: its counts are added to everybody's. Gives the waits that ended in it."""
        self._pass(self._partition.clock.last_ms)
        for count in self._fresh:
            tally = tallies[count.name]
            tally[count.labels] = tally.get(count.labels, 0.0) + count.times
            count.times = 0
        self._fresh.clear()
        _add(tallies["queue_left"], self._left - self._left_settled)
        _add(tallies["queue_chat_seconds"], (self._area_ms - self._area_settled_ms) / 1000)
        _add(tallies["queue_wait_seconds"], (self._waited_ms - self._waited_settled_ms) / 1000)
        self._area_settled_ms, self._left_settled = self._area_ms, self._left
        self._waited_settled_ms = self._waited_ms
        answered_ms = [(desk.where, desk.answered_ms) for desk in self._answered]
        for desk in self._answered:
            desk.answered_ms = []
        self._answered.clear()
        misjudged_s, self._misjudged_s = self._misjudged_s, []
        return Waits(answered_ms, misjudged_s)

    def gauges(self) -> Gauges:
        """How the partition stands after a batch that is settled."""
        standing, at_ms, ages_ms = self._standing, self._at_ms, 0
        gauges = standing.gauges()
        longest: Gauge = dict.fromkeys(gauges["waiting_chats"], 0.0)
        for books in self._books.values():
            for wait in books.waits.values():
                age_ms = at_ms - wait.since_ms
                ages_ms += age_ms
                where = wait.desk.where
                longest[where] = max(longest.get(where, 0.0), age_ms / 1000)
            if len(books.desks) > DESKS_KEPT_MAX:
                books.desks.clear()
        unaccounted = abs(self._expected - standing.live) + abs(self._waiting - standing.waiting)
        gauges["longest_wait_seconds"] = longest
        gauges["chats_unaccounted"] = {(): float(unaccounted)}
        gauges["queue_age_seconds"] = {(): ages_ms / 1000}
        gauges["queue_unaccounted_seconds"] = {(): abs(self._area_ms - self._waited_ms - ages_ms) / 1000}
        gauges["service_level_seconds"] = {(): self._within_ms / 1000}
        return gauges


def _add(tally: Gauge, amount: float) -> None:
    tally[()] = tally.get((), 0.0) + amount


# What is imported is looked up by its name each time, even compiled; what is final is not.
_REQUESTED: Final = ChatRequested
_ACCEPTED: Final = OfferAccepted
_REFUSED: Final = RequestRefused
_OFFERED: Final = ChatOffered
_CLOSED: Final = ChatClosed
_WITHDRAWN: Final = OfferWithdrawn
_ASSIGNED: Final = ChatAssigned
_QUEUED: Final = ChatQueued
_MISSED: Final = ChatMissed
_BOT_TRANSFER_FAILED: Final = BotTransferFailed
_TRANSFERRED: Final = ChatTransferred
_TRANSFER_FAILED: Final = TransferFailed
_REOPENED: Final = ChatReopened
