"""What a partition's chats amount to, for the metrics: counted from its decisions, never read by any.

    a record is decided ─▶ `hear`      counts its decisions
    a batch is decided  ─▶ `look`      notes what it changed (`standing`)
    it is committed     ─▶ `settle`    hands the counts over
    now and then        ─▶ `gauges`    how the partition stands

The one rule: nothing is handed over before the commit, so what is not committed is not counted: a partition that fails is thrown away, its
figures with it. Times are those of records and decisions. All this costs every event, so no decision is looked at twice.
"""

from collections.abc import Callable, Mapping, Sequence
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
from services.router.core.partition import Emitted, Entry, Partition
from services.router.core.standing import Gauge, Gauges, Labels, Standing
from services.router.core.state import Chat, Workspace

DESKS_KEPT_MAX = 1_000
"""Departments of a workspace, deleted ones included, whose labels are kept: more are looked up anew."""


@dataclass(slots=True)
class _Count:
    """One counter of a department, as far as it is not settled."""

    name: str
    labels: Labels
    times: int = 0


@dataclass(slots=True)
class _Desk:
    """What is counted of a department, by metric and by the labels that it has besides."""

    where: Where
    counts: dict[str, dict[Labels, _Count]] = field(default_factory=dict)


class _Wait:
    """A chat's stay in a queue. One is made for most chats; a dataclass takes four times as long to make."""

    def __init__(self, since_ms: int, department_id: str) -> None:
        self.since_ms = since_ms
        self.department_id = department_id
        self.estimated_s: float | None = None
        """What was announced last."""


@dataclass(slots=True)
class Waits:
    """The waits that ended in a batch."""

    answered_ms: list[tuple[Where, int]] = field(default_factory=list)
    """Where chats were answered, and after how long."""
    misjudged_s: list[float] = field(default_factory=list)
    """How far announced waits were from the real ones. A worker that takes a partition over does not know what was announced."""


