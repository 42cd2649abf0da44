"""Opening hours: whether a department is open at a moment, in its workspace's time zone.

The one rule: a span whose close is at or before its open ends on the next day; a closed date closes the spans that begin on it.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.events import Hours

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES_CACHED_MAX = 600


@lru_cache(maxsize=ZONES_CACHED_MAX)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def is_open(hours: Hours | None, *, timezone: str, at_ms: int) -> bool:
    """Whether `at_ms` (epoch milliseconds) lies in a span; no hours at all means always open."""
    if hours is None:
        return True
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(_zone(timezone)).replace(tzinfo=None)
    today = local.date()
    return any(_covers(hours, day, local) for day in (today, today - timedelta(days=1)))


def _covers(hours: Hours, day: date, local: datetime) -> bool:
    """Whether a span that begins on `day` holds the local wall-clock time."""
    if day.isoformat() in hours.closed_dates:
        return False
    name = DAYS[day.weekday()]
    for span in hours.weekly:
        if span.day != name:
            continue
        opens = _at(day, span.open)
        closes = _at(day, span.close)
        if closes <= opens:
            closes += timedelta(days=1)
        if opens <= local < closes:
            return True
    return False


def _at(day: date, clock: str) -> datetime:
    hour, minute = clock.split(":")
    return datetime(day.year, day.month, day.day, int(hour), int(minute))  # noqa: DTZ001 - wall-clock time
