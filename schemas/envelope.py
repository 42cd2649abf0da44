"""The CloudEvents 1.0 envelope around every record, in structured JSON mode.

The one rule: inside the services time is integer milliseconds; RFC 3339 text exists only on the wire, and is made and read here.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from schemas.frozen import dataclass
from schemas.types import Audience, Id, Moment, Name

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, without the zone that `isoformat` would write
_MINUTE_MS = 60_000
_MINUTES_CACHED_MAX = 1_000
TypeName = TypeVar("TypeName")
Data = TypeVar("Data")


@dataclass(frozen=True, slots=True)
class Envelope(Generic[TypeName, Data]):
    """One event of one workspace; `data` is one of the contract's dataclasses."""

    specversion: Literal["1.0"]
    id: Id
    source: Name
    type: TypeName
    time: Moment
    workspaceid: Id
    data: Data
    audience: Audience | None = None


@dataclass(frozen=True, slots=True)
class PartitionEnvelope(Generic[TypeName, Data]):
    """An event of a whole partition, which names no workspace: the router's tick."""

    specversion: Literal["1.0"]
    id: Id
    source: Name
    type: TypeName
    time: Moment
    data: Data


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime."""
    return round(moment.timestamp() * 1000)


def from_ms(at_ms: int) -> str:
    """RFC 3339 text in UTC with milliseconds, such as `2026-11-21T09:00:00.000Z`."""
    return f"{_minute(at_ms // _MINUTE_MS)}:{at_ms % _MINUTE_MS / 1000:06.3f}Z"


@lru_cache(maxsize=_MINUTES_CACHED_MAX)
def _minute(number: int) -> str:
    """A minute as text: what many times have in common, and what takes longest to write."""
    return (_EPOCH + timedelta(minutes=number)).isoformat(timespec="minutes")
