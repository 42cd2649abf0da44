"""What if: the figures of a day under its own settings and under others, side by side.

One rule: what can't differ is said. In a log people do again what they did, whatever they are asked; only a scenario that
is acted out afresh lets them react.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any, Literal

from services.local.errors import LocalError
from services.local.measures import Day, Figures, observe
from services.local.replay import Overrides
from services.router.core.offline import Happening

TARGET_DEFAULT_S = 20.0
WIDTH = 80
DEPARTMENTS_NAMED_MAX = 20
AGENTS_SHOWN_MAX = 10
"""Agents named one by one in the text, those with the most chats first; the JSON names all."""

Unit = Literal["count", "seconds", "rate", "ratio"]
_LABEL_CHARS, _COLUMN_CHARS = 46, 11

_ROWS: dict[str, tuple[tuple[str, str, Unit], ...]] = {
    "What people did": (
        ("chats requested", "requested", "count"),
        ("bots asked for an agent", "bot_transfers", "count"),
        ("visitors left or ended the chat", "visitors_gone", "count"),
        ("offers accepted by agents", "accepts", "count"),
        ("offers declined by agents", "declines", "count"),
        ("agents online at some time", "agents_online", "count"),
    ),
    "Waits for an agent": (
        ("waits", "waited", "count"),
        ("  answered", "answered", "count"),
        ("  abandoned by the visitor", "abandoned", "count"),
        ("  given up by the service", "given_up", "count"),
        ("  not over at the end", "still_waiting", "count"),
        ("mean wait", "wait_mean_s", "seconds"),
        ("p90 wait", "wait_p90_s", "seconds"),
        ("p99 wait", "wait_p99_s", "seconds"),
        ("longest wait", "wait_max_s", "seconds"),
        ("service level, of answerable waits", "service_level_answerable", "rate"),
        ("service level, of all waits", "service_level_offered", "rate"),
        ("abandonment", "abandonment", "rate"),
    ),
    "What became of the chats": (
        ("refused requests", "refused", "count"),
        ("reopened", "reopened", "count"),
        ("handled", "handled", "count"),
        ("handled by a bot", "handled_by_bot", "count"),
        ("not over at the end", "unfinished", "count"),
        ("missed", "missed", "count"),
    ),
    "Offers": (
        ("offers made", "offers", "count"),
        ("  agents asked by them", "rung", "count"),
        ("  rang out", "rang_out", "count"),
        ("answers in vain: no such offer was open", "answers_in_vain", "count"),
        ("agents marked away", "marked_away", "count"),
        ("chats taken back from their agent", "handed_back", "count"),
    ),
    "Load: chats assigned to each agent": (
        ("most", "load_max", "count"),
        ("mean", "load_mean", "ratio"),
        ("coefficient of variation", "load_variation", "ratio"),
    ),
}
FIXED_IN_LOG = ("requested", "bot_transfers", "visitors_gone", "accepts", "declines", "agents_online")
FIXED_IN_SCENARIO = ("requested", "agents_online")

_OF_A_LOG = (
    "= is fixed by the log: people do again what they did, at the same moment. No chat can be accepted before it was, so"
    " only mode auto gives it to an agent sooner. An answer only fits the offer it was given to: {after:,} answers met no"
    " open offer, {before:,} under the log's own settings, and nobody answers what was offered instead. What people would"
    " have done, a scenario acted out afresh shows: --scenario."
)
_OF_A_SCENARIO = (
    "= is fixed by the scenario: who comes when with what, who works when, and how each of them is wont to react."
    " What they do follows from what is decided."
)
_WAITS = (
    "A wait runs from the request, the bot's transfer or the reopening until a first agent has the chat. Abandoned: the"
    " visitor left or ended it before. Given up: it was missed before for another reason, at once where it was turned"
    " away. Wait times are of answered waits; percentiles by nearest rank."
)
_SERVICE = (
    "Service level, of answerable waits: answered within {target} / (answered + abandoned after {target}). Of all waits:"
    " answered within {target} / waits. Abandonment: abandoned / waits."
)
_LOAD = "Load counts the agents who were online; its coefficient of variation is the standard deviation / the mean."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one day."""

    before: Day
    after: Day
    wanted: str
    """What the second run's settings are called, `sales=new.json` say."""
    target_s: float
    acted: bool
    """Whether people reacted: a scenario was acted out twice."""

    @property
    def names(self) -> tuple[str, str]:
        """Return what the two runs are called."""
        return ("as written" if self.acted else "recorded"), "what if"

    @property
    def fixed(self) -> tuple[str, ...]:
        """Return the figures that can't differ."""
        return FIXED_IN_SCENARIO if self.acted else FIXED_IN_LOG

    def figures(self) -> tuple[Figures, Figures]:
        """Return the figures of both."""
        return self.before.figures(target_s=self.target_s), self.after.figures(target_s=self.target_s)


