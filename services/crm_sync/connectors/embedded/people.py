"""How people, companies and custom fields get into the embedded CRM, beside what the connector creates.

The one rule: adding something that is there adds nothing; a person's marker, a company's name and a field's name say what is.
"""

from collections.abc import Callable

from sqlalchemy import Select, delete, select, update
from sqlalchemy.exc import IntegrityError

from schemas.outcomes import CrmRecord
from services.crm_sync.addresses import email_key
from services.crm_sync.connectors.embedded.database import EmbeddedDatabase, owner_of, person_of
from services.crm_sync.connectors.embedded.tables import (
    ActivityRow,
    CompanyRow,
    CustomFieldRow,
    CustomValueRow,
    MembershipRow,
    MergeRow,
    PersonRow,
    TicketRow,
)
from services.crm_sync.connectors.interface import RECORD_GONE
from services.crm_sync.connectors.records import CardKind, Found, PersonKind
from services.runtime.effects import Refused
from services.runtime.wall_clock import now_ms

NAME_CHARS_MAX = 256


class EmbeddedPeople(EmbeddedDatabase):
    """Takes people, companies and fields."""

    def __init__(self, url: str, *, now_ms: Callable[[], int] = now_ms) -> None:
        super().__init__(url)
        self._now_ms = now_ms

    async def add_person(
        self,
        *,
        kind: PersonKind,
        name: str,
        email: str | None,
        marker: str,
        workspace_id: str,
        phone: str | None = None,
        owner_id: str | None = None,
        source: str | None = None,
        note: str | None = None,
        is_open: bool = True,
        created_ms: int | None = None,
        company: str | None = None,
    ) -> Found:
        """Add somebody, now unless `created_ms` says otherwise."""
        if len(name) > NAME_CHARS_MAX:
            raise Refused("name_too_long")
        company_id = None if company is None else await self.add_company(company, workspace_id=workspace_id)
        row = PersonRow(
            workspace_id=workspace_id,
            marker=marker,
            kind=kind,
            name=name,
            email=email,
            email_key=None if email is None else email_key(email),
            phone=phone,
            owner_id=owner_id,
            source=source,
            note=note,
            is_open=is_open,
            created_ms=self._now_ms() if created_ms is None else created_ms,
        )
        marked = select(PersonRow).where(PersonRow.workspace_id == workspace_id, PersonRow.marker == marker)
        async with self.writing() as session:
            found = await session.scalar(marked)
            if found is None:
                try:
                    session.add(row)
                    await session.flush()
                    if company_id is not None:
                        session.add(MembershipRow(person_id=row.id, company_id=company_id))
                    await session.commit()
                    found = row
                except IntegrityError:
                    await session.rollback()
                    found = (await session.scalars(marked)).one()
        return Found(CrmRecord(found.kind, str(found.id)), owner_of(found))

    async def merge_people(self, duplicate: CrmRecord, *, into: CrmRecord, workspace_id: str) -> None:
        """Let one person stand for another, with what the other had in feed and tickets."""
        async with self.writing() as session:
            gone = await person_of(session, duplicate, workspace_id=workspace_id)
            kept = await person_of(session, into, workspace_id=workspace_id)
            if gone is None or kept is None:
                raise Refused(RECORD_GONE)
            if gone.id == kept.id:
                return
            for table in (ActivityRow, TicketRow):
                await session.execute(
                    update(table).where(table.person_id == gone.id).values(person_id=kept.id)
                )
            await session.execute(update(MergeRow).where(MergeRow.into_id == gone.id).values(into_id=kept.id))
            session.add(MergeRow(person_id=gone.id, into_id=kept.id))
            await session.commit()

    async def add_company(self, name: str, *, workspace_id: str, website: str | None = None) -> int:
        """Add a company. Returns its id."""
        row = CompanyRow(workspace_id=workspace_id, name=name, website=website)
        found = select(CompanyRow.id).where(CompanyRow.workspace_id == workspace_id, CompanyRow.name == name)
        return await self._added(row, found)

    async def add_field(self, kind: CardKind, name: str, label: str, *, workspace_id: str) -> int:
        """Add a custom field that cards can show. Returns its id."""
        row = CustomFieldRow(workspace_id=workspace_id, kind=kind, name=name, label=label)
        found = select(CustomFieldRow.id).where(
            CustomFieldRow.workspace_id == workspace_id,
            CustomFieldRow.kind == kind,
            CustomFieldRow.name == name,
        )
        return await self._added(row, found)

    async def fill_field(self, field_id: int, value: str, *, record_id: int) -> None:
        """Give a custom field its value, of a person's or company's record as the field's kind says."""
        async with self.writing() as session:
            row = CustomValueRow
            await session.execute(delete(row).where(row.field_id == field_id, row.record_id == record_id))
            session.add(row(field_id=field_id, record_id=record_id, value=value))
            await session.commit()

    async def _added(self, row: CompanyRow | CustomFieldRow, found: Select[int]) -> int:
        async with self.writing() as session:
            there = await session.scalar(found)
            if there is not None:
                return there
            session.add(row)
            try:
                await session.commit()
            except IntegrityError:
                await session.rollback()
                return (await session.scalars(found)).one()
            return row.id
