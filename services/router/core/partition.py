"""The router of one partition: records in, decisions out. Live and offline runs go through here and nowhere else.

The one rule: one step is evolve(event); then decide → evolve each decision; then decide(DRAIN) until it returns ().
"""

from collections.abc import Callable, Iterable, Iterator

from schemas.decisions import Cause
from schemas.envelope import PartitionEnvelope
from schemas.events import Event, EventEnvelope
from schemas.frozen import dataclass
from services.router.core.clock import Clock
from services.router.core.configuring import new_workspace
from services.router.core.decide import DRAIN, decide
from services.router.core.evolve import evolve
from services.router.core.ids import mint
from services.router.core.seen import Seen
from services.router.core.state import Emission, Workspace
from services.router.core.timers import Agenda, DeadlineReached

DRAIN_STEPS_MAX = 1_000_000
"""More decisions than that from one record are a mistake of ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of `chat.events.v1`, read. `at_ms`: its log-append time."""

    envelope: EventEnvelope
    partition: int
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Emitted:
    """One decision or notice with its id, its time and what it follows from."""

    data: Emission
    id: str
    at_ms: int
    workspace_id: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Step:
    """An event that has been applied, and what its decisions name as their cause."""

    ws: Workspace
    event: Event | DeadlineReached
    cause: Cause
    number: int
    """How many decisions and notices the workspace had made before: the next one's number is one more."""


class Partition:
    """All workspaces of a partition, its clock and its agenda."""

    def __init__(self, number: int, *, exact: bool = False) -> None:
        """`exact`: the log has no ticks; deadlines are fired by `fire_due` at their exact time."""
        self.number = number
        self.clock = Clock(exact=exact)
        self.agenda = Agenda()
        self.workspaces: dict[str, Workspace] = {}
        self.active: dict[str, Workspace] = {}
        """Those that a step was made in since the changelog was last written."""
        self.seen = Seen()
        self._offset = 0

    def workspace(self, workspace_id: str) -> Workspace:
        """The workspace, new if nothing was heard of it before."""
        found = self.workspaces.get(workspace_id)
        if found is None:
            found = self.workspaces[workspace_id] = new_workspace(workspace_id, self.agenda)
        return found

    def apply(self, entry: Entry) -> list[Emitted]:
        """Decides one record. The same (source, id) again within a day changes nothing."""
        emitted: list[Emitted] = []
        for step in self.steps(entry):
            emitted += decided(step)
        return emitted

    def steps(self, entry: Entry) -> Iterable[Step]:
        """Applies one record; gives the step it makes, or those of the deadlines a tick reaches, each before the next is begun."""
        at_ms = self.clock.record(entry.at_ms)
        self._offset = entry.offset
        envelope = entry.envelope
        if isinstance(envelope, PartitionEnvelope):
            clock_ms = self.clock.tick(envelope.data.limit_ms)
            first = self.agenda.first()
            return () if first is None or first.due_ms > clock_ms else self._reached(clock_ms)
        if not self.seen.note(envelope.workspaceid, envelope.source, envelope.id, at_ms=at_ms):
            return ()
        step = self._begun(
            self.workspace(envelope.workspaceid),
            envelope.data,
            Cause(envelope.id, entry.partition, entry.offset),
            f"{envelope.id}@{entry.partition}:{entry.offset}",
        )
        return (step,)

    def next_due_ms(self) -> int | None:
        """When the next deadline is due on the deadline clock, or None."""
        first = self.agenda.first()
        return None if first is None else first.due_ms

    def fire_due(self, until_ms: int) -> list[Emitted]:
        """Fires every deadline due up to and including `until_ms`, each at its exact time: for logs without ticks."""
        return [emitted for step in self.due_steps(until_ms) for emitted in decided(step)]

    def due_steps(self, until_ms: int) -> Iterator[Step]:
        """The steps of these deadlines, each before the next is begun."""
        assert self.clock.exact, "with ticks in the log, deadlines are fired by them"
        while (due := self.agenda.first()) is not None and due.due_ms <= until_ms:
            self.clock.record(due.due_ms)
            yield from self._reached(due.due_ms)

    def deadline_lag_ms(self, now_ms: int) -> int:
        """How long the oldest due deadline has been waiting at `now_ms`, had the deadline clock run on since its last tick."""
        first = self.agenda.first()
        if first is None or self.clock.tick_at_ms is None:
            return 0
        assert self.clock.clock_ms is not None, "a tick has set it"
        return max(0, self.clock.clock_ms + now_ms - self.clock.tick_at_ms - first.due_ms)

    def _reached(self, clock_ms: int) -> Iterator[Step]:
        """What the deadline clock has reached, in order; the steps between may arm more."""
        while (due := self.agenda.first()) is not None and due.due_ms <= clock_ms:
            ws = self.workspaces[due.workspace_id]
            event = ws.take_timer(due)
            yield self._begun(ws, event, Cause(timer=event.name), event.name)

    def _begun(self, ws: Workspace, event: Event | DeadlineReached, cause: Cause, name: str) -> Step:
        """A step whose event has been applied, and from which nothing has been decided; `name`: the cause as ids are made of it."""
        ws.begin(
            event,
            request_id=cause.event_id or "",
            now_ms=self.clock.last_ms,
            clock_ms=self.clock.deadline_ms(),
            cause=name,
            partition=self.number if cause.partition is None else cause.partition,
            offset=self._offset,
        )
        self.active[ws.id] = ws
        evolve(ws, event)
        return Step(ws, event, cause, ws.counts.decided)


def decided(step: Step, *, apply: Callable[[Workspace, Emission], None] = evolve) -> list[Emitted]:
    """Everything that follows from a step, in order. `apply`: who looks at the state before a decision, and then has it evolved."""
    ws = step.ws
    emitted: list[Emitted] = []
    decisions = decide(ws, step.event)
    for _ in range(DRAIN_STEPS_MAX):
        for decision in decisions:
            apply(ws, decision)
            number = step.number + len(emitted) + 1
            emitted.append(Emitted(decision, mint(ws.id, ws.cause, number), ws.now_ms, ws.id, step.cause))
        if not ws.anything_opened or not (decisions := decide(ws, DRAIN)):
            break
    else:
        raise AssertionError(f"more than {DRAIN_STEPS_MAX} decisions from one record")
    if emitted:
        ws.counts.decided += len(emitted)
        ws.touch(ws.counts)
    return emitted