def compare(
    run: Callable[[Overrides], Iterable[Happening]],
    overrides: Overrides,
    *,
    wanted: str,
    target_s: float,
    acted: bool,
) -> Comparison:
    """Run a day under its own settings and under others. Raises LocalError where there is nothing to compare."""
    before = observe(run({}))
    if not before.figures(target_s=target_s).requested:
        raise LocalError(
            "There is nothing to compare: no chat is requested in the file, or none up to --until."
        )
    unknown = sorted(overrides.keys() - before.department_ids)
    if unknown:
        known = sorted(before.department_ids)
        named = ", ".join(known[:DEPARTMENTS_NAMED_MAX]) or "none"
        more = f" and {len(known) - DEPARTMENTS_NAMED_MAX} more" if len(known) > DEPARTMENTS_NAMED_MAX else ""
        raise LocalError(
            f"--routing: no department {unknown[0]} is configured there; these are: {named}{more}."
        )
    return Comparison(before, observe(run(overrides)), wanted, target_s, acted)


def record(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for programs."""
    before, after = comparison.figures()
    return {
        "what_if": comparison.wanted,
        "acted": comparison.acted,
        "target_s": comparison.target_s,
        "fixed": comparison.fixed,
        "before": asdict(before),
        "after": asdict(after),
    }


def lines(comparison: Comparison) -> Iterator[str]:
    """Give the comparison for people, in lines of at most 80 characters."""
    before, after = comparison.figures()
    yield from wrap(f"What if {comparison.wanted}?", WIDTH)
    for section, rows in _ROWS.items():
        yield ""
        yield section.ljust(_LABEL_CHARS) + "".join(
            name.rjust(_COLUMN_CHARS) for name in (*comparison.names, "change")
        )
        for label, name, unit in rows:
            marked = f"  {label} =" if name in comparison.fixed else f"  {label}"
            yield _row(marked, getattr(before, name), getattr(after, name), unit)
            if name == "missed":
                reasons = sorted(before.missed_by_reason.keys() | after.missed_by_reason.keys())
                yield from _counts(reasons, before.missed_by_reason, after.missed_by_reason)
        if rows[0][1] == "load_max":
            yield from _busiest(before.load_by_agent, after.load_by_agent)
    fixed = _OF_A_SCENARIO if comparison.acted else _OF_A_LOG
    for note in (fixed, _WAITS, _SERVICE, _LOAD):
        yield ""
        told = note.format(
            target=f"{comparison.target_s:g} s", before=before.answers_in_vain, after=after.answers_in_vain
        )
        yield from wrap(told, WIDTH)


def _busiest(before: dict[str, int], after: dict[str, int]) -> Iterator[str]:
    """Give the agents with the most chats in either run."""
    most = {agent: max(before.get(agent, 0), after.get(agent, 0)) for agent in before.keys() | after.keys()}
    ranked = sorted(most, key=lambda agent: (-most[agent], agent))
    yield from _counts(ranked[:AGENTS_SHOWN_MAX], before, after)
    if len(ranked) > AGENTS_SHOWN_MAX:
        yield f"    and {len(ranked) - AGENTS_SHOWN_MAX} more, with --json"


def _counts(labels: list[str], before: dict[str, int], after: dict[str, int]) -> Iterator[str]:
    for label in labels:
        yield _row(f"    {label}", before.get(label, 0), after.get(label, 0), "count")


def _row(label: str, before: float | None, after: float | None, unit: Unit) -> str:
    change = "" if before is None or after is None or before == after else _told(after - before, unit, "+")
    cells = (_told(before, unit), _told(after, unit), change)
    kept = label if len(label) < _LABEL_CHARS else f"{label[: _LABEL_CHARS - 2]}…"
    return (kept.ljust(_LABEL_CHARS) + "".join(cell.rjust(_COLUMN_CHARS) for cell in cells)).rstrip()


def _told(value: float | None, unit: Unit, sign: Literal["", "+"] = "") -> str:
    if value is None:
        return "–"
    match unit:
        case "count":
            return f"{value:{sign},}"
        case "seconds":
            return f"{value:{sign},.1f} s"
        case "rate":
            return f"{value * 100:{sign}.1f} {'pp' if sign else '%'}"
        case "ratio":
            return f"{value:{sign},.3f}"
