"""What becomes of each record of a worker with side effects: handled, refused as unreadable, or parked and brought again.

The one rule: nobody's downstream holds up others, since the partitions of workspaces whose servers answer are those of workspaces
whose servers don't. So a record that was turned away (`Away`), or is still being handled after `slot_limit_ms`, is written to the
ledger's database (`parking` says why nothing is lost) and its slot is free. `work_off` brings each again, the oldest first, until
its handler returns. When too many are waiting, their partitions wait as well, and lag grows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import stamina
from structlog.contextvars import bound_contextvars

from schemas.codec import Codec, Poison, UnknownType
from services.runtime import tracing
from services.runtime.deadletter import DeadLetterLimit, dead_letter
from services.runtime.draining import Draining
from services.runtime.effect_settings import EffectSettings
from services.runtime.effects import PARKED, Away
from services.runtime.failures import WorkerFailed
from services.runtime.ledger import Ledger
from services.runtime.logs import explain, log
from services.runtime.metrics import Metrics
from services.runtime.parking import Parking, Place, place_of
from services.runtime.ports import InputRecord
from services.runtime.reloading import Reloads
from services.runtime.wall_clock import now_ms

ATTEMPTS_MAX = 8
"""Tries of a record whose handler raises what it should not, before the worker stops."""
WAIT_MAX_S = 5.0
SLOW = "slow"
"""The queue of records that are parked while their handlers go on."""
LOOK_INTERVAL_S = 0.5
"""How often the parking is looked at, and how often a record that finds it full tries again."""
TRIED_MAX = 64
"""Records of one queue that are tried in turn while its downstream is away."""
WORKED_OFF_MAX = 32
"""Parked records of one queue that are brought again at a time."""

Result = TypeVar("Result")
Handler: TypeAlias = Callable[[Any], Awaitable[None]]
"""Takes a decoded envelope; returns when everything that follows from it is done and written. May be called again with it."""
PlacedHandler: TypeAlias = Callable[[Any, Place], Awaitable[None]]
"""A handler that also takes where the record stands."""
Room: TypeAlias = Callable[[str], int | None]
"""How many more parked records of a queue may be handled now; None where that has no bound of its own."""


class Send(Protocol):
    """Writes a dead letter, and returns when it stands in its topic."""

    async def __call__(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int,
        headers: tuple[tuple[str, bytes], ...],
    ) -> object:
        """Raises when it is not known to stand there."""


class Handling:
    """The records of one worker that are being handled, and those that wait. `failure` is set when it can't go on."""

    def __init__(self, settings: EffectSettings, metrics: Metrics, ledger: Ledger, send: Send) -> None:
        self._slot_limit_s = settings.slot_limit_ms / 1000
        self._metrics = metrics
        self._send = send
        self._log = log(__name__)
        self._dead_letters = DeadLetterLimit(settings.dead_letters_per_minute_max)
        self._parking = Parking(ledger, records_max=settings.parked_records_max)
        self._handlers: dict[str, tuple[Codec, PlacedHandler]] = {}
        self._in_flight: dict[Place, asyncio.Task[None]] = {}
        self._written_ms: dict[Place, int] = {}
        self._queues: dict[str, asyncio.Task[None]] = {}
        self._draining = Draining(metrics)
        self._room: Room = _unbounded
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def follow(self, reloads: Reloads) -> None:
        """Takes new limits while it runs."""
        limits = {
            "slot_limit_ms": self._limit_slots,
            "parked_records_max": self._parking.limit,
            "dead_letters_per_minute_max": self._dead_letters.limit,
        }
        for name, apply in limits.items():
            reloads.on(name, read=attrgetter(name), apply=apply)

    def _limit_slots(self, limit_ms: int) -> None:
        self._slot_limit_s = limit_ms / 1000

    def on(self, topic: str, codec: Codec, handler: Handler) -> None:
        """Names the handler of a topic's records."""
        self.on_placed(topic, codec, lambda envelope, _place: handler(envelope))

    def on_placed(self, topic: str, codec: Codec, handler: PlacedHandler) -> None:
        """Names the handler of a topic's records, one that wants to know where each stands."""
        self._handlers[topic] = (codec, handler)

    def bound(self, room: Room) -> None:
        """Brings parked records of a queue only as far as there is room for them."""
        self._room = room

    def waits(self, queue: str) -> bool:
        """Whether any record of a queue was parked when that was last looked at."""
        return queue in self._queues

    @property
    def in_flight(self) -> int:
        """How many records are being handled."""
        return len(self._in_flight)

    async def settled(self, record: InputRecord) -> None:
        """Returns when a record is done, or kept where it is not lost. Never returns when it is neither: see `failure`.

        Cancelling this does not cancel the handling, which may be in the middle of an effect.
        """
        while True:
            handling = self._handled(record)
            await asyncio.wait({handling}, timeout=self._slot_limit_s)
            queue = SLOW
            if handling.done():
                error = await _outcome(handling)
                if error is None:
                    return
                queue = error.queue
            try:
                with bound_contextvars(**tracing.about(record)):
                    if await self._retried(lambda: self._parking.park(record, queue=queue)):  # noqa: B023
                        self._log.debug("parked", queue=queue)
                        return
            except Exception as error:  # noqa: BLE001 - the boundary: nothing may reach the stream
                self._fail(record, error)
                await _stand_still()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _handled(self, record: InputRecord, *, parked: bool = False) -> asyncio.Task[None]:
        """The task that handles a record. There is one at a time: a rebalance may hand a record out again."""
        place = place_of(record)
        if place not in self._in_flight:
            handling = asyncio.create_task(self._handle(record, parked=parked), name="record")
            self._in_flight[place] = handling
            self._written_ms[place] = record.timestamp_ms
            handling.add_done_callback(lambda done: self._ended(record, done))
        return self._in_flight[place]

    def _ended(self, record: InputRecord, handling: asyncio.Task[None]) -> None:
        del self._in_flight[place_of(record)], self._written_ms[place_of(record)]
        error = None if handling.cancelled() else handling.exception()
        if error is not None and not isinstance(error, Away):
            self._fail(record, error)

    async def _handle(self, record: InputRecord, *, parked: bool) -> None:
        PARKED.set(parked)  # for this task and those it makes
        codec, handler = self._handlers[record.topic]
        with tracing.handling(record):
            try:
                envelope = _decoded(codec, record)
            except Poison as poison:
                reason = poison
                await self._retried(lambda: self._refuse(record, reason))
            except UnknownType:
                self._metrics.add("unknown_types")
            else:
                tracing.read(envelope.workspaceid, getattr(envelope.data, "chat_id", None))
                await self._retried(lambda: handler(envelope, place_of(record)))
        self._metrics.add("records_in", topic=record.topic, partition=str(record.partition))

    async def _retried(self, do: Callable[[], Awaitable[Result]]) -> Result:
        """What handlers raise is unforeseen, the downstream's failures being their business: a few tries, then up."""
        tries = stamina.retry_context(
            # Being cancelled is no failure: it would be begun again.
            on=lambda error: isinstance(error, Exception) and not isinstance(error, WorkerFailed | Away),
            attempts=ATTEMPTS_MAX,
            timeout=None,
            wait_initial=0.1,
            wait_max=WAIT_MAX_S,
            wait_jitter=0.1,
        )
        async for attempt in tries:
            with attempt:
                try:
                    return await do()
                except (WorkerFailed, Away):
                    raise
                except Exception:
                    self._metrics.add("task_failures")
                    self._log.warning("handling_failed", attempt=attempt.num, exc_info=True)
                    raise
        raise AssertionError("stamina returns or raises")

    async def _refuse(self, record: InputRecord, poison: Poison) -> None:
        topic, row = dead_letter(record, poison)
        with self._dead_letters.room({record.topic: 1}, now_ms=now_ms()):
            await self._send(
                topic, key=row.key, value=row.value, partition=record.partition, headers=row.headers
            )
        self._metrics.add("dead_letters", topic=record.topic)
        self._log.warning("dead_letter", reason=str(poison))

    def _fail(self, record: InputRecord, error: BaseException) -> None:
        if isinstance(error, WorkerFailed):
            failure = error
        else:
            failure = WorkerFailed(
                f"Record {record.offset} of {record.topic}, partition {record.partition}, could not be handled in "
                f"{ATTEMPTS_MAX} tries ({type(error).__name__}): stopped before it is passed over."
            )
            failure.__cause__ = error
        if not self.failure.done():
            self.failure.set_exception(failure)

    # ---------------------------------------------------------------- what is parked

    async def work_off(self) -> None:
        """Brings parked records again, those of an earlier life and of workers that are gone included, until cancelled."""
        try:
            while True:
                try:
                    queues = await self._parking.queues()
                except Exception as error:  # noqa: BLE001 - what waits goes on waiting, and is looked for again
                    self._log.warning("parking_not_read", error=explain(error))
                else:
                    self._metrics.set("effects_parked", self._parking.waiting)
                    self._draining.measure(queues, in_flight_ms=self._written_ms.values(), now_ms=now_ms())
                    for queue in queues:
                        if queue not in self._queues:
                            self._queues[queue] = asyncio.create_task(self._work_off(queue), name="queue")
                await asyncio.sleep(LOOK_INTERVAL_S)
        finally:
            for working in self._queues.values():
                working.cancel()

    async def _work_off(self, queue: str) -> None:
        """Brings what waits in one queue. While its downstream is away one record at a time asks for its return."""
        at_a_time = 1
        tried: set[Place] = set()
        try:
            while True:
                room = self._room(queue)
                if room is not None and room <= 0:
                    await asyncio.sleep(LOOK_INTERVAL_S)
                    continue
                besides = tried.union(self._in_flight)
                limit = at_a_time if room is None else min(at_a_time, room)
                records = await self._parking.oldest(queue, besides=besides, limit=limit)
                if not records and not tried:
                    return
                waits_s = await asyncio.gather(*(self._again(record, queue) for record in records))
                wait_s = max(waits_s, default=0.0)
                # Each try is another record's: one that never succeeds must not hold up the others, nor keep the circuit open.
                tried.update(place_of(record) for record, wait in zip(records, waits_s, strict=True) if wait)
                if not records or len(tried) >= TRIED_MAX:
                    tried.clear()
                at_a_time = 1 if wait_s else min(2 * at_a_time, WORKED_OFF_MAX)
                await asyncio.sleep(wait_s)
        except Exception as error:  # noqa: BLE001 - what waits goes on waiting, and is looked for again
            self._log.warning("parking_not_worked_off", error=explain(error))
        finally:
            del self._queues[queue]

    async def _again(self, record: InputRecord, queue: str) -> float:
        """Handles a parked record again; returns for how many seconds its queue had better be left alone."""
        handling = self._handled(record, parked=True)
        await asyncio.wait({handling}, timeout=self._slot_limit_s)
        if not handling.done():
            return 0.0  # it goes on, and this record is looked at again once it has ended
        away = await _outcome(handling)
        place = place_of(record)
        if away is None:
            await self._parking.done(place)
            self._draining.left(queue)
        elif away.queue != queue:
            await self._parking.move(place, to_queue=away.queue)
        else:
            return away.retry_s
        return 0.0

    async def end(self, *, limit_s: float) -> None:
        """Waits for what is being handled; after the limit the rest is left as a crash would leave it."""
        left = set(self._in_flight.values())
        if left:
            _, left = await asyncio.wait(left, timeout=limit_s)
        for handling in left:
            handling.cancel()
        if left:
            self._log.info("records_left", records=len(left))
            await asyncio.wait(left, timeout=limit_s)


def _unbounded(_queue: str) -> None:
    """No queue has a bound of its own."""


async def _outcome(handling: asyncio.Task[None]) -> Away | None:
    """What turned a handled record away, if anything. Never returns when it was cancelled or failed: the worker ends."""
    error = asyncio.CancelledError() if handling.cancelled() else handling.exception()
    if error is not None and not isinstance(error, Away):
        await _stand_still()
    return error


async def _stand_still() -> NoReturn:
    """Never ends: it is cancelled here, with its record not acknowledged."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets that future")


def _decoded(codec: Codec, record: InputRecord) -> Any:
    envelope = codec.decode(record.value)
    if record.key != envelope.workspaceid.encode():
        raise Poison("the record's key is not its workspaceid")
    return envelope
