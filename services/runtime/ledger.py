"""The ledger of external effects: what was begun and by whom, what came of it, and whether that was reported.

    new ─claim─▶ claimed ─settle─▶ settled ─report─▶ reported

The one rule: claim before doing, settle after, and never do again what is settled. A claim belongs to one worker (its *owner*)
as long as that worker renews its lease: another one that is handed the same record, after a rebalance, waits for the outcome.
A claim without an outcome whose owner is gone was left by a crash, or broke off in this process: its outcome is *unknown*, and
the caller decides, by asking the other side or by doing it again.
Nothing personal stands in it: targets are ids or hashes, outcomes are codes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypeVar
from uuid import uuid4

import stamina
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from services.runtime.database import make_tables, open_single
from services.runtime.failures import WorkerFailed
from services.runtime.logs import log
from services.runtime.wall_clock import now_ms as wall_clock_ms

Result = TypeVar("Result")
Operation: TypeAlias = Callable[[Connection], Any]

TARGETS_MAX = 200
"""Targets of one effect."""
BATCH_MAX = 200
"""Operations in one transaction."""
WAITING_MAX = 10_000
"""Operations that wait for their transaction: more than any worker has in flight."""
DAY_MS = 24 * 3600 * 1000
KEPT_MS = 45 * DAY_MS
"""Longer than the topics keep their records, so that no replay meets a forgotten effect."""
FORGET_INTERVAL_S = 3_600
SETTLE_ATTEMPTS_MAX = 5
"""Tries to write what became of an effect, before the record is handled anew."""
SETTLE_WAIT_MAX_S = 2.0
DEADLOCK = "40P01"
"""PostgreSQL's code for transactions that wait for each other."""
LEASE_MS_DEFAULT = 6_000
"""As long as a consumer's session by default: who lost its partitions has lost its claims too."""
RENEWALS_PER_LEASE = 6
HELD_WAIT_MIN_S = 0.05
HELD_WAIT_MAX_S = 1.0
"""Between two looks at a claim that another worker holds."""

