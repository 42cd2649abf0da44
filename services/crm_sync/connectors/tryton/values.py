"""Reads values as Tryton's JSON has them.

The one rule: a field over a relation stands under the relation's name with a dot, `None` where the relation is empty.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.outcomes import CrmOwner

OWNER = ("employee.party.code", "employee.party.rec_name", "employee.party.email")
"""The fields of an opportunity that say who owns it."""


def owner_of(opportunity: Mapping[str, Any]) -> CrmOwner | None:
    """Return who owns an opportunity that was read with `OWNER`."""
    employee = opportunity["employee."]
    if employee is None:
        return None
    party = employee["party."]
    return CrmOwner(party["code"], name=party["rec_name"] or None, email=party["email"] or None)


def moment_ms(value: Mapping[str, int]) -> int:
    """Return a moment of Tryton's, which has no zone, as if it were one of UTC: moments of one server keep their order."""
    minute = datetime(value["year"], value["month"], value["day"], value["hour"], value["minute"], tzinfo=UTC)
    return int(minute.timestamp()) * 1000 + value["second"] * 1000 + value["microsecond"] // 1000


def text_of(value: Any) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "✓" if value else ""
        case {"__class__": "Decimal", "decimal": number}:
            return str(number)
        case {"__class__": "date"}:
            return "{year:04}-{month:02}-{day:02}".format(**value)
        case {"__class__": "datetime"}:
            return "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}".format(**value)
        case _:
            return str(value)
