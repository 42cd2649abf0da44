"""Draws a comparison: the waits and the queue's length over the day, before and after, as one SVG.

One rule: the same comparison gives the same bytes. The colours stand in the picture's own style sheet and follow the
reader's light or dark scheme, which is why no plotting library draws it: they fix them when they draw.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from textwrap import shorten
from typing import Literal, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined

from services.local.compare import Comparison
from services.local.measures import Day, percentile_s

_SECOND_MS = 1000
_DAY_MS = 24 * 3600 * _SECOND_MS
_INTERVALS_MAX = 96
_INTERVALS_S = (1, 5, 15, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
_TICKS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    24 * 3600,
)
_TIME_TICKS_MAX = 9
_VALUE_TICKS_MAX = 6
_TITLE_CHARS_MAX = 100
_WIDTH, _LEFT, _RIGHT = 960, 72, 24
_TOP, _PANEL, _GAP = 84, 210, 64

_ENVIRONMENT = Environment(
    loader=PackageLoader("services.local"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

Run: TypeAlias = Literal["before", "after"]
Kind: TypeAlias = Literal["high", "mean"]
_Values: TypeAlias = list[float | None]
"""One value for each interval of the day; None where there is nothing to show."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel; `path` is its SVG path."""

    run: Run
    kind: Kind
    path: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: its place in the picture, its ticks (place and text), and its lines."""

    title: str
    high: str
    """What the solid lines are; the dashed ones are means."""
    unit: str
    top: float
    ticks: list[tuple[float, str]]
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class _Axis:
    """The day's time, in equal intervals."""

    began_ms: int
    interval_ms: int
    count: int

    @property
    def ended_ms(self) -> int:
        return self.began_ms + self.interval_ms * self.count

    def x(self, at_ms: float) -> float:
        """Return a moment's place in the picture."""
        share = (at_ms - self.began_ms) / (self.ended_ms - self.began_ms)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def ticks(self) -> list[tuple[float, str]]:
        span_ms = self.ended_ms - self.began_ms
        step_ms = _step(span_ms, _TICKS_S, at_most=_TIME_TICKS_MAX)
        first_ms = -(-self.began_ms // step_ms) * step_ms
        form = "%m-%d %H:%M" if span_ms > _DAY_MS else "%H:%M" if step_ms >= 60 * _SECOND_MS else "%H:%M:%S"
        return [
            (self.x(at_ms), datetime.fromtimestamp(at_ms / _SECOND_MS, UTC).strftime(form))
            for at_ms in range(first_ms, self.ended_ms + 1, step_ms)
        ]


def draw(comparison: Comparison) -> str:
    """Return the picture. The day must not be empty."""
    days: dict[Run, Day] = {"before": comparison.before, "after": comparison.after}
    axis = _axis(list(days.values()))
    panels = [
        _panel(
            "Wait for an agent, of chats that were answered, by when they began to wait",
            "p90",
            "s",
            {run: _waits(day, axis) for run, day in days.items()},
            axis,
            top=_TOP,
        ),
        _panel(
            "Chats waiting",
            "most at once",
            "chats",
            {run: _queue(day, axis) for run, day in days.items()},
            axis,
            top=_TOP + _PANEL + _GAP,
        ),
    ]
    return _ENVIRONMENT.get_template("what_if.svg").render(
        title=shorten(f"What if {comparison.wanted}?", _TITLE_CHARS_MAX, placeholder=" …"),
        names=dict(zip(days, comparison.names, strict=True)),
        panels=panels,
        times=axis.ticks(),
        interval=_interval_said(axis.interval_ms),
        date=datetime.fromtimestamp(axis.began_ms / _SECOND_MS, UTC).strftime("%Y-%m-%d"),
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        width=_WIDTH,
        panel_height=_PANEL,
        height=_TOP + 2 * _PANEL + _GAP + 56,
    )


# ---------------------------------------------------------------- what is shown


def _axis(days: list[Day]) -> _Axis:
    began_ms = min(day.began_ms or 0 for day in days)
    ended_ms = max(day.ended_ms for day in days)
    interval_ms = _step(ended_ms - began_ms, _INTERVALS_S, at_most=_INTERVALS_MAX)
    first_ms = began_ms // interval_ms * interval_ms
    return _Axis(first_ms, interval_ms, (ended_ms - first_ms) // interval_ms + 1)


def _step(span_ms: int, steps_s: tuple[int, ...], *, at_most: int) -> int:
    """Return the least step in ms that divides a span into `at_most` parts; beyond the longest, whole days."""
    for step_s in steps_s:
        if span_ms <= step_s * _SECOND_MS * at_most:
            return step_s * _SECOND_MS
    return -(-span_ms // (at_most * _DAY_MS)) * _DAY_MS


def _waits(day: Day, axis: _Axis) -> dict[Kind, _Values]:
    """Return the p90 and the mean of the waits that began in each interval, in seconds."""
    begun: list[list[int]] = [[] for _ in range(axis.count)]
    for wait in day.waits:
        if wait.ended == "answered":
            begun[(wait.began_ms - axis.began_ms) // axis.interval_ms].append(wait.lasted_ms)
    return {
        "high": [percentile_s(sorted(lasted), 90) for lasted in begun],
        "mean": [sum(lasted) / len(lasted) / _SECOND_MS if lasted else None for lasted in begun],
    }


def _queue(day: Day, axis: _Axis) -> dict[Kind, _Values]:
    """Return the greatest and the mean number of waiting chats in each interval."""
    moments, lengths = [axis.began_ms], [0]
    for at_ms, length in day.queue():
        moments.append(at_ms)
        lengths.append(length)
    high: _Values = []
    mean: _Values = []
    for number in range(axis.count):
        begin_ms = axis.began_ms + number * axis.interval_ms
        end_ms = begin_ms + axis.interval_ms
        first, last = bisect_right(moments, begin_ms) - 1, bisect_right(moments, end_ms - 1)
        bounds = [begin_ms, *moments[first + 1 : last], end_ms]
        spent = sum(
            length * (until_ms - from_ms)
            for length, (from_ms, until_ms) in zip(lengths[first:last], pairwise(bounds), strict=True)
        )
        high.append(max(lengths[first:last]))
        mean.append(spent / axis.interval_ms)
    return {"high": high, "mean": mean}


# ---------------------------------------------------------------- how it is drawn


def _panel(
    title: str, high: str, unit: str, runs: dict[Run, dict[Kind, _Values]], axis: _Axis, *, top: float
) -> Panel:
    most = max(
        (value for values in runs.values() for value in values["high"] if value is not None), default=0
    )
    step = _nice_step(most)
    ceiling = max(step, -(-most // step) * step)

    def y(value: float) -> float:
        return round(top + _PANEL * (1 - value / ceiling), 1)

    ticks = [(y(number * step), f"{number * step:g}") for number in range(round(ceiling / step) + 1)]
    lines = [
        Line(run, kind, " ".join(_path(values, axis, y)))
        for run, kinds in runs.items()
        for kind, values in kinds.items()
    ]
    return Panel(title, high, unit, top, ticks, lines)


def _nice_step(most: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten, so that few reach the most."""
    step = 1.0
    while most > step * _VALUE_TICKS_MAX:
        step *= 2.5 if f"{step:g}".startswith("2") else 2
    return step


def _path(values: _Values, axis: _Axis, y: Callable[[float], float]) -> Iterator[str]:
    """Give a line that holds each interval's value for its length, and breaks where there is none."""
    drawn: float | None = None
    for number, value in enumerate(values):
        if value is not None:
            begin_ms = axis.began_ms + number * axis.interval_ms
            if value != drawn:
                yield f"{'M' if drawn is None else 'L'}{axis.x(begin_ms)},{y(value)}"
            yield f"H{axis.x(begin_ms + axis.interval_ms)}"
        drawn = value


def _interval_said(interval_ms: int) -> str:
    seconds = interval_ms // _SECOND_MS
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
