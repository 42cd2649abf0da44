"""Where records wait whose effect can't be done now, so that they hold up no others: a table in the ledger's database.

    read ─▶ handled ─▶ acknowledged                                  all is well
    read ─▶ turned away ─▶ written here ─▶ acknowledged ─▶ … ─▶ handled ─▶ deleted here

Why nothing is lost: a record is acknowledged to Kafka only once it stands here, on the disk, and is deleted only once its handler
has returned. A crash in between means that it is handled again, which the ledger's claims make harmless. A row belongs to the
worker that wrote it; when that worker's lease has run out another one adopts it.

The one rule: this table is not a copy of anything. Whoever throws the database away throws away mails and CRM entries. Rows hold
records as they were read, conversations included, until they are done.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)

from services.runtime.ledger import Ledger, inherit, living, metadata
from services.runtime.ports import InputRecord
from services.runtime.tracing import Headers

_parked = Table(
    "effects_parked",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("record_offset", BigInteger, primary_key=True),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("record_key", LargeBinary, nullable=True),
    Column("record_value", LargeBinary, nullable=True),
    Column("record_headers", LargeBinary, nullable=True),
    Column("queue", String(300), nullable=False),
    Column("owner", String(160), nullable=False),
    Index("effects_parked_in_order", "owner", "queue", "timestamp_ms"),
)
_place = (_parked.c.topic, _parked.c.partition, _parked.c.record_offset)
_this_place = (
    _parked.c.topic == bindparam("of_topic"),
    _parked.c.partition == bindparam("of_partition"),
    _parked.c.record_offset == bindparam("of_offset"),
)
_adopt = update(_parked).where(_parked.c.owner.not_in(living)).values(owner=bindparam("me"))
_count = (
    select(
        _parked.c.queue, func.count().label("records"), func.min(_parked.c.timestamp_ms).label("oldest_ms")
    )
    .where(_parked.c.owner == bindparam("me"))
    .group_by(_parked.c.queue)
)
_move = update(_parked).where(*_this_place).values(queue=bindparam("to_queue"))
_done = delete(_parked).where(*_this_place)

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one queue: how many records, and when the oldest of them was written."""

    records: int
    oldest_ms: int


def place_of(record: InputRecord) -> Place:
    """Where a record stands in Kafka."""
    return record.topic, record.partition, record.offset


def keep(ledger: Ledger, connection: Connection, record: InputRecord, *, queue: str) -> None:
    """Within an operation: keep a record for this worker, whatever number of them there is."""
    row = {
        "topic": record.topic,
        "partition": record.partition,
        "record_offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "record_key": record.key,
        "record_value": record.value,
        "record_headers": _dumps(record.headers),
        "queue": queue,
        "owner": ledger.owner,
    }
    connection.execute(ledger.insert(_parked).on_conflict_do_nothing(), row)


class Parking:
    """The worker's rows of the table. `waiting` is how many there were when they were last counted, and have come since."""

    def __init__(self, ledger: Ledger, *, records_max: int) -> None:
        self._ledger = ledger
        self._records_max = records_max
        self.waiting = 0

    def limit(self, records_max: int) -> None:
        """From now on so many may wait."""
        self._records_max = records_max

    async def park(self, record: InputRecord, *, queue: str) -> bool:
        """Keep a record; return whether it may be acknowledged, which it may not when there are too many already."""
        if self.waiting >= self._records_max:
            return False
        await self._ledger.do(lambda connection: keep(self._ledger, connection, record, queue=queue))
        self.waiting += 1
        return True

    async def queues(self) -> Mapping[str, Waiting]:
        """Adopt what belongs to nobody any more, count, and return what waits in which queue."""

        def operation(connection: Connection) -> dict[str, Waiting]:
            ours = {"me": self._ledger.owner, "now_ms": self._ledger.now_ms()}
            if connection.execute(_adopt, ours).rowcount:
                # With their claims: an owner that comes back would hold what it no longer brings again.
                connection.execute(inherit, ours)
            rows = connection.execute(_count, {"me": self._ledger.owner}).all()
            return {row.queue: Waiting(row.records, row.oldest_ms) for row in rows}

        waiting = await self._ledger.do(operation)
        self.waiting = sum(each.records for each in waiting.values())
        return waiting

    async def oldest(self, queue: str, *, besides: Collection[Place], limit: int) -> list[InputRecord]:
        """Return the oldest records of a queue, those at `besides` left out."""
        query = select(_parked).where(_parked.c.owner == self._ledger.owner, _parked.c.queue == queue)
        if besides:
            query = query.where(tuple_(*_place).not_in(list(besides)))
        query = query.order_by(_parked.c.timestamp_ms).limit(limit)
        rows = await self._ledger.do(lambda connection: connection.execute(query).all())
        return [
            InputRecord(
                row.topic,
                row.partition,
                row.record_offset,
                row.timestamp_ms,
                row.record_key,
                row.record_value,
                _headers(row.record_headers),
            )
            for row in rows
        ]

    async def move(self, place: Place, *, to_queue: str) -> None:
        """Note that a record waits for something else now."""
        parameters = {**_parameters(place), "to_queue": to_queue}
        await self._ledger.do(lambda connection: connection.execute(_move, parameters))

    async def done(self, place: Place) -> None:
        """Delete a record whose effect is done."""
        await self._ledger.do(lambda connection: connection.execute(_done, _parameters(place)))


def _dumps(headers: Headers) -> bytes | None:
    return (
        orjson.dumps([(name, b64encode(value or b"").decode()) for name, value in headers])
        if headers
        else None
    )


def _headers(stored: bytes | None) -> Headers:
    return tuple((name, b64decode(value)) for name, value in orjson.loads(stored)) if stored else ()


def _parameters(place: Place) -> dict[str, object]:
    return dict(zip(("of_topic", "of_partition", "of_offset"), place, strict=True))
