"""Cards of Salesforce's records: which fields they can show, and what stands in them.

    lead      a lead, or an opportunity with its first contact: fields of both are called the same, the opportunity's own `deal.Amount`
    person    a contact
    company   the account of a contact or an opportunity; of a lead what it says itself of its company

The one rule: a card is one query, whatever is on it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import Layouts
from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.records import CardKind, Field, Section, Shown
from services.crm_sync.connectors.salesforce.api import (
    ACCOUNT,
    CONTACT,
    LEAD,
    OPPORTUNITY,
    ROLES,
    Org,
    quoted,
    select,
    within,
)

STANDARD: Mapping[str, tuple[str, ...]] = {
    LEAD: (
        "FirstName",
        "LastName",
        "Company",
        "Title",
        "Email",
        "Phone",
        "MobilePhone",
        "Status",
        "LeadSource",
    ),
    OPPORTUNITY: ("Name", "StageName", "Amount", "CloseDate"),
    CONTACT: ("FirstName", "LastName", "Title", "Department", "Email", "Phone", "MobilePhone", "LeadSource"),
    ACCOUNT: ("Name", "Industry", "Website", "Phone", "BillingCity", "BillingCountry"),
}
SECTIONS: Mapping[CardKind, tuple[str, ...]] = {
    "lead": (LEAD, OPPORTUNITY),
    "person": (CONTACT,),
    "company": (ACCOUNT,),
}
OF_LEAD: Mapping[str, str] = {
    "Name": "Company",
    "Industry": "Industry",
    "Website": "Website",
    "BillingCity": "City",
    "BillingCountry": "Country",
}
"""Fields of a lead that its account would have."""
DEAL = "deal."


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a card and where it stands: the kind of record, and the field's name there."""

    field: Field
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Columns:
    """What each section can show. `of_contacts`: names of all fields of contacts."""

    sections: Mapping[CardKind, tuple[Column, ...]]
    of_contacts: frozenset[str]

    def laid_out(self, layouts: Layouts) -> "Columns":
        """Return the columns in a layout's order; Salesforce's own where it says nothing."""
        chosen: dict[CardKind, tuple[Column, ...]] = {}
        for section, there in self.sections.items():
            names: Sequence[str] = getattr(layouts, section)
            known = {one.field.name: one for one in there}
            standard = tuple(one for one in there if not one.field.custom)
            chosen[section] = tuple(known[one] for one in names if one in known) if names else standard
        return Columns(chosen, self.of_contacts)

    def names(self, section: CardKind, kind: str) -> Iterable[str]:
        """Return the fields of one kind of record that a section shows."""
        return (one.name for one in self.sections[section] if one.kind == kind)


async def columns(org: Org) -> Columns:
    """Return what each section can show. Raises Unavailable and Refused."""
    known = {kind: {one.name: one for one in await org.fields(kind)} for kind in STANDARD}
    sections: dict[CardKind, tuple[Column, ...]] = {}
    for section, kinds in SECTIONS.items():
        sections[section] = tuple(
            Column(
                Field(f"{DEAL if kind == OPPORTUNITY else ''}{one.name}", one.label, custom=one.custom),
                kind,
                one.name,
            )
            for kind in kinds
            for one in (
                *(known[kind][name] for name in STANDARD[kind] if name in known[kind]),
                *(one for one in known[kind].values() if one.custom and one.name != org.account.marker_field),
            )
        )
    return Columns(sections, frozenset(known[CONTACT]))


async def read(
    org: Org, kind: str, record_id: str, layout: Columns
) -> tuple[CrmOwner | None, tuple[Section, ...]] | None:
    """Return the owner and the sections of a record's card, or None where it is gone. Raises Unavailable and Refused."""
    own: CardKind = "person" if kind == CONTACT else "lead"
    asked = ["Id", "Name", "Owner.Id", "Owner.Name", "Owner.Email", *layout.names(own, kind)]
    if kind == LEAD:
        asked += OF_LEAD.values()
    else:
        asked += ["Account.Name", *(f"Account.{name}" for name in layout.names("company", ACCOUNT))]
    if kind == OPPORTUNITY:
        of_contact = [f"Contact.{one}" for one in layout.names("lead", LEAD) if one in layout.of_contacts]
        inner = ", ".join(dict.fromkeys(("Contact.Id", *of_contact)))
        asked.append(within(inner, ROLES, "ORDER BY IsPrimary DESC LIMIT 1"))
    found = await org.rows(select(", ".join(dict.fromkeys(asked)), kind, f"Id = {quoted(record_id)}"))
    if not found:
        return None
    (row,) = found
    roles = (row.get(ROLES) or {}).get("records", ())
    company = row.get("Account") or {}
    if kind == LEAD and row["Company"] != org.account.company:
        company = {name: row[own_name] for name, own_name in OF_LEAD.items()}
    there = {kind: row, ACCOUNT: company} | ({LEAD: roles[0]["Contact"]} if roles else {})
    sections = [_section(layout, own, there, name=row["Name"])]
    if company:
        sections.append(_section(layout, "company", there, name=company["Name"]))
    owner = row.get("Owner")
    return None if owner is None else CrmOwner(owner["Id"], owner["Name"], owner.get("Email")), tuple(
        sections
    )


def _section(layout: Columns, of: CardKind, there: Mapping[str, Mapping[str, Any]], *, name: str) -> Section:
    shown = (Shown(one.field, _text(there.get(one.kind, {}).get(one.name))) for one in layout.sections[of])
    return Section(of, name, tuple(shown))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
