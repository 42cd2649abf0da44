"""The cards of the embedded CRM: which fields they can show, and what stands in them.

The one rule: people with one address are one person, so a card shows the newest lead or deal beside the contact, and the other way round.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.events import Layouts
from services.crm_sync.connectors.embedded.database import people_with
from services.crm_sync.connectors.embedded.tables import (
    CompanyRow,
    CustomFieldRow,
    CustomValueRow,
    MembershipRow,
    PersonRow,
)
from services.crm_sync.connectors.records import CardKind, Field, Section, Shown

CARD_KINDS: tuple[CardKind, ...] = ("lead", "person", "company")
_STANDARD: Mapping[CardKind, tuple[Field, ...]] = {
    "lead": (
        Field("name", "Name"),
        Field("email", "E-mail"),
        Field("phone", "Phone"),
        Field("owner", "Owner", of_owner=True),
        Field("source", "Source"),
        Field("status", "Status"),
        Field("created", "Created"),
        Field("note", "Note"),
    ),
    "person": (
        Field("name", "Name"),
        Field("email", "E-mail"),
        Field("phone", "Phone"),
        Field("owner", "Owner", of_owner=True),
        Field("created", "Created"),
    ),
    "company": (Field("name", "Name"), Field("website", "Website")),
}


async def card_fields(session: AsyncSession, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
    """Return the standard fields and those the workspace has added, in the order they were added."""
    rows = await session.execute(
        select(CustomFieldRow.kind, CustomFieldRow.name, CustomFieldRow.label)
        .where(CustomFieldRow.workspace_id == workspace_id)
        .order_by(CustomFieldRow.id)
    )
    custom = [(kind, Field(name, label, custom=True)) for kind, name, label in rows]
    return {
        kind: (*_STANDARD[kind], *(field for of_kind, field in custom if of_kind == kind))
        for kind in CARD_KINDS
    }


async def sections(
    session: AsyncSession, person: PersonRow, *, layouts: Layouts, workspace_id: str
) -> tuple[Section, ...]:
    """Return the sections of a person's card, each as laid out."""
    fields = await card_fields(session, workspace_id=workspace_id)
    found: list[Section] = []
    for kind, row in (await _records(session, person)).items():
        by_name = {field.name: field for field in fields[kind]}
        laid_out: tuple[str, ...] = getattr(layouts, kind)
        chosen = (
            [by_name[name] for name in laid_out if name in by_name] if laid_out else list(_STANDARD[kind])
        )
        values = _values(row) | await _custom_values(session, kind, row, workspace_id=workspace_id)
        shown = tuple(Shown(field, values.get(field.name) or "") for field in chosen)
        found.append(Section(kind, row.name, shown))
    return tuple(found)


async def _records(session: AsyncSession, person: PersonRow) -> dict[CardKind, PersonRow | CompanyRow]:
    """Return what the sections of a card are about."""
    alike: Sequence[PersonRow] = ()
    if person.email_key is not None:
        alike = await people_with(session, person.email_key, workspace_id=person.workspace_id)
    # Of the other kind an open one first, then the newest: `sorted` keeps the order they came in.
    people = (person, *sorted(alike, key=lambda one: not one.is_open))
    records: dict[CardKind, PersonRow | CompanyRow] = {}
    for kind in ("lead", "person"):
        of_kind = [one for one in people if (one.kind == "contact") is (kind == "person")]
        if of_kind:
            records[kind] = of_kind[0]
    for one in [person, *records.values()]:
        company = await session.scalar(
            select(CompanyRow)
            .join(MembershipRow, MembershipRow.company_id == CompanyRow.id)
            .where(MembershipRow.person_id == one.id)
        )
        if company is not None:
            records["company"] = company
            break
    return records


def _values(row: PersonRow | CompanyRow) -> dict[str, str | None]:
    if isinstance(row, CompanyRow):
        return {"name": row.name, "website": row.website}
    created = datetime.fromtimestamp(row.created_ms / 1000, UTC)
    return {
        "name": row.name,
        "email": row.email,
        "phone": row.phone,
        "owner": row.owner_id,
        "source": row.source,
        "status": "open" if row.is_open else "closed",
        "created": created.strftime("%Y-%m-%d %H:%M UTC"),
        "note": row.note,
    }


async def _custom_values(
    session: AsyncSession, kind: CardKind, row: PersonRow | CompanyRow, *, workspace_id: str
) -> dict[str, str | None]:
    found = await session.execute(
        select(CustomFieldRow.name, CustomValueRow.value)
        .join(CustomValueRow, CustomValueRow.field_id == CustomFieldRow.id)
        .where(
            CustomFieldRow.workspace_id == workspace_id,
            CustomFieldRow.kind == kind,
            CustomValueRow.record_id == row.id,
        )
    )
    return dict(found.all())
