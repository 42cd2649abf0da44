"""Tryton's card where the CRM's owner has added modules, and how its values read; the standard one is tested on a real Tryton."""

from typing import Any, cast

import pytest

from schemas.events import Layouts
from services.crm_sync.connectors.tryton import cards
from services.crm_sync.connectors.tryton.rpc import TrytonRpc
from services.crm_sync.connectors.tryton.values import moment_ms, text_of

DATE = {"__class__": "date", "year": 2026, "month": 11, "day": 1}
MOMENT = {
    "__class__": "datetime",
    "year": 2026,
    "month": 11,
    "day": 1,
    "hour": 9,
    "minute": 5,
    "second": 7,
    "microsecond": 120_999,
}


class Dictionary:
    """What Tryton says about its fields."""

    def __init__(self, *rows: tuple[str, str, str, str, str]) -> None:
        self._rows = rows

    async def search(self, *_: Any, **__: Any) -> list[dict[str, str]]:
        return [
            dict(zip(("model", "name", "string", "ttype", "module"), row, strict=True)) for row in self._rows
        ]


async def known() -> cards.Columns:
    dictionary = Dictionary(
        ("party.party", "tier", "Tier", "selection", "loyalty"),
        ("party.party", "guide", "Guide", "many2one", "travel"),
        ("party.party", "photo", "Photo", "binary", "travel"),
        ("party.party", "account_payable", "Payable", "many2one", "account"),
        ("party.party", "name", "Name", "char", "party"),
        ("party.party", "email", "Email", "char", "party"),
        ("party.party", "categories", "Categories", "many2many", "party"),
        ("sale.opportunity", "employee", "Employee", "many2one", "sale_opportunity"),
        ("sale.opportunity", "budget", "Budget", "numeric", "travel"),
    )
    return await cards.columns(cast("TrytonRpc", dictionary))


async def test_what_other_modules_add_is_custom_and_only_what_a_line_can_show() -> None:
    fields = {
        kind: [(one.field.name, one.field.custom, one.field.of_owner) for one in columns]
        for kind, columns in (await known()).items()
    }
    assert fields == {
        "lead": [("party.email", False, False), ("employee", False, True), ("budget", True, False)],
        "person": [
            ("name", False, False),
            ("email", False, False),
            ("categories", False, False),
            ("guide", True, False),
            ("tier", True, False),
        ],
    }


async def test_custom_fields_are_read_and_shown_as_laid_out() -> None:
    layout = cards.Layout(await known(), Layouts(lead=("budget",), person=("tier", "guide", "categories")))
    assert layout.of_person == ["rec_name", "tier:string", "guide.rec_name", "categories.rec_name"]
    party = {
        "rec_name": "Hanako",
        "tier:string": "Gold",
        "guide.": None,
        "categories.": [{"rec_name": "VIP"}, {"rec_name": "Kyoto"}],
    }
    budget = {"__class__": "Decimal", "decimal": "1200.50"}
    shown = [
        (section.kind, section.name, [one.value for one in section.fields])
        for section in layout.lead({"number": "7", "party.": party, "budget": budget})
    ]
    assert shown == [("lead", "Hanako", ["1200.50"]), ("person", "Hanako", ["Gold", "", "VIP, Kyoto"])]
    (alone,) = layout.lead({"number": "7", "party.": None, "budget": None})
    assert (alone.kind, alone.name, [one.value for one in alone.fields]) == ("lead", "7", [""])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "✓"),
        (False, ""),
        (0.5, "0.5"),
        ("花子", "花子"),
        (DATE, "2026-11-01"),
        (MOMENT, "2026-11-01 09:05"),
        ({"__class__": "Decimal", "decimal": "10"}, "10"),
    ],
)
def test_values_as_people_read_them(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_moments_keep_their_milliseconds() -> None:
    assert moment_ms({name: number for name, number in MOMENT.items() if isinstance(number, int)}) == (
        1_793_523_907_120
    )
