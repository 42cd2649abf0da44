"""The Faust app of a worker with side effects: records come in committed, are handled, and only then count as done.

The one rule: no exception ever reaches Faust's stream, which would acknowledge the record and drop it. A record that can't
be read goes to the dead-letter topic, one that can't be handled stops the worker uncommitted; none is passed over.
A handler may be called again with the same record after a crash or a rebalance, so it leans on a ledger: the old owner of a
partition finishes what it has begun, and the ledger keeps the new one from doing it too.
"""

import asyncio
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import faust
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.exceptions import ConsumerNotStarted

from schemas.codec import Codec
from services.runtime.effect_settings import EffectSettings
from services.runtime.effects import quiet_retries
from services.runtime.failures import WorkerFailed
from services.runtime.faust_transport import CommittedTransport
from services.runtime.handling import Handler, Handling, PlacedHandler, Room
from services.runtime.ledger import Ledger
from services.runtime.logs import log
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.runtime.reloading import Reloads
from services.runtime.tracing import carrying

CONCURRENCY_DEFAULT = 16
BUFFERED_RECORDS_MAX = 1_024
"""Records of one topic fetched and not yet handled."""
RECORD_BYTES_MAX = 8 * 1024 * 1024
WATCH_INTERVAL_S = 0.5
COMMIT_INTERVAL_S = 0.5
STOP_WAIT_MAX_S = 5.0
"""How long a stop waits for records in flight; what is left is as a crash would leave it."""


class EffectsApp:
    """One worker's consumer group, agents and producer. Build it inside the running loop that will run it."""

    def __init__(self, settings: EffectSettings, metrics: Metrics, ledger: Ledger) -> None:
        quiet_retries()
        self._settings = settings
        self._metrics = metrics
        self._log = log(__name__)
        self._handling = Handling(settings, metrics, ledger, self._send)
        self._stopping = False
        self._measured: set[Any] = set()
        self._folder = TemporaryDirectory(prefix="chat-effects-")
        self._app = self._new_app()

    def _new_app(self) -> Any:
        settings = self._settings
        app = faust.App(
            settings.group,
            broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
            broker_credentials=_credentials(settings),
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
        return app

    def on(
        self, topic: str, codec: Codec, handler: Handler, *, concurrency: int = CONCURRENCY_DEFAULT
    ) -> None:
        """Handles the records of `topic`, at most `concurrency` at a time and so in no certain order."""
        self.on_placed(topic, codec, lambda envelope, _place: handler(envelope), concurrency=concurrency)

    def on_placed(
        self, topic: str, codec: Codec, handler: PlacedHandler, *, concurrency: int = CONCURRENCY_DEFAULT
    ) -> None:
        """Handles records like `on`, by a handler that wants to know where each stands."""

        async def serve(stream: Any) -> None:
            # Faust acknowledges a record when the stream is closed or cancelled around it, too. So it is done by hand.
            stream.enable_acks = False
            async for event in stream.events():
                if self._stopping:
                    await asyncio.get_running_loop().create_future()  # it is cancelled here, not acknowledged
                await self._handling.settled(_record(event.message))
                event.ack()

        self._handling.on_placed(topic, codec, handler)
        source = self._app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(source, name=f"{self._settings.group}.{topic}", concurrency=concurrency)(serve)

    def on_parked(self, name: str, codec: Codec, handler: Handler) -> None:
        """Handles records that were never in Kafka: the worker itself puts them into the parking, as if they were of a topic."""
        self._handling.on(name, codec, handler)

    def bound(self, room: Room) -> None:
        """Brings parked records of a queue only as far as there is room for them."""
        self._handling.bound(room)

    def follow(self, reloads: Reloads) -> None:
        """Takes new limits while it runs."""
        self._handling.follow(reloads)

    def waits(self, queue: str) -> bool:
        """Whether any record of a queue was parked when that was last looked at."""
        return self._handling.waits(queue)

    async def write(self, topic: str, *, workspace_id: str, value: bytes) -> None:
        """Writes a record, with the trace context of the one it follows from, and waits until it stands in the log.

        Raises when it is not known to.
        """
        partition = await self._send(topic, key=workspace_id.encode(), value=value, headers=carrying())
        self._metrics.add("records_out", topic=topic, partition=str(partition))

    async def _send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """The partition the record stands in."""
        sending = self._app.producer.send_and_wait(topic, key, value, partition, None, list(headers))
        sent = await asyncio.wait_for(sending, self._settings.io_limit_s)
        return int(sent.partition)

    # ---------------------------------------------------------------- the process

    def unready(self) -> str:
        """Why the worker is not ready, or nothing: the question for `Health.ready_when`."""
        if self._stopping or self._handling.failure.done():
            return "stopping"
        return "" if self._assigned() else "no partitions assigned"

    def _assigned(self) -> set[Any]:
        consumer = self._app._consumer  # noqa: SLF001  `app.consumer` would make one
        if consumer is None or not self._app.started or self._app.rebalancing:
            return set()
        try:
            return set(consumer.assignment())
        except ConsumerNotStarted:  # its thread has yet to begin
            return set()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, finishes what is in flight and commits. Raises WorkerFailed when it can't go on."""
        working_off: asyncio.Task[None] | None = None
        try:
            await self._start()
            working_off = asyncio.create_task(self._handling.work_off(), name="parking")
            await self._until(stop)
        finally:
            self._stopping = True
            if working_off is not None:
                working_off.cancel()
                with suppress(asyncio.CancelledError):
                    await working_off
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
                waited: set[asyncio.Future[Any]] = {stopped, self._handling.failure}
                await asyncio.wait(waited, timeout=WATCH_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
                if self._handling.failure.done():
                    self._handling.failure.result()
                if self._app.crash_reason is not None:
                    raise WorkerFailed("Faust has given up: see the log above.") from self._app.crash_reason
                self._measure()
        finally:
            stopped.cancel()

    def _measure(self) -> None:
        assigned = self._assigned()
        self._metrics.set("partitions_assigned", len(assigned))
        self._metrics.set("effects_in_flight", self._handling.in_flight, kind="record")
        for topic, partition in self._measured - assigned:
            self._metrics.forget("lag_records", topic=topic, partition=str(partition))
        self._measured = assigned
        for tp in assigned:
            lag = self._app.consumer.lag(tp)
            if lag is not None:
                self._metrics.set("lag_records", lag, topic=tp.topic, partition=str(tp.partition))

    async def _end(self) -> None:
        await self._handling.end(limit_s=STOP_WAIT_MAX_S)
        if self._app._consumer is not None:  # noqa: SLF001  `app.consumer` would make one
            self._app.consumer.drained = True
        try:
            await asyncio.wait_for(self._app.stop(), self._settings.stop_limit_s)
        except TimeoutError:
            self._log.error("faust_not_stopped_in_time")
        finally:
            self._folder.cleanup()


def _record(message: Any) -> InputRecord:
    return InputRecord(
        message.topic,
        message.partition,
        message.offset,
        int(message.timestamp * 1000),
        message.key,
        message.value,
        tuple(message.headers or ()),
    )


def _credentials(settings: EffectSettings) -> Credentials | None:
    """What Faust calls the ways in that `KafkaSettings` knows."""
    reached = settings.client()
    if "sasl_mechanism" in reached:
        return SASLCredentials(
            username=reached["sasl_plain_username"],
            password=reached["sasl_plain_password"],
            ssl_context=reached["ssl_context"],
            mechanism=reached["sasl_mechanism"],
        )
    return SSLCredentials(reached["ssl_context"]) if "ssl_context" in reached else None
