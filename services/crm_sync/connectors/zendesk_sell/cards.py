"""Which fields of Sell a card can show, and what stands in them.

The one rule: the section of a lead shows a deal as well, its contact's address and numbers among it; what one of the two lacks is empty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.records import Card, CardKind, Field, Section, Shown
from services.crm_sync.connectors.zendesk_sell.api import RECORD, Record, Sell
from services.crm_sync.connectors.zendesk_sell.lists import SellLists

OWNER, SOURCE, STAGE = "owner_id", "source_id", "stage_id"
_REACH = {"email": "Email", "phone": "Work phone", "mobile": "Mobile phone"}
_COMMON = {
    "website": "Website",
    "address": "Address",
    "industry": "Industry",
    "description": "Description",
    "tags": "Tags",
    "created_at": "Created",
    OWNER: "Owner",
}
_CONTACT = {"customer_status": "Customer status", "prospect_status": "Prospect status"}
STANDARD: Mapping[CardKind, Mapping[str, str]] = {
    "lead": {
        "name": "Name",
        **_REACH,
        "title": "Title",
        "organization_name": "Company",
        "status": "Status",
        SOURCE: "Source",
        STAGE: "Stage",
        "value": "Value",
        **_COMMON,
    },
    "person": {"name": "Name", **_REACH, "title": "Title", **_CONTACT, **_COMMON},
    "company": {"name": "Name", **_REACH, **_CONTACT, **_COMMON},
}
"""Sell's own fields with the labels its pages have."""
OF_CONTACT = frozenset(_REACH)
"""Fields that a deal shows of its contact."""


@dataclass(frozen=True, slots=True)
class _Names:
    """What the numbers in a record stand for."""

    owner: CrmOwner | None
    source: str
    stage: str


class SellCards:
    """Reads cards of one account."""

    def __init__(self, lists: SellLists) -> None:
        self._lists = lists

    async def fields(self) -> Mapping[CardKind, Sequence[Field]]:
        """Return the fields of each section, the standard ones first."""
        leads, deals, contacts = [
            (await self._lists.custom_fields(of)).values() for of in ("lead", "deal", "contact")
        ]
        own: Mapping[CardKind, Sequence[str]] = {
            "lead": [one.name for one in (*leads, *deals)],
            "person": [one.name for one in contacts if one.for_contact],
            "company": [one.name for one in contacts if one.for_organisation],
        }
        return {
            kind: (
                *(Field(name, label, of_owner=name == OWNER) for name, label in STANDARD[kind].items()),
                *(Field(name, name, custom=True) for name in dict.fromkeys(own[kind])),
            )
            for kind in STANDARD
        }

    async def card(self, record: CrmRecord, one: Record, *, layouts: Layouts, sell: Sell) -> Card:
        """Return the card of a record that was read."""
        known = await self.fields()

        async def section(kind: CardKind, shown: Record, *, reached: Record | None = None) -> Section:
            chosen = _laid_out(known[kind], getattr(layouts, kind))
            names = await self._names(shown)
            fields = tuple(Shown(field, _value(field, shown, reached or shown, names)) for field in chosen)
            return Section(kind, shown.called, fields)

        person = one if record.type == "contact" else None
        if record.type == "deal" and one.contact_id is not None:
            person = await sell.one(f"contacts/{one.contact_id}", RECORD)
        company = await _company(one, person, sell)
        sections: list[Section] = []
        if record.type != "contact":
            sections.append(await section("lead", one, reached=person))
        if person is not None and not person.is_organization:
            sections.append(await section("person", person))
        if company is not None:
            sections.append(await section("company", company))
        return Card(record, tuple(sections), await full_owner(one.owner_id, self._lists))

    async def _names(self, one: Record) -> _Names:
        return _Names(
            await full_owner(one.owner_id, self._lists), await self._source(one), await self._stage(one)
        )

    async def _source(self, one: Record) -> str:
        if one.source_id is None:
            return ""
        source = (await self._lists.sources()).get(one.source_id)
        return "" if source is None else source.name

    async def _stage(self, one: Record) -> str:
        if one.stage_id is None:
            return ""
        stage = (await self._lists.stages()).get(one.stage_id)
        return "" if stage is None else stage.name


async def full_owner(owner_id: int | None, lists: SellLists) -> CrmOwner | None:
    """Return an owner with name and address, as far as Sell knows them."""
    if owner_id is None:
        return None
    user = await lists.user(owner_id)
    return CrmOwner(str(owner_id)) if user is None else CrmOwner(str(owner_id), user.name, user.email)


async def _company(one: Record, person: Record | None, sell: Sell) -> Record | None:
    if person is None:
        # A lead's company is a name, and no record of its own.
        name = one.organization_name
        return None if name is None else Record(0, one.created_at, name=name)
    if person.is_organization or person.contact_id is None:
        return person if person.is_organization else None
    return await sell.one(f"contacts/{person.contact_id}", RECORD)


def _laid_out(known: Sequence[Field], names: Sequence[str]) -> Sequence[Field]:
    if not names:
        return [field for field in known if not field.custom]
    by_name = {field.name: field for field in known}
    return [by_name[name] for name in names if name in by_name]


def _value(field: Field, one: Record, reached: Record, names: _Names) -> str:
    if field.custom:
        return _text(one.custom_fields.get(field.name))
    special: Mapping[str, Callable[[], str]] = {
        "name": lambda: one.called,
        OWNER: lambda: "" if names.owner is None else names.owner.name or names.owner.id,
        SOURCE: lambda: names.source,
        STAGE: lambda: names.stage,
        "value": lambda: " ".join(part for part in (_text(one.value), one.currency) if part and one.value),
        "created_at": lambda: one.created_at.strftime("%Y-%m-%d %H:%M %Z"),
    }
    if field.name in special:
        return special[field.name]()
    return _text(getattr(reached if field.name in OF_CONTACT else one, field.name))


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "✓" if value else ""
        case list() | tuple():
            return ", ".join(_text(one) for one in value)
        case dict():
            return ", ".join(_text(one) for one in value.values() if one)
        case _:
            return str(value)
