"""When the visitors of a day come. One rule: the same curve, count and generator state give the same times.

A curve is a list of bins of one day with a weight each. The number of chats of a bin follows its weight exactly (largest
remainder), and the times within a bin are drawn evenly.
"""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from services.local.errors import LocalError

DAY_MS = 24 * 3600 * 1000
_HOUR_MS = 3600 * 1000
_BIN_DEFAULT_MS = 5 * 60 * 1000
_ROWS_MAX = 1_000_000
_HOURLY_WEIGHTS = (4, 2, 1, 1, 1, 2, 5, 12, 30, 62, 84, 90, 70, 74, 82, 80, 74, 66, 52, 44, 40, 34, 22, 10)
"""The built-in day: a quiet night, a steep morning, a dip at lunch, a slow evening."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A part of the day and how many come in it, in any unit."""

    start_ms: int
    end_ms: int
    weight: float


def built_in_curve() -> list[Bin]:
    """Return the built-in day, hour by hour."""
    return [
        Bin(hour * _HOUR_MS, (hour + 1) * _HOUR_MS, weight) for hour, weight in enumerate(_HOURLY_WEIGHTS)
    ]


def read_curve(path: Path) -> list[Bin]:
    """Return the first day of a CSV file with the columns DateTime (start of a bin) and Calls (count).

    A bin lasts until the next one of that day, the last as long as the one before it. Raises LocalError.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = csv.DictReader(handle)
            counted = _first_day(path, rows)
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(
            f"{path} cannot be read as a CSV file of arrivals ({error}): name another."
        ) from error
    if sum(count for _, count in counted) <= 0:
        raise LocalError(
            f"{path} holds no arrivals: it needs the columns DateTime and Calls, and counts above 0."
        )
    starts = [start_ms for start_ms, _ in counted]
    last_ms = starts[-1] - starts[-2] if len(starts) > 1 else _BIN_DEFAULT_MS
    ends = [*starts[1:], min(starts[-1] + last_ms, DAY_MS)]
    return [Bin(start_ms, end_ms, count) for (start_ms, count), end_ms in zip(counted, ends, strict=True)]


def _first_day(path: Path, rows: "csv.DictReader[str]") -> list[tuple[int, float]]:
    """Return start (ms of the day) and count of each bin of the file's first day."""
    found: list[tuple[int, float]] = []
    day = None
    for row in rows:
        if rows.line_num > _ROWS_MAX:
            raise LocalError(f"{path} has more than {_ROWS_MAX} lines: cut it to the day that is wanted.")
        try:
            start = datetime.fromisoformat(row["DateTime"])
            count = float(row["Calls"])
        except (KeyError, ValueError, TypeError):
            raise LocalError(
                f"{path}:{rows.line_num}: the columns DateTime (such as 2003-03-03T07:00:00Z) and Calls (a number)"
                " are needed."
            ) from None
        if not 0 <= count < float("inf"):
            raise LocalError(f"{path}:{rows.line_num}: Calls must be a number of 0 or more.")
        day = day or start.date()
        if start.date() != day:
            break
        start_ms = round(
            (start.replace(tzinfo=UTC) - datetime(*day.timetuple()[:3], tzinfo=UTC)).total_seconds() * 1000
        )
        if found and start_ms <= found[-1][0]:
            raise LocalError(f"{path}:{rows.line_num}: the bins of a day must be in order of time.")
        found.append((start_ms, count))
    return found


def arrival_times(curve: list[Bin], *, count: int, day_ms: int, rng: Random) -> list[int]:
    """Return `count` times in order, in ms after midnight of a day that lasts `day_ms`."""
    total = sum(part.weight for part in curve)
    exact = [part.weight * count / total for part in curve]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(curve)), key=lambda index: (counts[index] - exact[index], index))
    for index in by_remainder[: count - sum(counts)]:
        counts[index] += 1
    times = [
        part.start_ms + rng.random() * (part.end_ms - part.start_ms)
        for part, wanted in zip(curve, counts, strict=True)
        for _ in range(wanted)
    ]
    return sorted(int(time * day_ms / DAY_MS) for time in times)
