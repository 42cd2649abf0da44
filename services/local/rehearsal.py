"""Acts a scenario out against the core in virtual time, and gives the input log that resulted.

One rule: it is the router's own core and the same people as in `play`, only the clock is ours: decisions are heard in
the moment they are made, so the log is the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas import codec
from schemas.notices import Notice
from services.local.actors import People
from services.local.crowd import Publication, Published
from services.local.partitions import partition_of
from services.local.scenario import Poisoned, Scenario
from services.router.core.partition import Emitted, Entry, Partition

TICK_SOURCE = "/services/router"
TICK_LIMIT_INTERVALS = 3
"""A tick moves the clock by at most three intervals (3 s at one tick a second; the contract, Time)."""
_SETTLE_MS_MAX = 3_600_000
"""So long after the day, in its own time, a rehearsal ends though chats are open: the core has lost one."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One record of the log and what the core made of it; `envelope` is its value."""

    envelope: bytes
    entry: Entry
    emitted: list[Emitted]


@dataclass(slots=True)
class _Lane:
    """A partition with workspaces of the scenario in it."""

    router: Partition
    offset: int = 0
    ticks: int = 0


@dataclass(slots=True)
class Rehearsal:
    """A run of the whole day; `lanes` holds the reached states afterwards, by partition."""

    scenario: Scenario
    partitions: int
    tick_interval_ms: int = 1000
    lanes: dict[int, _Lane] = field(default_factory=dict)
    open_chats: int = 0

    def run(self) -> Iterator[Rehearsed]:
        """Give the records in order of time, ticks included; poison takes an offset and gives none."""
        for workspace_id in self.scenario.workspace_ids:
            number = partition_of(workspace_id, partitions=self.partitions)
            self.lanes.setdefault(number, _Lane(Partition(number)))
        people = People(self.scenario)
        self.open_chats = people.open_chats
        tick_ms = 0
        while not people.done:
            due_ms = people.due_ms()
            # What is due at the moment of a tick is in the log before it.
            now_ms = tick_ms if due_ms is None else min(due_ms, tick_ms)
            for published in people.act(now_ms):
                yield from self._hear(people, self._publish(published, now_ms), now_ms)
            if now_ms == tick_ms:
                for number in sorted(self.lanes):
                    yield from self._hear(people, self._tick(number, now_ms), now_ms)
                tick_ms += self.tick_interval_ms
            self.open_chats = people.open_chats
            if now_ms > self.scenario.head.day_ms + _SETTLE_MS_MAX:
                return

    def _hear(self, people: People, rehearsed: Rehearsed | None, now_ms: int) -> Iterator[Rehearsed]:
        if rehearsed is None:
            return
        for emitted in rehearsed.emitted:
            if not isinstance(emitted.data, Notice):
                people.hear(emitted.data, now_ms)
        yield rehearsed

    def _publish(self, published: Published, now_ms: int) -> Rehearsed | None:
        lane = self.lanes[partition_of(published.workspace_id, partitions=self.partitions)]
        if isinstance(published, Poisoned):
            lane.offset += 1
            return None
        value = self._encode(published, now_ms)
        return self._append(lane, value, now_ms)

    def _encode(self, publication: Publication, now_ms: int) -> bytes:
        return codec.encode(
            publication.data,
            event_id=publication.event_id,
            source=publication.source,
            at_ms=self.scenario.head.starts_at_ms + now_ms,
            workspace_id=publication.workspace_id,
        )

    def _tick(self, number: int, now_ms: int) -> Rehearsed:
        lane = self.lanes[number]
        lane.ticks += 1
        value = codec.encode_tick(
            event_id=f"tick-{number}-{lane.ticks}",
            source=TICK_SOURCE,
            at_ms=self.scenario.head.starts_at_ms + now_ms,
            partition=number,
            limit_ms=TICK_LIMIT_INTERVALS * self.tick_interval_ms,
        )
        return self._append(lane, value, now_ms)

    def _append(self, lane: _Lane, value: bytes, now_ms: int) -> Rehearsed:
        at_ms = self.scenario.head.starts_at_ms + now_ms
        entry = Entry(codec.events.decode(value), lane.router.number, lane.offset, at_ms)
        lane.offset += 1
        return Rehearsed(value, entry, lane.router.apply(entry))
