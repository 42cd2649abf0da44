"""Cards of HubSpot's records: which properties they can show, and what stands in them.

    lead      a contact in a lead's stage, or a deal with its contact; a deal's properties are named `deal.amount` and so on
    person    any other contact
    company   the first company of either

The one rule: of HubSpot's own properties, some hundred, the few that tell an agent who is asking are shown; of the account's own, all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.events import Layouts
from services.crm_sync.connectors.hubspot.api import (
    COMPANIES,
    CONTACTS,
    DEALS,
    MARKER,
    PROPERTIES,
    Desk,
    Property,
    Record,
)
from services.crm_sync.connectors.hubspot.setup import OWN
from services.crm_sync.connectors.records import CardKind, Field, Section, Shown

STANDARD: Mapping[str, tuple[str, ...]] = {
    CONTACTS: (
        "firstname",
        "lastname",
        "email",
        "phone",
        "mobilephone",
        "jobtitle",
        "company",
        "lifecyclestage",
        "hs_lead_status",
        "city",
        "country",
    ),
    DEALS: ("dealname", "dealstage", "amount", "closedate"),
    COMPANIES: ("name", "domain", "industry", "phone", "city", "country", "numberofemployees"),
}
SECTIONS: Mapping[CardKind, tuple[str, ...]] = {
    "lead": (CONTACTS, DEALS),
    "person": (CONTACTS,),
    "company": (COMPANIES,),
}
"""The kinds of records whose properties stand in a section."""
PREFIX: Mapping[str, str] = {CONTACTS: "", DEALS: "deal.", COMPANIES: ""}
NAMES: Mapping[str, tuple[str, ...]] = {
    CONTACTS: ("firstname", "lastname"),
    DEALS: ("dealname",),
    COMPANIES: ("name",),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a card and the property that stands in it."""

    field: Field
    kind: str
    property: Property

    def shown(self, records: Mapping[str, Record]) -> Shown:
        """Return the field with what the record has there, as people read it."""
        value = records[self.kind].get(self.property.name) if self.kind in records else ""
        labels = {one.value: one.label for one in self.property.options}
        return Shown(self.field, labels.get(value, value))


Columns = Mapping[CardKind, tuple[Column, ...]]


async def columns(desk: Desk) -> Columns:
    """Return what each section can show. Raises Unavailable and Refused."""
    known = {
        kind: (await desk.site.read("GET", desk.path("properties", kind), PROPERTIES)).results
        for kind in STANDARD
    }
    return {
        section: tuple(column for kind in kinds for column in _columns(kind, known[kind]))
        for section, kinds in SECTIONS.items()
    }


def _columns(kind: str, properties: Iterable[Property]) -> Iterable[Column]:
    named = {one.name: one for one in properties}
    ours = {MARKER, *(one.name for one in OWN.get(kind, ()))}
    standard = [named[name] for name in STANDARD[kind] if name in named]
    custom = [
        one for one in named.values() if not one.hubspots_own and not one.hidden and one.name not in ours
    ]
    for one in (*standard, *custom):
        field = Field(f"{PREFIX[kind]}{one.name}", one.label or one.name, custom=not one.hubspots_own)
        yield Column(field, kind, one)


def laid_out(known: Columns, layouts: Layouts) -> Columns:
    """Return the columns of each section in a layout's order; those of HubSpot's own where it says nothing."""
    chosen: dict[CardKind, tuple[Column, ...]] = {}
    for section, there in known.items():
        names: Sequence[str] = getattr(layouts, section)
        by_name = {one.field.name: one for one in there}
        chosen[section] = (
            tuple(by_name[name] for name in names if name in by_name)
            if names
            else tuple(one for one in there if not one.field.custom)
        )
    return chosen


async def read(
    desk: Desk, kind: str, record_id: str, layout: Columns
) -> tuple[Record, tuple[Section, ...]] | None:
    """Return a contact or deal and the sections of its card, or None where it is gone. Raises Unavailable and Refused."""
    # Whether a contact is a lead is known when it has been read.
    of_contact = (*_wanted(layout, "lead", CONTACTS), *_wanted(layout, "person", CONTACTS))
    of_deal = _wanted(layout, "lead", DEALS)
    asked = dict.fromkeys(
        (*(of_contact if kind == CONTACTS else of_deal), "lifecyclestage", "hubspot_owner_id")
    )
    standing = await desk.get(kind, record_id, properties=asked, links=(CONTACTS, COMPANIES))
    if standing is None:
        return None
    records = {kind: standing}
    for other, properties in ((CONTACTS, of_contact), (COMPANIES, _wanted(layout, "company", COMPANIES))):
        ids = () if other == kind else standing.linked(other)
        found = await desk.get(other, ids[0], properties=dict.fromkeys(properties)) if ids else None
        if found is not None:
            records[other] = found
    own: CardKind = "lead" if kind == DEALS or desk.is_lead(standing) else "person"
    sections = [_section(layout, own, records, named_by=kind)]
    if COMPANIES in records:
        sections.append(_section(layout, "company", records, named_by=COMPANIES))
    return standing, tuple(sections)


def _wanted(layout: Columns, section: CardKind, kind: str) -> tuple[str, ...]:
    return (*NAMES[kind], *(one.property.name for one in layout[section] if one.kind == kind))


def _section(layout: Columns, of: CardKind, records: Mapping[str, Record], *, named_by: str) -> Section:
    name = " ".join(filter(None, (records[named_by].get(one) for one in NAMES[named_by])))
    return Section(of, name, tuple(one.shown(records) for one in layout[of]))
