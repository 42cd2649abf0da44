"""The order of the stored fields stands: a changelog holds arrays without names, so a field may only be appended, with a default.

So do their choices: a worker of the version before stops at a value it does not know (docs/upgrades.md).
"""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from schemas.stored import hints
from services.router.core.clock import Clock
from services.router.core.state import Entity

BASELINE = Path(__file__).parent / "stored_fields.json"


def choices(hint: Any) -> list[str]:
    """The values that a type is one of; none where it is open."""
    if get_origin(hint) is Literal:
        return sorted(get_args(hint))
    return [value for part in get_args(hint) for value in choices(part)]


def entered(hint: Any, found: dict[str, list[str]]) -> None:
    """Enters the dataclasses a type is made of, with the names of their fields in order, and their choices."""
    for part in get_args(hint):
        entered(part, found)
    if isinstance(hint, type) and is_dataclass(hint) and hint.__name__ not in found:
        of_fields = hints(hint)
        found[hint.__name__] = [
            " ".join((field.name, *choices(of_fields[field.name]))) for field in fields(hint)
        ]
        for part in of_fields.values():
            entered(part, found)


def test_stored_fields_stand_in_the_order_they_were_stored_in() -> None:
    """Where this fails, append the new field at the end, give it a default, and append its name to the baseline too.

    A new choice goes into the baseline with a version that reads it; the next version may store it.
    """
    found: dict[str, list[str]] = {}
    entered(Clock | Entity, found)
    assert found == json.loads(BASELINE.read_text())
