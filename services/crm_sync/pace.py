"""Keeps the requests of all workers to one account of a CRM below its rate.

    free ─taken─▶ held by one request ─its answer begins─▶ cooling for a second ─▶ free
                           └─ its worker is gone ─ HELD_MS ─▶ free

A rate of N requests a second is N *slots* in the ledger's database, and nobody sends without one. Two requests of one slot reach the CRM
more than a second apart, since the first had arrived before its answer began: so however long requests are on their way, no second
ever sees more than N, nor does the first one. It costs what a CRM takes to answer: N / (1 s + answer) requests a second get through.

The one rule: a slot that is not given back is lost for a while, never used twice.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    String,
    Table,
    bindparam,
    func,
    or_,
    select,
    text,
    update,
)

from services.runtime.effects import BUSY_RETRY_S, RETRY_AFTER_MAX_S, Away, Limits
from services.runtime.ledger import Ledger, metadata
from services.runtime.metrics import Metrics

COOL_MS = 1_010
"""A second, and what clocks round away."""
HELD_MS = Limits().call_ms_max + 1_000
"""Longer than any call may take, its wait for a slot included."""
WAIT_MAX_S = 10.0
"""Then whoever waits for a slot is turned away, well before its call counts as one that hangs."""
PAUSE_WAIT_MAX_S = 1.0
"""A pause up to this long is waited for; a longer one turns away."""
CLOCK_STEP_MS = 60_000
"""What is later by more than that was written before the clock went back; others' clock readings are later by less."""
LOOK_INTERVAL_MAX_S = 0.25
"""Between two looks for a free slot: another worker may give one back before it is due."""
LOOK_INTERVAL_MIN_S = 0.005
SLICE_MAX = 64
"""Slots taken in one statement."""

