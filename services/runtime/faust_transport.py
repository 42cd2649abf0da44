"""Faust's Kafka transport with the corrections without which it acts on aborted records and loses its place.

The one rule: an offset is committed only when every record below it is done. Faust 0.15.3 on its own does not keep that:
with `concurrency` above 1 it commits past a record that is still in flight, and behind a control marker it stops
committing. So the place is kept here, by `Place`, and Faust's lists of acknowledged offsets and gaps are not used.
This file reaches into private parts of faust-streaming, which is why its version is pinned;
`tests/runtime/test_faust_transport.py` shows on a real Kafka what each correction is for.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import notify

from services.runtime.logs import log

FETCH_WAIT_MAX_MS = 20
"""Faust's own 1,500 ms is how long a quiet partition would hold up a busy one."""
DRAIN_MAX_MS = 1_000
"""How long a rebalance waits for records in flight; what is left stays uncommitted, and the next owner looks after it too.

Much less than a session: no heartbeat is sent meanwhile, and whoever is expelled for it comes back with another rebalance.
"""


class Place:
    """How far one partition is done. Offsets are delivered in growing order and done in any order."""

    def __init__(self) -> None:
        self._in_flight: OrderedDict[int, None] = OrderedDict()
        self._next: int | None = None

    def delivered(self, offset: int) -> None:
        """Take note of a record that is handed out. Offsets left out in between hold nothing to be done."""
        self._in_flight[offset] = None
        self._next = offset + 1

    def done(self, offset: int) -> None:
        """Take note of a record that is done; an offset that is not in flight changes nothing."""
        self._in_flight.pop(offset, None)

    @property
    def waits(self) -> bool:
        """Whether anything that was delivered is not done."""
        return bool(self._in_flight)

    def committable(self) -> int | None:
        """Return the lowest offset that is not done, or None before anything was delivered."""
        return next(iter(self._in_flight), self._next)


class CommittedConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Reads committed records only, and answers within the transport's `fetch_wait_max_ms`."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Both are read when the consumer starts. Faust offers no setting for either outside its exactly-once mode.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        consumer._fetch_max_wait_ms = transport.fetch_wait_max_ms  # noqa: SLF001
        # Faust's default is a name, the empty one, and workers of one name expel each other for ever.
        consumer._group_instance_id = consumer._group_instance_id or None  # noqa: SLF001
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, unless the group is being joined; returns whether it was done.

        A commit that is sent while a join is under way is answered behind the join, with an error, and aiokafka then gives up
        the membership it has only just got. Two workers that commit steadily can keep each other from settling so for ever.
        """
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        joining = coordinator._performed_join_prepare or coordinator.generation < 0  # noqa: SLF001
        return not joining and await super()._commit(offsets)

    def position(self, tp: TP) -> int | None:
        """Return the offset after all that was fetched, markers included; None before it is known."""
        state = self._ensure_consumer()._subscription.subscription.assignment.state_value(tp)  # noqa: SLF001
        return None if state is None else state._position  # noqa: SLF001

    def on_crash(self, msg: str, *fmt: Any, **_named: Any) -> None:
        """Log what ended the thread; Faust prints it, past all redaction. The app's `crash_reason` holds it too."""
        log(__name__).error("consumer_thread_crashed", exc_info=fmt[-1] if fmt else msg)


class PlaceKeepingConsumer(driver.Consumer):  # type: ignore[misc]
    """Commits what `Place` says, and never waits for ever for its streams."""

    def __init__(
        self, transport: Any, callback: Callable[[Any], Awaitable[None]], *rest: Any, **named: Any
    ) -> None:
        self._places: dict[TP, Place] = {}
        self.drained = False

        async def deliver(message: Any) -> None:
            self._places.setdefault(message.tp, Place()).delivered(message.offset)
            await callback(message)

        super().__init__(transport, deliver, *rest, **named)

    def _new_consumer_thread(self) -> CommittedConsumerThread:
        return CommittedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def ack(self, message: Any) -> bool:
        """Take note of a record that is done."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        place = self._places.get(message.tp)
        if place is not None:
            place.done(message.offset)
        notify(self._waiting_for_ack)
        return True

    def place(self, tp: TP) -> int | None:
        """Return the lowest offset of a partition that is not done, or None before anything was delivered."""
        place = self._places.get(tp)
        return place.committable() if place is not None else None

    def lag(self, tp: TP) -> int | None:
        """Return how many offsets of a partition are not done, or None before anything was fetched.

        With nothing in flight it is what was not fetched: a transaction's marker at the end is nobody's work.
        """
        end, place = self.highwater(tp), self._places.get(tp)
        at = place.committable() if place is not None and place.waits else self._thread.position(tp)
        return None if end is None or at is None else max(0, end - at)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: `Place` needs no gaps. Faust's own counts the record after the gap into it."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._places if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self.place(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Wait for what is in flight and commit it, then forget the place: the next owner starts from the commit."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._places.pop(tp, None)
        # A record given up is never acknowledged, and the next drain must not wait for it.
        for message in [message for message in self._unacked_messages if message.tp in revoked]:
            self._unacked_messages.discard(message)

    async def wait_empty(self) -> None:
        """Wait for the records in flight, at most `DRAIN_MAX_MS` and not once `drained`, then commit what is done."""
        until = monotonic() + DRAIN_MAX_MS / 1000
        while not (self.should_stop or self.drained) and self._unacked_messages and monotonic() < until:
            await self.commit()
            await self._wait_for_ack(timeout=1)
            self._clean_unacked_messages()
        await self.commit_and_end_transactions()


class CommittedTransport(driver.Transport):  # type: ignore[misc]
    """The transport to give to a Faust app."""

    Consumer = PlaceKeepingConsumer

    def __init__(self, *rest: Any, fetch_wait_max_ms: int = FETCH_WAIT_MAX_MS, **named: Any) -> None:
        super().__init__(*rest, **named)
        self.fetch_wait_max_ms = fetch_wait_max_ms
