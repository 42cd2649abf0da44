"""The embedded CRM: people and their feeds in a database by URL, for trying the service out and for its tests.

The one rule: the database keeps markers unique within a workspace, so a marker never makes two records, whoever races with whom.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from schemas.envelope import from_ms
from schemas.events import Layouts
from schemas.outcomes import CrmRecord
from services.crm_sync.addresses import email_key
from services.crm_sync.connectors.embedded import cards
from services.crm_sync.connectors.embedded.database import (
    PEOPLE_FOUND_MAX,
    owner_of,
    people_with,
    person_of,
)
from services.crm_sync.connectors.embedded.people import NAME_CHARS_MAX, EmbeddedPeople
from services.crm_sync.connectors.embedded.tables import ActivityRow, PersonRow, StaffRow, TicketRow
from services.crm_sync.connectors.embedded.views import ITEMS_MAX, EmbeddedViews
from services.crm_sync.connectors.interface import RECORD_GONE, check_size
from services.crm_sync.connectors.records import (
    Card,
    CardKind,
    Declaration,
    Field,
    Found,
    Limits,
    NewActivity,
    NewLead,
    NewNote,
    NewTicket,
    Person,
    PersonKind,
    Staff,
)
from services.runtime.effects import Refused
from services.runtime.wall_clock import now_ms

NAME = "embedded"
ACTIVITY, NOTE, TICKET = "activity", "note", "ticket"
BODY_CHARS_MAX = 65_536
# It shows notes to whoever opens the feed, and owners have no page of their own: it does not tell them, so a mail does.
DECLARED = Declaration(
    name=NAME,
    capabilities=frozenset({"lead", "activity", "note", "phone", "ticket", "card"}),
    limits=Limits(
        body_max=BODY_CHARS_MAX,
        body_unit="characters",
        name_chars_max=NAME_CHARS_MAX,
        people_found_max=PEOPLE_FOUND_MAX,
        feed_items_max=ITEMS_MAX,
        feed_limit_reason="page_full",
    ),
)


class EmbeddedCrm(EmbeddedPeople, EmbeddedViews):
    """A `Connector` that also shows what it holds and takes people to begin with. Make it with `open`."""

    @classmethod
    async def open(cls, url: str, *, now_ms: Callable[[], int] = now_ms) -> "EmbeddedCrm":
        """Open the database at `url` (`sqlite:///FILE` or `postgresql://…`) and make the tables it lacks."""
        crm = cls(url, now_ms=now_ms)
        await crm.make_tables()
        return crm

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return everybody with this address, the newest where there are more than the limit."""
        async with self.reading() as session:
            rows = await people_with(session, email_key(email), workspace_id=workspace_id)
            return [
                Person(
                    _record(row),
                    cast("PersonKind", row.kind),
                    row.created_ms,
                    open=row.is_open,
                    owner=owner_of(row),
                )
                for row in rows
            ]

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead, or return the one with this marker."""
        return await self.add_person(
            kind="lead",
            name=lead.name,
            email=lead.email,
            phone=lead.phone,
            owner_id=lead.owner_id,
            source=lead.source,
            note=lead.note,
            marker=marker,
            workspace_id=workspace_id,
        )

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a conversation to a person's feed, or return the entry with this marker."""
        row = ActivityRow(
            workspace_id=workspace_id,
            marker=marker,
            type=activity.type,
            title=activity.title,
            text=activity.text,
            started_at=activity.started_at,
            ended_at=activity.ended_at,
            link=activity.link,
            staff=[_staff(one) for one in activity.agents],
        )
        return await self._entered(row, to=to)

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add a note to a person's feed, or return the entry with this marker."""
        at = from_ms(self._now_ms())
        row = ActivityRow(
            workspace_id=workspace_id,
            marker=marker,
            type=NOTE,
            title="",
            text=note.text,
            started_at=at,
            ended_at=at,
            link="",
            staff=[_staff(note.author)],
        )
        return await self._entered(row, to=to)

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Set a person's phone number."""
        async with self.writing() as session:
            person = await person_of(session, of, workspace_id=workspace_id)
            if person is None:
                raise Refused(RECORD_GONE)
            person.phone = phone
            await session.commit()
            return _found(person)

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        """Create a ticket, or return the one with this marker; of nobody where its person is gone."""
        row = TicketRow(
            workspace_id=workspace_id,
            marker=marker,
            type=ticket.type,
            title=ticket.title,
            text=ticket.text,
            name=ticket.name,
            email=ticket.email,
            phone=ticket.phone,
            tag=ticket.tag,
            link=ticket.link,
            created_at=ticket.created_at,
        )
        check_size(len(row.text), DECLARED.limits)
        async with self.writing() as session:
            found = await _marked(session, TicketRow, marker, workspace_id=workspace_id)
            if found is not None:
                return found
            if ticket.person is not None:
                row.person = await person_of(session, ticket.person, workspace_id=workspace_id)
            return await _added(session, row)

    async def find_marker(
        self,
        marker: str,
        *,
        workspace_id: str,
        on: Sequence[CrmRecord] = (),  # noqa: ARG002  it can look everywhere
    ) -> Found | None:
        """Return the lead, the feed entry or the ticket that carries this marker."""
        async with self.reading() as session:
            for table in (PersonRow, ActivityRow, TicketRow):
                found = await _marked(session, table, marker, workspace_id=workspace_id)
                if found is not None:
                    return found
        return None

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return the fields a card can show."""
        async with self.reading() as session:
            return await cards.card_fields(session, workspace_id=workspace_id)

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return what is known of a person."""
        async with self.reading() as session:
            person = await person_of(session, record, workspace_id=workspace_id)
            if person is None:
                raise Refused(RECORD_GONE)
            sections = await cards.sections(session, person, layouts=layouts, workspace_id=workspace_id)
            return Card(_record(person), sections, owner_of(person))

    async def _entered(self, row: ActivityRow, *, to: CrmRecord) -> Found:
        check_size(len(row.text), DECLARED.limits)
        async with self.writing() as session:
            found = await _marked(session, ActivityRow, row.marker, workspace_id=row.workspace_id)
            if found is not None:
                return found
            person = await person_of(session, to, workspace_id=row.workspace_id)
            if person is None:
                raise Refused(RECORD_GONE)
            row.person = person
            return await _added(session, row)