_slots = Table(
    "crm_pace",
    metadata,
    Column("account", String(300), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("free_ms", BigInteger, nullable=False),
    Column("paused_ms", BigInteger, nullable=False),
)
_mine = (_slots.c.account == bindparam("of_account"), _slots.c.slot < bindparam("slots"))
_free = (_slots.c.free_ms <= bindparam("now_ms"), _slots.c.paused_ms <= bindparam("now_ms"))
_take = (
    update(_slots)
    .where(
        *_mine,
        _slots.c.slot.in_(
            select(_slots.c.slot)
            .where(*_mine, *_free)
            .order_by(_slots.c.free_ms, _slots.c.slot)
            .limit(bindparam("wanted"))
        ),
        *_free,  # once more: another worker may have been quicker
    )
    .values(free_ms=bindparam("held_until_ms"))
    .returning(_slots.c.slot)
)
_give_back = (
    update(_slots)
    .where(
        _slots.c.account == bindparam("of_account"),
        _slots.c.slot == bindparam("of_slot"),
        _slots.c.free_ms == bindparam("held_until_ms"),
    )
    .values(free_ms=bindparam("cool_until_ms"))
)
_pause = (
    update(_slots)
    .where(_slots.c.account == bindparam("of_account"), _slots.c.paused_ms < bindparam("until_ms"))
    .values(paused_ms=bindparam("until_ms"))
)
_look = select(func.min(_slots.c.free_ms), func.max(_slots.c.paused_ms)).where(*_mine)
_clock_went_back = (
    update(_slots)
    .where(
        *_mine,
        or_(_slots.c.free_ms > bindparam("held_max_ms"), _slots.c.paused_ms > bindparam("paused_max_ms")),
    )
    .values(free_ms=bindparam("cool_until_ms"), paused_ms=0)
)
_server_clock = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")


@dataclass(frozen=True, slots=True)
class _Held:
    """A slot that is ours until then, on the database's clock."""

    slot: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found: the slots taken, and how long until there may be another one, or until a pause ends."""

    taken: Sequence[_Held]
    free_in_s: float
    paused_for_s: float


class Pace:
    """The turns of all accounts of one connector. `name` is the connector's; an account is a workspace's."""

    def __init__(self, ledger: Ledger, *, name: str, per_s_max: float, metrics: Metrics) -> None:
        self._ledger = ledger
        self._name = name
        self._per_s_max = per_s_max
        self._metrics = metrics
        self._accounts: dict[str, _Account] = {}

    @asynccontextmanager
    async def turn(self, workspace_id: str) -> AsyncIterator[None]:
        """Hold a slot of the account. Raises Away when none is free for long, or the CRM wants to be left alone."""
        account = self._of(workspace_id)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        held = await account.take()
        self._metrics.observe("crm_pace_wait_seconds", loop.time() - began_s, connector=self._name)
        try:
            yield
        finally:
            account.give_back(held)

    async def told_to_wait(self, workspace_id: str, *, wait_s: float) -> None:
        """Leave the account alone for so long, in all workers. Raises Away when that is too long to wait for."""
        wait_s = min(wait_s, RETRY_AFTER_MAX_S)
        account = self._of(workspace_id)
        await self._ledger.do(lambda connection: account.pause(connection, wait_s=wait_s))
        if wait_s > PAUSE_WAIT_MAX_S:
            raise Away(account.name, retry_s=wait_s)

    def _of(self, workspace_id: str) -> "_Account":
        name = f"{self._name}/{workspace_id}"  # as the account's Downstream calls its queue
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account(self._ledger, name, per_s_max=self._per_s_max)
        return account


class _Account:
    """Who waits for the slots of one account in this worker, and the slots to give back."""

    def __init__(self, ledger: Ledger, name: str, *, per_s_max: float) -> None:
        self._ledger = ledger
        self.name = name
        self._slots = max(1, int(per_s_max))
        # Below one request a second a slot cools for longer.
        self._cool_ms = int(COOL_MS * max(1.0, 1.0 / per_s_max))
        self._waiting: deque[asyncio.Future[_Held]] = deque()
        self._used: list[_Held] = []
        self._made = False
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def take(self) -> _Held:
        given: asyncio.Future[_Held] = asyncio.get_running_loop().create_future()
        self._waiting.append(given)
        self._look_on()
        try:
            async with asyncio.timeout(WAIT_MAX_S):
                return await given
        except BaseException as error:
            if given in self._waiting:
                self._waiting.remove(given)
            elif given.done() and not given.cancelled() and given.exception() is None:
                self.give_back(given.result())
            if isinstance(error, TimeoutError):
                raise Away(self.name, retry_s=BUSY_RETRY_S) from None
            raise

    def give_back(self, held: _Held) -> None:
        self._used.append(held)
        self._look_on()

    def _look_on(self) -> None:
        self._changed.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="pace")

    async def _look(self) -> None:
        """Give back and take as long as there is anything to."""
        while self._waiting or self._used:
            self._changed.clear()
            used, self._used = self._used, []
            wanted = min(len(self._waiting), SLICE_MAX)
            try:
                look = await self._ledger.do(
                    lambda connection: self._exchange(connection, used, wanted=wanted)  # noqa: B023
                )
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait; what was not given back is lost for a while
                self._turn_away(error)
                return
            self._made = True
            for held in look.taken:
                self._hand_out(held)
            if look.paused_for_s > PAUSE_WAIT_MAX_S:
                self._turn_away(Away(self.name, retry_s=look.paused_for_s))
            elif self._waiting and len(look.taken) < wanted:
                await self._pause_between_looks(max(look.free_in_s, look.paused_for_s))

    async def _pause_between_looks(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(min(max(wait_s, LOOK_INTERVAL_MIN_S), LOOK_INTERVAL_MAX_S)):
                await self._changed.wait()
        except TimeoutError:
            pass  # a slot may be free by now

    def _hand_out(self, held: _Held) -> None:
        while self._waiting:
            given = self._waiting.popleft()
            if not given.done():
                given.set_result(held)
                return
        self._used.append(held)  # whoever wanted it has gone

    def _turn_away(self, error: Exception) -> None:
        while self._waiting:
            given = self._waiting.popleft()
            if not given.done():
                given.set_exception(error)

    # ------------------------------------------------------------ in the ledger's thread

    def _exchange(self, connection: Connection, used: Sequence[_Held], *, wanted: int) -> _Look:
        now_ms = self._now_ms(connection)
        ours = {"of_account": self.name, "slots": self._slots, "now_ms": now_ms}
        if used:
            cooling = {"of_account": self.name, "cool_until_ms": now_ms + self._cool_ms}
            connection.execute(
                _give_back,
                [{**cooling, "of_slot": held.slot, "held_until_ms": held.until_ms} for held in used],
            )
        if not self._made:
            self._make_slots(connection)
        until_ms = now_ms + HELD_MS
        rows = connection.execute(_take, {**ours, "wanted": wanted, "held_until_ms": until_ms}).scalars()
        taken = [_Held(slot, until_ms) for slot in rows]
        if len(taken) == wanted:
            return _Look(taken, 0.0, 0.0)
        free_ms, paused_ms = connection.execute(_look, ours).one()
        if not taken:
            bounds = {
                "held_max_ms": now_ms + max(HELD_MS, self._cool_ms) + CLOCK_STEP_MS,
                "paused_max_ms": now_ms + int(RETRY_AFTER_MAX_S * 1000) + CLOCK_STEP_MS,
            }
            connection.execute(_clock_went_back, {**ours, **bounds, "cool_until_ms": now_ms + self._cool_ms})
        return _Look(taken, (free_ms - now_ms) / 1000, max(0.0, (paused_ms - now_ms) / 1000))

    def pause(self, connection: Connection, *, wait_s: float) -> None:
        """Within an operation: nobody gets a slot for so long."""
        self._make_slots(connection)
        until_ms = self._now_ms(connection) + int(wait_s * 1000)
        connection.execute(_pause, {"of_account": self.name, "until_ms": until_ms})

    def _make_slots(self, connection: Connection) -> None:
        rows = [
            {"account": self.name, "slot": slot, "free_ms": 0, "paused_ms": 0} for slot in range(self._slots)
        ]
        connection.execute(self._ledger.insert(_slots).on_conflict_do_nothing(), rows)

    def _now_ms(self, connection: Connection) -> int:
        """One clock for all who share the database: the server's, or with SQLite the machine's, which nobody sets."""
        if connection.dialect.name == "sqlite":
            return time.monotonic_ns() // 1_000_000
        now_ms: int = connection.execute(_server_clock).scalar_one()
        return now_ms
