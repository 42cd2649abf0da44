"""Follows the CRM settings of all workspaces on `chat.notices.v1` and answers what a workspace's settings are.

The one rule: settings that were made before a chat ended apply to it. Notices and transcripts are two topics, so before a workspace counts
as having no CRM, everything that stood in the notices when its transcript was read has been read as well. Each worker follows all partitions
with a consumer of its own: it can say how far it is, which Faust's can't.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from sqlalchemy.exc import SQLAlchemyError

from schemas import codec
from schemas.notices import NoticeCrmConfigured
from schemas.topics import NOTICES
from services.crm_sync.store import Store
from services.runtime.connection import KafkaSettings
from services.runtime.failures import WorkerFailed
from services.runtime.logs import log

POLL_WAIT_MS = 200
RECORDS_MAX = 2_000
CATCH_UP_LIMIT_S = 60.0
SAVE_EVERY_RECORDS = 500
_MARK = NoticeCrmConfigured.TYPE.encode()

_log = log(__name__)


class Configuration:
    """The settings of all workspaces. `start` it, keep `run` running, ask with `of`, then `stop` it."""

    def __init__(self, kafka: KafkaSettings, store: Store, *, topic: str = NOTICES) -> None:
        self._store = store
        self._topic = topic
        # Without a group the consumer takes all partitions, later ones included.
        self._consumer = AIOKafkaConsumer(
            topic,
            **kafka.client(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=POLL_WAIT_MS,
        )
        self._settings: dict[str, NoticeCrmConfigured] = {}
        self._positions: dict[int, int] = {}
        self._saved: dict[int, int] = {}
        self._moved = asyncio.Condition()
        self._following = asyncio.Lock()
        self._stopping = False

    async def start(self) -> None:
        """Load what is remembered and begin where it ends. Raises WorkerFailed when Kafka or the topic is not there."""
        remembered = await self._store.load()
        self._settings = remembered.settings
        self._saved = remembered.positions
        try:
            await self._consumer.start()
        except UnknownTopicOrPartitionError as error:
            raise WorkerFailed(
                f"Kafka has no topic {self._topic}: create the topics with `chat-routing topics`."
            ) from error
        except KafkaError as error:
            raise WorkerFailed(
                "Kafka can't be reached: see whether it runs and CHAT_BOOTSTRAP names it."
            ) from error
        for place in self._consumer.assignment():
            if place.partition in remembered.positions:
                self._consumer.seek(place, remembered.positions[place.partition])

    async def run(self) -> None:
        """Follow the topic until `stop`. Raises WorkerFailed when that can't go on."""
        try:
            async with self._following:
                await self._follow()
        except (KafkaError, SQLAlchemyError) as error:
            raise WorkerFailed(
                f"The CRM settings on {self._topic} can't be followed any more ({type(error).__name__}): look at the brokers and "
                "at the database CHAT_LEDGER_URL names."
            ) from error

    async def _follow(self) -> None:
        while not self._stopping:
            batches = await self._consumer.getmany(timeout_ms=POLL_WAIT_MS, max_records=RECORDS_MAX)
            for place, records in batches.items():
                await self._take(place.partition, records)
            for place in self._consumer.assignment():
                # A position also passes the markers of transactions, which no record shows.
                self._positions[place.partition] = await self._consumer.position(place)
            async with self._moved:
                self._moved.notify_all()

    async def stop(self) -> None:
        """End `run` and let go of Kafka."""
        self._stopping = True
        async with self._following:  # the consumer may not be stopped under its reader
            await self._consumer.stop()

    async def of(self, workspace_id: str) -> NoticeCrmConfigured | None:
        """Return a workspace's settings, or None if it has none up to this moment.

        Raises WorkerFailed if the notices can't be read to their end.
        """
        known = self._settings.get(workspace_id)
        if known is not None:
            return known
        try:
            await asyncio.wait_for(self._catch_up(), CATCH_UP_LIMIT_S)
        except TimeoutError:
            raise WorkerFailed(
                f"{self._topic} could not be read to its end within {CATCH_UP_LIMIT_S:.0f} s, so the CRM settings of the "
                "workspaces are not known: look at the brokers, and at transactions that never end."
            ) from None
        return self._settings.get(workspace_id)

    async def _catch_up(self) -> None:
        # All partitions, so that nothing depends on how a producer chose the partition of a workspace.
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        async with self._moved:
            await self._moved.wait_for(
                lambda: all(self._positions.get(place.partition, 0) >= end for place, end in ends.items())
            )

    async def _take(self, partition: int, records: Iterable[Any]) -> None:
        fresh: dict[str, NoticeCrmConfigured] = {}
        next_offset = 0
        for record in records:
            next_offset = record.offset + 1
            if record.value is None or _MARK not in record.value:
                continue
            try:
                envelope = codec.notices.decode(record.value)
            except (codec.Poison, codec.UnknownType):
                continue  # the agent that reads all notices puts it into the dead letters
            if isinstance(envelope.data, NoticeCrmConfigured):
                fresh[envelope.workspaceid] = envelope.data
        if fresh or next_offset - self._saved.get(partition, 0) >= SAVE_EVERY_RECORDS:
            await self._store.save(fresh, partition=partition, next_offset=next_offset)
            self._saved[partition] = next_offset
        self._settings.update(fresh)
        if fresh:
            _log.info("crm settings read", partition=partition, workspaces=len(fresh))
