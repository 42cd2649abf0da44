"""The Faust app of a worker with side effects: records come in committed, are handled, and only then count as done.

The one rule: no exception ever reaches Faust's stream, which would acknowledge the record and drop it. A record that can't
be read goes to the dead-letter topic, one that can't be handled stops the worker uncommitted; none is passed over.
A handler may be called again with the same record after a crash or a rebalance, so it leans on a ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import faust
import stamina

from schemas.codec import Codec, Poison, UnknownType
from services.runtime.deadletter import DeadLetterLimit, dead_letter
from services.runtime.effects import quiet_retries
from services.runtime.failures import WorkerFailed
from services.runtime.faust_transport import DRAIN_MAX_MS, CommittedTransport
from services.runtime.logs import log
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.runtime.settings import RuntimeSettings
from services.runtime.wall_clock import now_ms

CONCURRENCY_DEFAULT = 16
BUFFERED_RECORDS_MAX = 1_024
"""Records of one topic fetched and not yet handled."""
HANDLING_ATTEMPTS_MAX = 8
"""Tries of a record whose handler raises what it should not, before the worker stops."""
HANDLING_WAIT_MAX_S = 5.0
RECORD_BYTES_MAX = 8 * 1024 * 1024
WATCH_INTERVAL_S = 0.5
COMMIT_INTERVAL_S = 0.5

Handler: TypeAlias = Callable[[Any], Awaitable[None]]
"""Takes a decoded envelope; returns when everything that follows from it is done and written."""


def _decoded(codec: Codec, message: Any) -> Any:
    envelope = codec.decode(message.value)
    if message.key != envelope.workspaceid.encode():
        raise Poison("the record's key is not its workspaceid")
    return envelope


class EffectsApp:
    """One worker's consumer group, agents and producer. Build it inside the running loop that will run it."""

    def __init__(self, settings: RuntimeSettings, metrics: Metrics) -> None:
        quiet_retries()
        self._settings = settings
        self._metrics = metrics
        self._log = log(__name__)
        self._dead_letters = DeadLetterLimit(settings.dead_letters_per_minute_max)
        self._refusing = asyncio.Lock()
        self._in_flight: dict[tuple[str, int, int], asyncio.Task[None]] = {}
        self._stopping = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._folder = TemporaryDirectory(prefix="chat-effects-")
        self._app = self._new_app()

    def _new_app(self) -> Any:
        settings = self._settings
        app = faust.App(
            settings.group,
            broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
            store="memory://",
            datadir=self._folder.name,
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            processing_guarantee="at_least_once",
            stream_ack_cancelled_tasks=False,
            stream_ack_exceptions=False,
            stream_buffer_maxsize=BUFFERED_RECORDS_MAX,
            broker_commit_interval=COMMIT_INTERVAL_S,
            broker_commit_every=1_000,
            broker_session_timeout=settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
            broker_request_timeout=max(settings.io_limit_s, settings.session_timeout_ms / 1000),
            consumer_group_instance_id=settings.instance_id or "",
            consumer_auto_offset_reset="earliest",
            producer_acks=-1,
            producer_max_request_size=RECORD_BYTES_MAX,
            producer_request_timeout=settings.io_limit_s,
        )
        app.transport = CommittedTransport(
            app.conf.broker_consumer, app, fetch_wait_max_ms=settings.fetch_max_wait_ms
        )
        app.on_partitions_revoked.connect(self._revoked)  # sent once the transport has drained
        return app

    def on(
        self, topic: str, codec: Codec, handler: Handler, *, concurrency: int = CONCURRENCY_DEFAULT
    ) -> None:
        """Handles the records of `topic`, at most `concurrency` at a time and so in no certain order."""

        async def serve(stream: Any) -> None:
            # Faust acknowledges a record when the stream is closed or cancelled around it, too. So it is done by hand.
            stream.enable_acks = False
            async for event in stream.events():
                if self._stopping:
                    await self._parked()
                if await self._settled(topic, codec, handler, event.message):
                    event.ack()

        source = self._app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(source, name=f"{self._settings.group}.{topic}", concurrency=concurrency)(serve)

    async def write(self, topic: str, *, workspace_id: str, value: bytes) -> None:
        """Writes a record and waits until it stands in the log. Raises when it is not known to."""
        await self._send(topic, key=workspace_id.encode(), value=value)
        self._metrics.add("records_out", topic=topic)

    async def _send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        sent = self._app.producer.send_and_wait(topic, key, value, partition, None, list(headers))
        await asyncio.wait_for(sent, self._settings.io_limit_s)

    # ---------------------------------------------------------------- one record

    async def _settled(self, topic: str, codec: Codec, handler: Handler, message: Any) -> bool:
        """Whether the record is done; it isn't once its partition is revoked.

        It is handled once at a time: a rebalance may hand out a record again that is still being handled.
        """
        place = (topic, message.partition, message.offset)
        handling = self._in_flight.get(place)
        if handling is None:
            handling = asyncio.create_task(self._handle(topic, codec, handler, message), name="record")
            self._in_flight[place] = handling
            handling.add_done_callback(lambda _: self._in_flight.pop(place))
        try:
            await asyncio.wait({handling})
        except asyncio.CancelledError:
            handling.cancel()
            await asyncio.wait({handling})
            raise
        if handling.cancelled():
            return False
        error = handling.exception()
        if error is not None:  # the boundary: nothing may reach the stream
            self._fail(topic, message, error)
            await self._parked()
        return True

    async def _revoked(self, _app: Any, revoked: set[Any], **_named: Any) -> None:
        """Ends what the drain has left of these partitions: their next owner does it, and not two at once."""
        left = [
            handling
            for (topic, partition, _), handling in self._in_flight.items()
            if (topic, partition) in revoked
        ]
        for handling in left:
            handling.cancel()
        if left:
            self._log.info("records_left_to_the_next_owner", records=len(left))
            await asyncio.wait(left, timeout=DRAIN_MAX_MS / 1000)

    async def _handle(self, topic: str, codec: Codec, handler: Handler, message: Any) -> None:
        try:
            envelope = _decoded(codec, message)
        except Poison as poison:
            await self._retried(topic, self._refuse, message, poison)
        except UnknownType:
            self._metrics.add("unknown_types")
        else:
            await self._retried(topic, handler, envelope)
        self._metrics.add("records_in", topic=topic)

    async def _retried(self, topic: str, do: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """What handlers raise is unforeseen, the downstream's failures being their business: a few tries, then up."""
        tries = stamina.retry_context(
            on=lambda error: not isinstance(error, WorkerFailed),
            attempts=HANDLING_ATTEMPTS_MAX,
            timeout=None,
            wait_initial=0.1,
            wait_max=HANDLING_WAIT_MAX_S,
            wait_jitter=0.1,
        )
        async for attempt in tries:
            with attempt:
                try:
                    await do(*arguments)
                except WorkerFailed:
                    raise
                except Exception:
                    self._metrics.add("task_failures")
                    self._log.warning("handling_failed", topic=topic, attempt=attempt.num, exc_info=True)
                    raise

    async def _refuse(self, message: Any, poison: Poison) -> None:
        record = InputRecord(
            message.topic,
            message.partition,
            message.offset,
            int(message.timestamp * 1000),
            message.key,
            message.value,
            tuple(message.headers or ()),
        )
        topic, row = dead_letter(record, poison)
        async with self._refusing:  # one by one, so that the limit holds
            refused_ms = now_ms()
            self._dead_letters.check({message.topic: 1}, now_ms=refused_ms)
            await self._send(
                topic, key=row.key, value=row.value, partition=message.partition, headers=row.headers
            )
            self._dead_letters.committed(1, now_ms=refused_ms)
        self._metrics.add("dead_letters", topic=message.topic)
        self._log.warning(
            "dead_letter",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            reason=str(poison),
        )

    def _fail(self, topic: str, message: Any, error: BaseException) -> None:
        if isinstance(error, WorkerFailed):
            failure = error
        else:
            failure = WorkerFailed(
                f"Record {message.offset} of {topic}, partition {message.partition}, could not be handled in "
                f"{HANDLING_ATTEMPTS_MAX} tries ({type(error).__name__}): stopped before it is passed over."
            )
        failure.__cause__ = error
        if not self._failure.done():
            self._failure.set_exception(failure)

    async def _parked(self) -> None:
        """Never ends: the agent is cancelled here, with its record not acknowledged."""
        await asyncio.get_running_loop().create_future()

    # ---------------------------------------------------------------- the process

    def unready(self) -> str:
        """Why the worker is not ready, or nothing: the question for `Health.ready_when`."""
        if self._stopping or self._failure.done():
            return "stopping"
        return "" if self._assigned() else "no partitions assigned"

    def _assigned(self) -> set[Any]:
        consumer = self._app._consumer  # noqa: SLF001  `app.consumer` would make one
        if consumer is None or not self._app.started or self._app.rebalancing:
            return set()
        return set(consumer.assignment())

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, finishes what is in flight and commits. Raises WorkerFailed when it can't go on."""
        try:
            await self._start()
            await self._until(stop)
        finally:
            self._stopping = True
            await self._end()

    async def _start(self) -> None:
        try:
            await asyncio.wait_for(self._app.start(), self._settings.start_limit_s)
        except Exception as error:
            raise WorkerFailed(
                f"Kafka at {self._settings.bootstrap} can't be used within {self._settings.start_limit_s:g} s "
                f"({type(error).__name__}): see whether it runs and CHAT_BOOTSTRAP names it."
            ) from error

    async def _until(self, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stopped.done():
                waited: set[asyncio.Future[Any]] = {stopped, self._failure}
                await asyncio.wait(waited, timeout=WATCH_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
                if self._failure.done():
                    self._failure.result()
                if self._app.crash_reason is not None:
                    raise WorkerFailed("Faust has given up: see the log above.") from self._app.crash_reason
                self._measure()
        finally:
            stopped.cancel()

    def _measure(self) -> None:
        assigned = self._assigned()
        self._metrics.set("partitions_assigned", len(assigned))
        self._metrics.set("effects_in_flight", len(self._in_flight), kind="record")
        for tp in assigned:
            end, place = self._app.consumer.highwater(tp), self._app.consumer.place(tp)
            if end is not None and place is not None:
                self._metrics.set(
                    "lag_records", max(0, end - place), topic=tp.topic, partition=str(tp.partition)
                )

    async def _end(self) -> None:
        if self._in_flight:
            await asyncio.wait(set(self._in_flight.values()), timeout=DRAIN_MAX_MS / 1000)
        if self._app._consumer is not None:  # noqa: SLF001  `app.consumer` would make one
            self._app.consumer.drained = True
        try:
            await asyncio.wait_for(self._app.stop(), self._settings.stop_limit_s)
        except TimeoutError:
            self._log.error("faust_not_stopped_in_time")
        finally:
            self._folder.cleanup()
