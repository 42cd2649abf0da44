"""A whole day of one random workspace, acted out in virtual time against the router's core, with hostile timing.

The one rule: what the world's clock says and what stands on a record are two things; only the latter reaches the router.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush

from schemas import events as e
from services.router.core.state import Workspace
from tests.days.firm import WORKSPACE, Firm
from tests.days.people import People
from tests.router.scenes import Scene

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
CHATS_MIN, CHATS_MAX = 50, 300
RECORDS_MAX = 20_000
"""A day in which agents are rung every second for hours is broken off there; it must end well from anywhere."""
LASTS_MS = {3_000: HOUR_MS, 60_000: 25 * HOUR_MS}
"""How long a day is, by what a tick may move the clock: a whole day of seconds would be ticks and little else."""
TICKS_APART_MIN_MS = 100
AFTER_THE_DAY = 32
"""Days until everything is forgotten: missed chats after 30 (the contract, Memory)."""


class Day:
    """One seed's day: `run` it once."""

    def __init__(self, seed: int) -> None:
        self.firm = Firm(seed)
        rng = self.rng = self.firm.rng
        self.kind = rng.choices(("ticks", "exact", "silent"), (6, 3, 1))[0]
        """A log with ticks; one without, whose deadlines fire at their exact time; a router that never gets to tick."""
        self.scene = Scene(WORKSPACE, ticks=self.kind != "exact", starts_at_ms=self.firm.begins_ms)
        self.now_ms = self.firm.begins_ms
        self.limit_ms = self.firm.one((*LASTS_MS,))
        self.lasts_ms = LASTS_MS[self.limit_ms]
        self.chats = round(CHATS_MIN * (CHATS_MAX / CHATS_MIN) ** (rng.random() ** 5))
        """Most days are short: there is more to find in many of them than in long ones."""
        self.happened: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._entered = self._heard = 0
        self._frozen_ms = self._frozen_until_ms = self._fired_ms = 0
        self.people = People(self)

    @property
    def ws(self) -> Workspace:
        return self.scene.ws

    # ------------------------------------------------------------ the course of the day

    def run(self) -> Scene:
        """Acts the day out, to the moment when all visitors are gone."""
        self._open()
        self._arrange()
        while self._agenda and len(self.scene.entries) < RECORDS_MAX:
            at_ms, _, act = self._agenda[0]
            if not self._fired_before(at_ms):
                heappop(self._agenda)
                self.now_ms = max(self.now_ms, at_ms)
                act()
        for chat in list(self.ws.chats.values()):
            if chat.live:
                self.scene.leave(chat.id)
        return self.scene

    def wind_up(self) -> None:
        """Lets days pass until nothing need be known of any chat."""
        scene = self.scene
        self._go(max(entry.at_ms for entry in scene.entries))
        for _ in range(AFTER_THE_DAY):
            scene.wait(DAY_MS / 1000)
            if scene.ticks:
                scene.tick(limit_ms=DAY_MS)

    def _arrange(self) -> None:
        """Visitors come in rushes, each under settings of its own; in between people interfere, and the router ticks."""
        rng = self.rng
        rushes = [rng.uniform(0, 0.9 * self.lasts_ms) for _ in range(rng.randint(1, 4))]
        rush_ms = self.firm.one((MINUTE_MS, 10 * MINUTE_MS, HOUR_MS))
        for rush in rushes:
            self._in(rush, self._open)
        for act, times in ((self.people.ask, self.chats), (self._interfere, self.chats // 4)):
            for _ in range(times):
                self._in(self.firm.one(rushes) + rng.expovariate(1 / rush_ms), act)
        if self.kind == "ticks":
            self._tick()

    def _open(self) -> None:
        for event in self.firm.opening():
            self._publish(event)

    def _interfere(self) -> None:
        for event in self.firm.interference(self.ws):
            self.after(self.firm.one((0, 0, 1)), event)

    def _in(self, delay_ms: float, act: Callable[[], None]) -> None:
        """Enters what is done so much later; what would come after the day does not come."""
        at_ms = self.now_ms + round(delay_ms)
        if at_ms <= self.firm.begins_ms + self.lasts_ms:
            self._entered += 1
            heappush(self._agenda, (at_ms, self._entered, act))

    def after(self, delay_ms: float, event: e.Event) -> None:
        """Has an event published later; some come late, so they change places with others."""
        if self.firm.roll(0.03):
            delay_ms += self.rng.uniform(0, 3_000)
        self._in(delay_ms, partial(self._publish, event))

    # ------------------------------------------------------------ records

    def _publish(self, event: e.Event) -> None:
        event_id = f"p{len(self.scene.entries)}"
        self._stamp()
        self.scene.say(event, event_id=event_id)
        self._react()
        if self.firm.roll(0.03):
            self._in(self.firm.one((0, 1_000, 30 * MINUTE_MS)), partial(self._repeat, event, event_id))

    def _repeat(self, event: e.Event, event_id: str) -> None:
        self.happened["repeated"] += 1
        self._stamp()
        if told := self.scene.say(event, event_id=event_id):
            self.complaints.append(f"an event that came twice was decided twice: {told}")
        self._react()

    def _react(self) -> None:
        """Everybody hears what was decided since."""
        emitted = self.scene.emitted
        while self._heard < len(emitted):
            self._heard += 1
            self.people.hear(emitted[self._heard - 1])

    def _fired_before(self, at_ms: int) -> bool:
        """Without ticks, deadlines that come before the next event are heard of first."""
        due_ms = self.scene.partition.next_due_ms() if self.kind == "exact" else None
        if due_ms is None or due_ms >= at_ms:
            return False
        self._fired_ms = due_ms + 1
        self.now_ms = max(self.now_ms, self._fired_ms)
        self._go(self._fired_ms)
        self._react()
        return True

    def _stamp(self) -> None:
        """What stands on the next record: mostly the time, but brokers' clocks stop and jump."""
        stamp_ms = self.now_ms
        if stamp_ms < self._frozen_until_ms:
            stamp_ms = self._frozen_ms
        elif self.firm.roll(0.002):
            self.happened["stopped"] += 1
            self._frozen_ms, self._frozen_until_ms = stamp_ms, stamp_ms + self.rng.randint(1, MINUTE_MS)
        elif self.firm.roll(0.01):
            self.happened["jumped back"] += 1
            stamp_ms -= self.firm.one((1, 1_000, HOUR_MS))
        elif self.firm.roll(0.0003):
            self.happened["jumped ahead"] += 1
            stamp_ms += self.firm.one((10 * MINUTE_MS, HOUR_MS, 5 * HOUR_MS))
            if self.firm.roll(0.7):
                self.now_ms = stamp_ms
        self._go(max(stamp_ms, self._fired_ms))

    def _go(self, at_ms: int) -> None:
        self.scene.at((at_ms - self.scene.starts_at_ms) / 1000)

    # ------------------------------------------------------------ ticks

    def _tick(self) -> None:
        """The router ticks, aiming at the next deadline; now and then it is out, or a zombie ticks too."""
        wait_ms = every_ms = self.limit_ms * 5 // 6
        if self.firm.roll(0.001):
            self.happened["out"] += 1
            wait_ms = self.rng.randint(5, 20) * MINUTE_MS
        else:
            for _ in range(2 if self.firm.roll(0.01) else 1):
                self._stamp()
                self.scene.tick(limit_ms=self.limit_ms)
            self._react()
            due_ms, clock = self.scene.partition.next_due_ms(), self.scene.partition.clock
            if due_ms is not None and clock.clock_ms is not None:
                wait_ms = min(every_ms, due_ms - clock.clock_ms + self.firm.one((-1, 0, 0, 0, 1)))
        self._in(max(wait_ms, TICKS_APART_MIN_MS), self._tick)