Marked = PersonRow | ActivityRow | TicketRow
"""What carries a marker."""


async def _marked(
    session: AsyncSession, table: type[Marked], marker: str, *, workspace_id: str
) -> Found | None:
    row: Marked | None = await session.scalar(
        select(table).where(table.workspace_id == workspace_id, table.marker == marker)
    )
    return None if row is None else _found(row)


async def _added(session: AsyncSession, row: ActivityRow | TicketRow) -> Found:
    """Add it, or return the one that came first with its marker. Raises Refused where the person went away meanwhile."""
    table, marker, workspace_id = type(row), row.marker, row.workspace_id
    session.add(row)
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        first = await _marked(session, table, marker, workspace_id=workspace_id)
        if first is None:
            raise Refused(RECORD_GONE) from error
        return first
    return _found(row)


def _found(row: Marked) -> Found:
    person = row if isinstance(row, PersonRow) else row.person
    return Found(_record(row), None if person is None else owner_of(person))


def _record(row: Marked) -> CrmRecord:
    match row:
        case PersonRow():
            return CrmRecord(row.kind, str(row.id))
        case ActivityRow():
            return CrmRecord(NOTE if row.type == NOTE else ACTIVITY, str(row.id))
        case TicketRow():
            return CrmRecord(TICKET, str(row.id))


def _staff(one: Staff) -> StaffRow:
    return StaffRow(agent_id=one.id, name=one.name, team=one.team, group=one.group)
