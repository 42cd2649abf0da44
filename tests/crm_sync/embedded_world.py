"""The embedded CRM as a world of the contract: its office works on the database itself, and commits go wrong on request."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, event, select
from sqlalchemy.exc import OperationalError

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.embedded.connector import NOTE, EmbeddedCrm
from services.crm_sync.connectors.embedded.tables import CustomFieldRow, MembershipRow, PersonRow
from services.crm_sync.connectors.embedded.views import FeedFilter
from services.crm_sync.connectors.records import CardKind, PersonKind
from tests.crm_sync.connector_world import ACME, LEAD, Line, Loss, Office, SeenTicket, World

CUSTOM: dict[CardKind, str] = {"lead": "budget", "person": "birthday", "company": "tier"}


class EmbeddedOffice(Office):
    def __init__(self, crm: EmbeddedCrm) -> None:
        self._crm = crm
        self._added = 0

    async def add(
        self,
        kind: PersonKind,
        name: str,
        email: str | None,
        *,
        workspace_id: str = ACME,
        created_ms: int = 0,
        owner_id: str | None = None,
        company: str | None = None,
    ) -> CrmRecord:
        self._added += 1
        person = await self._crm.add_person(
            kind=kind,
            name=name,
            email=email,
            created_ms=created_ms,
            owner_id=owner_id,
            company=company,
            marker=f"seed-{self._added}",
            workspace_id=workspace_id,
        )
        return person.record

    async def remove(self, record: CrmRecord) -> None:
        async with self._crm.writing() as session:
            await session.execute(delete(PersonRow).where(PersonRow.id == int(record.id)))
            await session.commit()

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        await self._crm.merge_people(duplicate, into=into, workspace_id=ACME)

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        record_id = int(record.id)
        async with self._crm.reading() as session:
            field_id = await session.scalar(
                select(CustomFieldRow.id).where(CustomFieldRow.kind == kind, CustomFieldRow.name == name)
            )
            if kind == "company":
                membership = await session.get_one(MembershipRow, record_id)
                record_id = membership.company_id
        assert field_id is not None
        await self._crm.fill_field(field_id, value, record_id=record_id)

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        async with self._crm.reading() as session:
            rows = await session.scalars(
                select(PersonRow).where(PersonRow.workspace_id == workspace_id).order_by(PersonRow.id)
            )
            return [(row.name, row.email, row.owner_id, row.source) for row in rows]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return await self._entries(workspace_id, notes=False)

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return await self._entries(workspace_id, notes=True)

    async def _entries(self, workspace_id: str, *, notes: bool) -> list[tuple[str, str]]:
        page = await self._crm.feed(FeedFilter(), workspace_id=workspace_id)
        return [
            (item.person, item.activity.text) for item in page.items if (item.activity.type == NOTE) is notes
        ]

    async def phone(self, record: CrmRecord) -> str | None:
        async with self._crm.reading() as session:
            return (await session.get_one(PersonRow, int(record.id))).phone

    async def tickets(self, workspace_id: str = ACME, *, missed: bool = False) -> list[SeenTicket]:
        page = await self._crm.tickets(workspace_id=workspace_id, missed=missed)
        return [
            SeenTicket(one.text, one.name, one.email, one.phone, one.tag, one.person) for one in page.items
        ]


class EmbeddedLine(Line):
    losses = frozenset({"unreached", "before", "after"})

    def __init__(self, crm: EmbeddedCrm) -> None:
        self._engine = crm._engine.sync_engine

    async def lose(self, how: Loss) -> None:
        if how == "unreached":
            self._once("before_cursor_execute", lambda _: None)
        elif how == "before":
            self._once("commit", lambda connection: connection.connection.rollback())
        else:
            self._once("commit", lambda connection: connection.connection.commit())

    def _once(self, what: str, do: Callable[[Connection], None]) -> None:
        def fail(connection: Connection, *_: Any) -> None:
            event.remove(self._engine, what, fail)
            do(connection)
            raise OperationalError("", {}, OSError("the connection ended"))

        event.listen(self._engine, what, fail)


async def embedded_world(crm: EmbeddedCrm) -> World:
    for kind, name in CUSTOM.items():
        await crm.add_field(kind, name, name.capitalize(), workspace_id=ACME)
    too_long = replace(LEAD, name="x" * (crm.declared.limits.name_chars_max + 1))
    return World(
        crm,
        EmbeddedOffice(crm),
        EmbeddedLine(crm),
        merges=frozenset({"lead", "deal", "contact"}),
        custom=CUSTOM,
        refused_lead=too_long,
    )
