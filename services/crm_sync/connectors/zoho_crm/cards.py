"""Cards of Zoho's records: which fields they can show, and what stands in them.

    lead      a lead, or a deal with its contact: fields of both are called the same, the deal's own `deal.Amount`
    person    a contact
    company   the account of a contact or a deal; of a lead what it says itself of its company

The one rule: of Zoho's own fields the few that tell an agent who is asking are shown; of the organization's own, all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import Layouts
from schemas.outcomes import CrmOwner
from services.crm_sync.connectors.records import CardKind, Field, Section, Shown
from services.crm_sync.connectors.zoho_crm.api import ACCOUNTS, CONTACTS, DEALS, LEADS, Org

Row = Mapping[str, Any]

STANDARD: Mapping[str, tuple[str, ...]] = {
    LEADS: (
        "First_Name",
        "Last_Name",
        "Company",
        "Designation",
        "Email",
        "Phone",
        "Mobile",
        "Lead_Status",
        "Lead_Source",
    ),
    DEALS: ("Deal_Name", "Stage", "Amount", "Closing_Date"),
    CONTACTS: ("First_Name", "Last_Name", "Title", "Department", "Email", "Phone", "Mobile", "Lead_Source"),
    ACCOUNTS: ("Account_Name", "Industry", "Website", "Phone", "Billing_City", "Billing_Country"),
}
SECTIONS: Mapping[CardKind, tuple[str, ...]] = {
    "lead": (LEADS, DEALS),
    "person": (CONTACTS,),
    "company": (ACCOUNTS,),
}
OF_LEAD: Mapping[str, str] = {
    "Account_Name": "Company",
    "Industry": "Industry",
    "Website": "Website",
    "Billing_City": "City",
    "Billing_Country": "Country",
}
"""Fields of a lead that its account would have."""
NAMES: Mapping[str, tuple[str, ...]] = {
    LEADS: ("First_Name", "Last_Name"),
    DEALS: ("Deal_Name",),
    CONTACTS: ("First_Name", "Last_Name"),
    ACCOUNTS: ("Account_Name",),
}
DEAL = "deal."


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a card and where it stands: the kind of record, and the field's name there."""

    field: Field
    module: str
    name: str


Columns = Mapping[CardKind, tuple[Column, ...]]


async def columns(org: Org) -> Columns:
    """Return what each section can show. Raises Unavailable and Refused."""
    sections: dict[CardKind, tuple[Column, ...]] = {}
    for section, modules in SECTIONS.items():
        there: list[Column] = []
        for module in modules:
            known = {one.name: one for one in await org.fields(module)}
            standard = [known[name] for name in STANDARD[module] if name in known]
            own = [one for one in known.values() if one.custom and one.name != org.account.reference_field]
            prefix = DEAL if module == DEALS else ""
            there += [
                Column(Field(f"{prefix}{one.name}", one.label, custom=one.custom), module, one.name)
                for one in (*standard, *own)
            ]
        sections[section] = tuple(there)
    return sections


def laid_out(known: Columns, layouts: Layouts) -> Columns:
    """Return the columns in a layout's order; Zoho's own where it says nothing."""
    chosen: dict[CardKind, tuple[Column, ...]] = {}
    for section, there in known.items():
        names: Sequence[str] = getattr(layouts, section)
        by_name = {one.field.name: one for one in there}
        standard = tuple(one for one in there if not one.field.custom)
        chosen[section] = tuple(by_name[one] for one in names if one in by_name) if names else standard
    return chosen


async def read(
    org: Org, module: str, record_id: str, layout: Columns
) -> tuple[CrmOwner | None, tuple[Section, ...]] | None:
    """Return the owner and the sections of a record's card, or None where it is gone. Raises Unavailable and Refused."""
    row = await org.row(module, record_id)
    if row is None:
        return None
    contact = await _referred(org, row, "Contact_Name", CONTACTS) if module == DEALS else None
    company = (
        _own_company(org, row) if module == LEADS else await _referred(org, row, "Account_Name", ACCOUNTS)
    )
    found = ((module, row), (LEADS, contact), (ACCOUNTS, company))
    there = {one: values for one, values in found if values is not None}
    sections = [_section(layout, "person" if module == CONTACTS else "lead", there, of=module)]
    if company is not None:
        sections.append(_section(layout, "company", there, of=ACCOUNTS))
    owner = row.get("Owner")
    told = None if owner is None else CrmOwner(owner["id"], owner.get("name"), owner.get("email"))
    return told, tuple(sections)


async def _referred(org: Org, row: Row, name: str, module: str) -> Row | None:
    referred = row.get(name)
    return None if referred is None else await org.row(module, referred["id"])


def _own_company(org: Org, lead: Row) -> Row | None:
    if lead.get("Company") in (None, org.account.company):
        return None
    return {name: lead.get(own) for name, own in OF_LEAD.items()}


def _section(layout: Columns, kind: CardKind, there: Mapping[str, Row], *, of: str) -> Section:
    name = " ".join(filter(None, (there[of].get(one) for one in NAMES[of])))
    shown = (Shown(one.field, _text(there.get(one.module, {}).get(one.name))) for one in layout[kind])
    return Section(kind, name, tuple(shown))


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "✓" if value else ""
        case list():
            return ", ".join(map(_text, value))
        case dict():
            return _text(value.get("name"))
        case _:
            return str(value)
