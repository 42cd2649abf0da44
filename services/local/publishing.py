"""Puts records into `chat.events.v1`, as a frontend does. One rule: key = workspace id, Kafka's default partitioner."""

import time
from asyncio import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import codec
from schemas.events import RouterTick
from schemas.topics import EVENTS
from services.local.crowd import Published
from services.local.errors import LocalError
from services.local.input_log import SNAPSHOT_TYPE
from services.local.scenario import Poisoned
from services.local.topic_log import reached, start

_LINGER_MS = 5


def wall_ms() -> int:
    """Return the time of day in ms since the epoch."""
    return time.time_ns() // 1_000_000


class Publisher:
    """A plain idempotent producer, as a context manager. On leaving, everything was delivered, or LocalError is raised."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer = AIOKafkaProducer(
            **reached(bootstrap).client(), enable_idempotence=True, linger_ms=_LINGER_MS
        )
        self._failure: BaseException | None = None
        self.count = 0

    async def __aenter__(self) -> Self:
        await start(self._producer, self._bootstrap)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        await self._producer.stop()
        if kind is None:
            self._raise_failure()

    async def publish(self, published: Published) -> None:
        """Publish what somebody does, at the time of day."""
        if isinstance(published, Poisoned):
            await self.send(published.workspace_id.encode(), published.value.encode())
            return
        value = codec.encode(
            published.data,
            event_id=published.event_id,
            source=published.source,
            at_ms=wall_ms(),
            workspace_id=published.workspace_id,
        )
        await self.send(published.workspace_id.encode(), value)

    async def send(self, key: bytes | None, value: bytes) -> None:
        """Hand one record over. Waits when many are under way; raises LocalError when an earlier one failed."""
        self._raise_failure()
        try:
            delivery = await self._producer.send(EVENTS, value, key=key)
        except KafkaError as error:
            raise LocalError(
                f"Kafka refuses a record ({type(error).__name__}): look at its health."
            ) from error
        self.count += 1
        delivery.add_done_callback(self._delivered)

    def _delivered(self, delivery: "Future[Any]") -> None:
        if not delivery.cancelled() and delivery.exception() is not None:
            self._failure = self._failure or delivery.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise LocalError(
                f"A record was not delivered ({type(self._failure).__name__}): look at Kafka's health."
            ) from self._failure


async def publish_file(path: Path, *, bootstrap: str) -> int:
    """Publish each line of a file as it stands and return how many; a line without a workspace id goes without a key.

    The snapshot and the ticks of an export are the router's own and are left out.
    """
    async with Publisher(bootstrap) as publisher:
        with path.open("rb") as handle:
            for raw in handle:
                value = raw.rstrip(b"\r\n")
                kind, workspace_id = _address(value)
                if kind not in (SNAPSHOT_TYPE, RouterTick.TYPE):
                    await publisher.send(None if workspace_id is None else workspace_id.encode(), value)
    return publisher.count


def _address(value: bytes) -> tuple[object, str | None]:
    """Return type and workspace id of an envelope, None for what it does not have."""
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(envelope, dict):
        return None, None
    workspace_id = envelope.get("workspaceid")
    return envelope.get("type"), workspace_id if isinstance(workspace_id, str) else None