metadata = MetaData()
_effects = Table(
    "effects",
    metadata,
    Column("effect_id", String(160), primary_key=True),
    Column("target", String(160), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("outcome", Text, nullable=True),
    Column("changed_ms", BigInteger, nullable=False, index=True),
    Column("owner", String(160), nullable=True),
)
_owners = Table(
    "effect_owners",
    metadata,
    Column("owner", String(160), primary_key=True),
    Column("until_ms", BigInteger, nullable=False),
)
_of_group = Table(
    "effects_of",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("consumer_group", String(249), nullable=False),
)
living = select(_owners.c.owner).where(_owners.c.until_ms > bindparam("now_ms"))
"""The owners whose lease runs."""
_let_go = delete(_owners).where(_owners.c.owner == bindparam("me"))
_bury = delete(_owners).where(_owners.c.until_ms <= bindparam("now_ms"))


@dataclass(frozen=True, slots=True)
class Standing:
    """How one target of an effect stands. `outcome` is what `settle` was given; `held` means that another worker is at it."""

    state: Literal["new", "unknown", "held", "settled", "reported"]
    outcome: str | None = None


_settle = (
    update(_effects)
    .where(_effects.c.effect_id == bindparam("of_effect"), _effects.c.target == bindparam("of_target"))
    .values(state="settled", outcome=bindparam("what"), changed_ms=bindparam("now_ms"))
)
_report = (
    update(_effects)
    .where(_effects.c.effect_id == bindparam("of_effect"), _effects.c.target == bindparam("of_target"))
    .values(state="reported", changed_ms=bindparam("now_ms"))
)
_take_over = (
    update(_effects)
    .where(
        _effects.c.effect_id == bindparam("of_effect"),
        _effects.c.target == bindparam("of_target"),
        _effects.c.state == "claimed",
        or_(_effects.c.owner.is_(None), _effects.c.owner == bindparam("me"), _effects.c.owner.not_in(living)),
    )
    .values(owner=bindparam("me"))
    .returning(_effects.c.target)
)
inherit = (
    update(_effects)
    .where(_effects.c.state == "claimed", _effects.c.owner.not_in(living))
    .values(owner=bindparam("me"))
)
"""Takes the claims of owners whose lease has run out."""
_forget = delete(_effects).where(
    _effects.c.state == "reported", _effects.c.changed_ms < bindparam("before_ms")
)


class Ledger:
    """The table of effects in a database. Use it as an async context manager.

    What is asked of it at the same time goes into one transaction, in a thread of its own: a commit for each of many
    small operations, and a change of threads for each statement, cost several times what the work itself does.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str,
        owner: str | None = None,
        lease_ms: int = LEASE_MS_DEFAULT,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """`url`: SQLAlchemy's, or plain `sqlite:///FILE` or `postgresql://…`. `group` is the consumer group of these workers.

        `owner` is a name of this process that survives its restart, so that what it left is its own at once; never two
        processes with one name. Without it this life of the process has a name of its own.
        """
        self._group = group
        self.owner = owner or uuid4().hex
        self._lease_ms = lease_ms
        self.now_ms = now_ms
        self._log = log(__name__)
        self._engine = open_single(url)
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        self.insert: Callable[[Table], Any] = dialect.insert
        self._claim = self.insert(_effects).on_conflict_do_nothing().returning(_effects.c.target)
        lease = self.insert(_owners)
        self._renew = lease.on_conflict_do_update(
            index_elements=["owner"], set_={"until_ms": lease.excluded.until_ms}
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._waiting: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Makes the tables that are missing and takes the lease. Raises WorkerFailed when the database can't be used, or is another group's."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare)
            await self.do(self._renewed)
        except BaseException as error:
            await self._close()
            if not isinstance(error, SQLAlchemyError | OSError):
                raise
            raise WorkerFailed(
                f"The ledger's database can't be used ({type(error).__name__}): see CHAT_LEDGER_URL, whether its server runs and "
                "its disk has room."
            ) from error
        self._keeping = asyncio.create_task(self._keep(), name="ledger lease")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._keeping is not None, "entered"
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        try:
            await self.do(lambda connection: connection.execute(_let_go, {"me": self.owner}))
        except SQLAlchemyError as error:
            # The lease runs out by itself.
            self._log.warning("ledger_lease_not_given_back", error=type(error).__name__)
        await self._close()

    async def _close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    def _prepare(self) -> None:
        mine = self.insert(_of_group).on_conflict_do_nothing()
        with self._engine.begin() as connection:
            make_tables(connection, metadata)
            connection.execute(mine, {"only": 1, "consumer_group": self._group})
            group = connection.execute(select(_of_group.c.consumer_group)).scalar()
        if group != self._group:
            raise WorkerFailed(
                f"CHAT_LEDGER_URL names the database of the consumer group {group}; this worker is of {self._group}, which needs "
                "one of its own."
            )

    def _renewed(self, connection: Connection) -> None:
        now_ms = self.now_ms()
        connection.execute(self._renew, {"owner": self.owner, "until_ms": now_ms + self._lease_ms})
        connection.execute(_bury, {"now_ms": now_ms})

    async def _keep(self) -> None:
        """Renews the lease, and keeps the table from growing for ever, until it is cancelled."""
        loop = asyncio.get_running_loop()
        forget_s = loop.time()
        while True:
            try:
                await self.do(self._renewed)
                if loop.time() >= forget_s:
                    await self.forget(now_ms=self.now_ms())
                    forget_s = loop.time() + FORGET_INTERVAL_S
            except Exception as error:  # noqa: BLE001 - whatever it was, the next renewal may succeed
                # Without a lease another worker may do what is under way here: each effect at most once more.
                self._log.warning("ledger_lease_not_renewed", error=type(error).__name__)
            await asyncio.sleep(self._lease_ms / 1000 / RENEWALS_PER_LEASE)

    async def claim(self, effect_id: str, targets: Sequence[str], *, now_ms: int) -> dict[str, Standing]:
        """Claims what is new, and says how each target stood before: `new` and `unknown` ones are the caller's to do.

        Waits as long as another worker, whose lease runs, is at one of them.
        """
        standings: dict[str, Standing] = {}
        left, wait_s = tuple(targets), HELD_WAIT_MIN_S
        while left:
            standings |= await self._claimed(effect_id, left, now_ms=now_ms)
            left = tuple(target for target in left if standings[target].state == "held")
            if left:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, HELD_WAIT_MAX_S)
        return standings

    async def _claimed(self, effect_id: str, targets: Sequence[str], *, now_ms: int) -> dict[str, Standing]:
        assert len(targets) <= TARGETS_MAX, "the caller bounds its targets"
        new = {"effect_id": effect_id, "state": "claimed", "changed_ms": now_ms, "owner": self.owner}

        def operation(connection: Connection) -> dict[str, Standing]:
            claimed = {
                target
                for target in sorted(targets)
                if connection.execute(self._claim, {**new, "target": target}).scalar()
            }
            if len(claimed) == len(targets):
                return dict.fromkeys(targets, Standing("new"))
            ours = {"of_effect": effect_id, "me": self.owner, "now_ms": self.now_ms()}
            taken_over = {
                target
                for target in targets
                if target not in claimed
                and connection.execute(_take_over, {**ours, "of_target": target}).scalar()
            }
            found = standings_of(connection, effect_id)

            def standing(target: str) -> Standing:
                if target in claimed:
                    return Standing("new")
                held = found[target].state == "unknown" and target not in taken_over
                return Standing("held") if held else found[target]

            return {target: standing(target) for target in targets}

        return await self.do(operation)

    async def settle(self, effect_id: str, outcomes: Mapping[str, str], *, now_ms: int) -> None:
        """Writes what became of claimed targets, all at once. Tried a few times: it tells of what can't be undone."""
        rows = [
            {"of_effect": effect_id, "of_target": target, "what": outcome, "now_ms": now_ms}
            for target, outcome in outcomes.items()
        ]
        if not rows:
            return
        tries = stamina.retry_context(
            on=Exception,
            attempts=SETTLE_ATTEMPTS_MAX,
            timeout=None,
            wait_initial=0.05,
            wait_max=SETTLE_WAIT_MAX_S,
            wait_jitter=0.05,
        )
        async for attempt in tries:
            with attempt:
                await self.do(lambda connection: connection.execute(_settle, rows))

    async def report(self, effect_id: str, targets: Sequence[str], *, now_ms: int) -> None:
        """Notes that the outcomes of these targets stand in their topic."""
        rows = [{"of_effect": effect_id, "of_target": target, "now_ms": now_ms} for target in targets]
        if rows:
            await self.do(lambda connection: connection.execute(_report, rows))

    def note(
        self, connection: Connection, effect_id: str, outcomes: Mapping[str, str | None], *, now_ms: int
    ) -> None:
        """Within an operation: notes what was done, and reported, as a part of another effect."""
        rows = [
            {
                "effect_id": effect_id,
                "target": target,
                "state": "reported",
                "outcome": outcome,
                "changed_ms": now_ms,
            }
            for target, outcome in outcomes.items()
        ]
        if rows:
            connection.execute(self.insert(_effects).on_conflict_do_nothing(), rows)

    async def standings(self, effect_id: str) -> dict[str, Standing]:
        """How every known target of an effect stands."""
        return await self.do(lambda connection: standings_of(connection, effect_id))

    async def forget(self, *, now_ms: int) -> int:
        """Deletes what was reported longer ago than `KEPT_MS`; returns how many rows."""
        before = {"before_ms": now_ms - KEPT_MS}
        return await self.do(lambda connection: connection.execute(_forget, before).rowcount)

    async def do(self, operation: Callable[[Connection], Result]) -> Result:
        """The result of an operation once its transaction is committed. Raises what any operation of it raises."""
        if len(self._waiting) >= WAITING_MAX:
            raise OverflowError(f"{WAITING_MAX} operations wait for the ledger")
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="ledger")
        return await done

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                results = await loop.run_in_executor(self._thread, self._commit, [each for each, _ in batch])
            except Exception as error:  # noqa: BLE001  it belongs to those who wait
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for (_, done), result in zip(batch, results, strict=True):
                    if not done.done():
                        done.set_result(result)

    def _commit(self, operations: Sequence[Operation]) -> list[Any]:
        try:
            with self._engine.begin() as connection:
                return [operation(connection) for operation in operations]
        except DBAPIError as error:
            if len(operations) == 1 or getattr(error.orig, "sqlstate", None) != DEADLOCK:
                raise
            # Two workers with the same records in another order; one by one they can't wait for each other.
            return [result for operation in operations for result in self._commit([operation])]


def standings_of(connection: Connection, effect_id: str) -> dict[str, Standing]:
    """How every known target of an effect stands, within an operation."""
    rows = connection.execute(
        select(_effects.c.target, _effects.c.state, _effects.c.outcome).where(
            _effects.c.effect_id == effect_id
        )
    )
    return {
        target: Standing("unknown" if state == "claimed" else state, outcome)
        for target, state, outcome in rows
    }
