"""The order of the stored fields stands: a changelog holds arrays without names, so a field may only be appended, with a default."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from schemas.stored import hints
from services.router.core.clock import Clock
from services.router.core.state import Entity

BASELINE = Path(__file__).parent / "stored_fields.json"


def entered(hint: Any, found: dict[str, list[str]]) -> None:
    """Enters the dataclasses a type is made of, with the names of their fields in order."""
    for part in get_args(hint):
        entered(part, found)
    if isinstance(hint, type) and is_dataclass(hint) and hint.__name__ not in found:
        found[hint.__name__] = [field.name for field in fields(hint)]
        for part in hints(hint).values():
            entered(part, found)


def test_stored_fields_stand_in_the_order_they_were_stored_in() -> None:
    """Where this fails, append the new field at the end, give it a default, and append its name to the baseline too."""
    found: dict[str, list[str]] = {}
    entered(Clock | Entity, found)
    assert found == json.loads(BASELINE.read_text())
