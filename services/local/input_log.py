"""The file form of an input log: one envelope of `chat.events.v1` a line, as `export` writes and `replay` reads it.

One rule: an envelope's own bytes are never rewritten; where it stood is spliced in behind them, as the extension
attributes `partition`, `offset` and `recordtime`. The first line of an export, `router.snapshot.v1`, is the state
where it begins; an empty one means the beginning of everything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from schemas import codec
from schemas.envelope import PartitionEnvelope, from_ms, to_ms
from schemas.types import Id
from services.router.core.partition import Entry

SNAPSHOT_TYPE = "router.snapshot.v1"
_TICK = re.compile(rb'"type"\s*:\s*"router\.tick\.v1"')


@dataclass(frozen=True, slots=True)
class _Place:
    """The attributes of a line which are not the codec's."""

    type: Id
    time: AwareDatetime
    partition: int | None = None
    offset: int | None = None
    recordtime: AwareDatetime | None = None
    workspaceid: Id | None = None


_PLACES: TypeAdapter[_Place] = TypeAdapter(_Place)


class BadLine(Exception):
    """A line which is not a sound envelope; `number` counts from 1. The reason names no value of the line."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason


def line(value: bytes, *, partition: int, offset: int, at_ms: int) -> bytes:
    """Return a record's envelope as one line of a log, line end included."""
    body = value.replace(b"\r", b" ").replace(b"\n", b" ").rstrip()
    assert body.endswith(b"}"), "only envelopes which were read as such are exported"
    place = b',"partition":%d,"offset":%d,"recordtime":"%s"}\n' % (partition, offset, from_ms(at_ms).encode())
    return body[:-1].rstrip() + place


def empty_snapshot(*, at_ms: int) -> bytes:
    """Return the first line of a log that begins where everything begins."""
    envelope = {
        "specversion": "1.0",
        "id": "snapshot-0",
        "source": "/services/router",
        "type": SNAPSHOT_TYPE,
        "time": from_ms(at_ms),
        "data": {"partitions": []},
    }
    return orjson.dumps(envelope) + b"\n"


def holds_ticks(path: Path) -> bool:
    """Return whether a tick stands anywhere in the file."""
    with path.open("rb") as handle:
        return any(_is_tick(raw) for raw in handle if _TICK.search(raw))


def _is_tick(raw: bytes) -> bool:
    try:
        return isinstance(codec.events.decode(raw), PartitionEnvelope)
    except (codec.Poison, codec.UnknownType):
        return False


def read(path: Path) -> Iterator[Entry]:
    """Give the entries of a log; lines of unknown types give none. Raises BadLine where a line can't be read.

    A line without a place: partition 0, offset = line - 1, record time = its `time`, never before the previous line's.
    """
    last_ms: int | None = None
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            place = _place(raw, number)
            at_ms = to_ms(place.time if place.recordtime is None else place.recordtime)
            if place.recordtime is None and last_ms is not None:
                at_ms = max(at_ms, last_ms)
            last_ms = at_ms
            if place.type == SNAPSHOT_TYPE:
                _demand_empty(raw, number)
                continue
            try:
                envelope = codec.events.decode(raw)
            except codec.UnknownType:
                continue
            except codec.Poison as error:
                raise BadLine(number, str(error)) from None
            offset = number - 1 if place.offset is None else place.offset
            yield Entry(envelope, place.partition or 0, offset, at_ms)


def _place(raw: bytes, number: int) -> _Place:
    try:
        return _PLACES.validate_json(raw, strict=True)
    except ValidationError:
        # The codec says what is wrong with an envelope; what is left is about the place.
        try:
            codec.events.decode(raw)
        except codec.Poison as error:
            raise BadLine(number, str(error)) from None
        except codec.UnknownType:
            pass
        raise BadLine(
            number, "partition and offset: whole numbers were expected; recordtime: an RFC 3339 time"
        ) from None


def _demand_empty(raw: bytes, number: int) -> None:
    data: Any = orjson.loads(raw).get("data")
    if number != 1:
        raise BadLine(number, f"{SNAPSHOT_TYPE}: it may only stand on the first line")
    if not isinstance(data, dict) or data.get("partitions") != []:
        raise BadLine(
            number,
            f"{SNAPSHOT_TYPE}: this version reads logs from their beginning; an empty one was expected",
        )