@dataclass(slots=True)
class _Books:
    """What is known of one workspace's live chats."""

    ws: Workspace
    desks: dict[str, _Desk] = field(default_factory=dict)
    waits: dict[str, _Wait] = field(default_factory=dict)
    """By chat."""
    over: dict[str, None] = field(default_factory=dict)
    """Chats whose first wait of this revision is over."""


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
        self._ended = Waits()
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
            books = self._of(ws.id)
            if chat.assigned_once or chat.missed_reason is not None:
                books.over[chat.id] = None
            if chat.phase == "waiting":
                self._enter(books, chat, at_ms)
                self._area_ms += at_ms - chat.entered_ms
        self._area_settled_ms = self._area_ms

    # ---------------------------------------------------------------- a record

    def hear(self, entry: Entry, emitted: Sequence[Emitted]) -> None:
        """Counts a record and what followed from it."""
        event = entry.envelope.data
        if type(event) is ChatRequested:
            self._requested(entry, event.chat_id)
        elif type(event) is OfferAccepted and emitted and not isinstance(emitted[0].data, RequestRefused):
            books = self._of(emitted[0].workspace_id)
            self._count(self._desk_of(books, event.chat_id), "offers", ("accepted",), 1)
        for item in emitted:
            take = _TAKES.get(type(item.data))
            if take is not None:  # the others are of no chat's way
                take(self, self._of(item.workspace_id), item.data, item.at_ms)

    def _requested(self, entry: Entry, chat_id: str) -> None:
        envelope: Any = entry.envelope  # of an event, not of a tick
        books = self._of(envelope.workspaceid)
        # It was accepted if it made the workspace's last step, which noted that; one seen before makes none.
        if books.ws.offset == entry.offset and books.ws.accepted == chat_id:
            self._arrived(books, chat_id)

    def _of(self, workspace_id: str) -> _Books:
        found = self._books.get(workspace_id)
        if found is None:
            found = self._books[workspace_id] = _Books(self._partition.workspaces[workspace_id])
        return found

    def _desk(self, books: _Books, department_id: str) -> _Desk:
        found = books.desks.get(department_id)
        if found is None:
            found = _Desk(self._names.where(books.ws.id, department_id))
            books.desks[department_id] = found
        return found

    def _desk_of(self, books: _Books, chat_id: str) -> _Desk:
        return self._desk(books, books.ws.chats[chat_id].department_id)

    def _count(self, desk: _Desk, name: str, more: Labels, times: int) -> None:
        """`more`: the labels besides workspace and department."""
        counts = desk.counts.get(name)
        if counts is None:
            counts = desk.counts[name] = {}
        count = counts.get(more)
        if count is None:
            count = counts[more] = _Count(name, (*desk.where, *more))
        if count.times == 0:
            self._fresh.append(count)
        count.times += times

    def _arrived(self, books: _Books, chat_id: str) -> None:
        self._expected += 1
        self._count(self._desk_of(books, chat_id), "chats_arrived", (), 1)

    # ---------------------------------------------------------------- decisions

    def _reopened(self, books: _Books, data: ChatReopened, _at_ms: int) -> None:
        self._arrived(books, data.chat_id)

    def _closed(self, books: _Books, data: ChatClosed, at_ms: int) -> None:
        self._leave(books, data.chat_id, at_ms)
        books.over.pop(data.chat_id, None)
        self._expected -= 1
        self._count(self._desk(books, data.department.id), "chats_finished", (data.outcome,), 1)

    def _withdrawn(self, books: _Books, data: OfferWithdrawn, _at_ms: int) -> None:
        desk = self._desk_of(books, data.chat_id)
        self._count(desk, "offers", (data.reason,), len(data.agent_ids))

    def _bot_transfer_failed(self, books: _Books, data: BotTransferFailed, _at_ms: int) -> None:
        self._count(self._desk_of(books, data.chat_id), "bot_transfers_failed", (data.reason,), 1)

    def _transferred(self, books: _Books, data: ChatTransferred, _at_ms: int) -> None:
        self._count(self._desk_of(books, data.chat_id), "transfers", ("taken",), 1)

    def _transfer_failed(self, books: _Books, data: TransferFailed, _at_ms: int) -> None:
        self._count(self._desk_of(books, data.chat_id), "transfers", ("failed",), 1)

    def _offered(self, books: _Books, data: ChatOffered, at_ms: int) -> None:
        chat, kind = books.ws.chats[data.chat_id], data.kind
        self._count(self._desk(books, chat.department_id), "offers_made", (kind,), len(data.agent_ids))
        if kind == "new" or kind == "bot_transfer":  # noqa: PLR1714 - compiled, it is quicker than a tuple
            self._wait(books, chat, at_ms)

    def _assigned(self, books: _Books, data: ChatAssigned, at_ms: int) -> None:
        wait = self._leave(books, data.chat_id, at_ms)
        if wait is not None and wait.estimated_s is not None:
            self._ended.misjudged_s.append(abs(data.waited_ms / 1000 - wait.estimated_s))
        if data.chat_id in books.over:
            return
        books.over[data.chat_id] = None
        if data.by != "manual":  # who was given a chat by hand has not answered it
            desk = self._desk(books, data.department_id)
            self._first_wait(desk, "answered", data.waited_ms)
            self._ended.answered_ms.append((desk.where, data.waited_ms))

    def _missed(self, books: _Books, data: ChatMissed, at_ms: int) -> None:
        chat_id = data.chat_id
        desk = self._desk(books, data.rule.department_id)
        self._count(desk, "chats_missed", (data.reason, data.detail or ""), 1)
        wait = self._leave(books, chat_id, at_ms)
        if wait is not None and chat_id not in books.over:
            result = "abandoned" if books.ws.chats[chat_id].visitor_gone else "unanswered"
            self._first_wait(self._desk(books, wait.department_id), result, at_ms - wait.since_ms)
        books.over[chat_id] = None  # its bot may go on with it

    def _first_wait(self, desk: _Desk, result: str, waited_ms: int) -> None:
        self._count(desk, "agent_waits", (result, "yes" if waited_ms <= self._within_ms else "no"), 1)

    # ---------------------------------------------------------------- waiting

    def _queued(self, books: _Books, data: ChatQueued, at_ms: int) -> None:
        wait = self._wait(books, books.ws.chats[data.chat_id], at_ms)
        wait.estimated_s = data.estimated_wait_s

    def _wait(self, books: _Books, chat: Chat, at_ms: int) -> _Wait:
        """A chat is in a queue: newly, or still, or in another than before."""
        wait = books.waits.get(chat.id)
        if wait is not None:
            if wait.since_ms == chat.entered_ms and wait.department_id == chat.department_id:
                return wait
            self._leave(books, chat.id, at_ms)
        return self._enter(books, chat, at_ms)

    def _enter(self, books: _Books, chat: Chat, at_ms: int) -> _Wait:
        self._pass(at_ms)
        self._waiting += 1
        wait = books.waits[chat.id] = _Wait(chat.entered_ms, chat.department_id)
        return wait

    def _leave(self, books: _Books, chat_id: str, at_ms: int) -> _Wait | None:
        """Ends a chat's wait, and gives it; None where it did not wait."""
        wait = books.waits.pop(chat_id, None)
        if wait is not None:
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
        ended, self._ended = self._ended, Waits()
        return ended

    def gauges(self) -> Gauges:
        """How the partition stands after a batch that is settled."""
        standing, at_ms, ages_ms = self._standing, self._at_ms, 0
        gauges = standing.gauges()
        longest: Gauge = dict.fromkeys(gauges["waiting_chats"], 0.0)
        for books in self._books.values():
            for wait in books.waits.values():
                age_ms = at_ms - wait.since_ms
                ages_ms += age_ms
                where = self._desk(books, wait.department_id).where
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


_TAKES: Final[dict[type, Callable[[Figures, _Books, Any, int], None]]] = {
    ChatOffered: Figures._offered,
    ChatQueued: Figures._queued,
    ChatAssigned: Figures._assigned,
    ChatMissed: Figures._missed,
    ChatReopened: Figures._reopened,
    ChatClosed: Figures._closed,
    OfferWithdrawn: Figures._withdrawn,
    BotTransferFailed: Figures._bot_transfer_failed,
    ChatTransferred: Figures._transferred,
    TransferFailed: Figures._transfer_failed,
}
"""How each decision is counted; a table, since asking for one kind after the other is a quarter of all that counting executes."""
