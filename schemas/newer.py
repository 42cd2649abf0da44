"""What a newer version has stored beyond what this one knows: kept, and written back where it stood.

During a rolling upgrade, and on the way back, a worker gets partitions whose state a newer one has written. It reads what it knows;
the rest (a longer array, more names in an object) is found here by comparing what was stored with what this version would write.

The one rule: a part keeps its rest while it is the same thing: at the same place, and with the same first value, which is its id.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Newer:
    """What one array or object holds beyond its known values: `rest` of itself (of its kind), `parts` of those within by index or name."""

    first: Any
    rest: Any
    parts: dict[Any, "Newer"]


def newer(stored: Any, known: Any) -> Newer | None:
    """What `stored` holds beyond `known`, which this version makes of it; both are JSON. None where that is nothing."""
    if isinstance(stored, list) and isinstance(known, list):
        within = dict(enumerate(zip(stored, known, strict=False)))
        rest: Any = stored[len(known) :]
    elif isinstance(stored, dict) and isinstance(known, dict):
        within = {name: (stored[name], value) for name, value in known.items() if name in stored}
        rest = {name: value for name, value in stored.items() if name not in known and value is not None}
    else:
        return None
    found = {place: newer(*pair) for place, pair in within.items()}
    parts = {place: part for place, part in found.items() if part is not None}
    return Newer(_first(known), rest, parts) if rest or parts else None


def written_back(known: Any, kept: Newer) -> Any:
    """`known`, JSON that this version has written, with what was kept of a value that may have changed since."""
    for place, part in kept.parts.items():
        there = place in known if isinstance(known, dict) else place < len(known)
        if there and isinstance(known[place], list | dict) and _first(known[place]) == part.first:
            known[place] = written_back(known[place], part)
    return {**known, **kept.rest} if isinstance(known, dict) else [*known, *kept.rest]


def _first(value: list[Any] | dict[str, Any]) -> Any:
    """The first value; None for a collection, whose first is itself a part."""
    first = next(iter(value.values() if isinstance(value, dict) else value), None)
    return None if isinstance(first, list | dict) else first
