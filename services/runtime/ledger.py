"""The ledger of external effects: what was begun, what came of it, and whether that was reported.

    new ─claim─▶ claimed ─settle─▶ settled ─report─▶ reported

The one rule: claim before doing, settle after, and never do again what is settled. A claim found without an outcome was
left by a crash: its outcome is *unknown*, and the caller decides, by asking the other side or by doing it again.
Nothing personal stands in it: targets are ids or hashes, outcomes are codes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypeVar

import stamina
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from services.runtime.database import open_single

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

_metadata = MetaData()
_effects = Table(
    "effects",
    _metadata,
    Column("effect_id", String(160), primary_key=True),
    Column("target", String(160), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("outcome", Text, nullable=True),
    Column("changed_ms", BigInteger, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one target of an effect stands. `outcome` is what `settle` was given."""

    state: Literal["new", "unknown", "settled", "reported"]
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
_forget = delete(_effects).where(
    _effects.c.state == "reported", _effects.c.changed_ms < bindparam("before_ms")
)


class Ledger:
    """The table of effects in a database. Use it as an async context manager.

    What is asked of it at the same time goes into one transaction, in a thread of its own: a commit for each of many
    small operations, and a change of threads for each statement, cost several times what the work itself does.
    """

    def __init__(self, url: str) -> None:
        """`url`: SQLAlchemy's, or plain `sqlite:///FILE` or `postgresql://…`."""
        self._engine = open_single(url)
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        self._claim = dialect.insert(_effects).on_conflict_do_nothing().returning(_effects.c.target)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._waiting: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().run_in_executor(self._thread, _metadata.create_all, self._engine)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def claim(self, effect_id: str, targets: Sequence[str], *, now_ms: int) -> dict[str, Standing]:
        """Claims what is new, and says how each target stood before: `new` ones are the caller's to do."""
        assert len(targets) <= TARGETS_MAX, "the caller bounds its targets"
        if not targets:
            return {}

        def operation(connection: Connection) -> dict[str, Standing]:
            claimed = {
                target
                for target in targets
                if connection.execute(
                    self._claim,
                    {"effect_id": effect_id, "target": target, "state": "claimed", "changed_ms": now_ms},
                ).scalar()
            }
            found = _standings(connection, effect_id) if len(claimed) < len(targets) else {}
            return {target: Standing("new") if target in claimed else found[target] for target in targets}

        return await self._do(operation)

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
                await self._do(lambda connection: connection.execute(_settle, rows))

    async def report(self, effect_id: str, targets: Sequence[str], *, now_ms: int) -> None:
        """Notes that the outcomes of these targets stand in their topic."""
        rows = [{"of_effect": effect_id, "of_target": target, "now_ms": now_ms} for target in targets]
        if rows:
            await self._do(lambda connection: connection.execute(_report, rows))

    async def standings(self, effect_id: str) -> dict[str, Standing]:
        """How every known target of an effect stands."""
        return await self._do(lambda connection: _standings(connection, effect_id))

    async def forget(self, *, now_ms: int) -> int:
        """Deletes what was reported longer ago than `KEPT_MS`; returns how many rows."""
        before = {"before_ms": now_ms - KEPT_MS}
        return await self._do(lambda connection: connection.execute(_forget, before).rowcount)

    async def keep_forgetting(self, now_ms: Callable[[], int]) -> None:
        """Keeps the table from growing for ever: forgets every `FORGET_INTERVAL_S`, until it is cancelled."""
        while True:
            await self.forget(now_ms=now_ms())
            await asyncio.sleep(FORGET_INTERVAL_S)

    async def _do(self, operation: Callable[[Connection], Result]) -> Result:
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
        with self._engine.begin() as connection:
            return [operation(connection) for operation in operations]


def _standings(connection: Connection, effect_id: str) -> dict[str, Standing]:
    rows = connection.execute(
        select(_effects.c.target, _effects.c.state, _effects.c.outcome).where(
            _effects.c.effect_id == effect_id
        )
    )
    return {
        target: Standing("unknown" if state == "claimed" else state, outcome)
        for target, state, outcome in rows
    }
