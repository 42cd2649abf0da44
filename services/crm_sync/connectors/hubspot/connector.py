"""The CRM HubSpot: leads are contacts in a lead's stage, conversations and notes are notes on their timeline.

    lead      contact whose lifecycle stage is one of the account's `lead_stages`
    deal      deal of the contact with the address
    contact   any other contact
    activity  note, `hs_timestamp` at the end of the conversation
    ticket    ticket in one pipeline; the list "Missed chats" holds the missed ones

HubSpot's lead objects are left alone: they need a paid seat of Sales Hub, and a contact each; a free account has lifecycle stages.

The one rule: nothing is looked up by a search, whose index is behind. A contact is read by its address and whatever was created by its
marker, both unique at HubSpot, and a request that was sent twice is turned away there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.hubspot import cards
from services.crm_sync.connectors.hubspot.api import (
    ALREADY_THERE,
    CONTACTS,
    MARKER,
    NOTES,
    RECORD,
    TICKETS,
    Desk,
    HubspotAccount,
    Record,
)
from services.crm_sync.connectors.hubspot.people import (
    KINDS,
    contact_with,
    number_of,
    owner_of,
    people_with,
    record_of,
    standing_of,
)
from services.crm_sync.connectors.hubspot.setup import (
    EMAIL,
    LINK,
    NAME,
    NOTE,
    PHONE,
    SOURCE,
    TAG,
    TYPE,
    prepare,
)
from services.crm_sync.connectors.interface import RECORD_GONE, SETUP_NEEDED, Undeclared, check_size
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
)
from services.crm_sync.connectors.rich_text import as_html
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.remembered import Remembered
from services.runtime.effects import Refused, Transient, Unavailable
from services.runtime.wall_clock import now_ms

CONNECTOR = "hubspot"
ASSOCIATIONS: Mapping[tuple[str, str], int] = {
    (NOTES, "contact"): 202,
    (NOTES, "deal"): 214,
    (TICKETS, "contact"): 16,
    (TICKETS, "deal"): 28,
}
NOTE_HTML_MAX = 65_536
NOTE_FRAME_MAX = 1_536
"""What stands around a text in a note: its title, or who wrote it, each character of a name as long as HTML makes it."""
DECLARED = Declaration(
    name=CONNECTOR,
    capabilities=frozenset({"lead", "activity", "note", "phone", "ticket", "card"}),
    limits=Limits(
        body_max=NOTE_HTML_MAX - NOTE_FRAME_MAX,
        body_unit="html",
        name_chars_max=256,
        people_found_max=100,  # deals in one request
        requests_per_s_max=10.0,  # 100 in 10 s: the least of all subscriptions
    ),
)


class HubspotCrm(Undeclared):
    """A `Connector` to the HubSpot accounts of all workspaces that have one. `resolve` and `now_s` are for tests."""

    def __init__(
        self,
        accounts: Mapping[str, HubspotAccount],
        *,
        resolve: Resolve | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._desks = Opened(
            {one: Desk(account, resolve=resolve, now_s=now_s) for one, account in accounts.items()}
        )
        self._columns = Remembered[str, cards.Columns](now_s=now_s)

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._desks.close()

    # ------------------------------------------------------------ who is there

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return the contact with this address, among its further ones too, and the deals of that contact."""
        return await people_with(
            self._desks.of(workspace_id), email, people_max=DECLARED.limits.people_found_max
        )

    async def find_marker(
        self,
        marker: str,
        *,
        workspace_id: str,
        on: Sequence[CrmRecord] = (),  # noqa: ARG002  # a marker is found wherever it is
    ) -> Found | None:
        """Return the note, contact or ticket that carries this marker."""
        desk = self._desks.of(workspace_id)
        for record_type, kind in (("note", NOTES), ("contact", CONTACTS), ("ticket", TICKETS)):
            await prepare(desk, kind)
            links = KINDS.values() if kind == NOTES else ()
            found = await desk.get(kind, marker, properties=("hubspot_owner_id",), links=links, by=MARKER)
            if found is not None:
                owner = await _owner_of_marked(desk, kind, found)
                return Found(record_of(desk, record_type, found.id), owner)
        return None

    # ------------------------------------------------------------ what is created

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a contact in the stage `lead`, or return the one that has the marker or the address."""
        desk = self._desks.of(workspace_id)
        properties = {
            "email": lead.email,
            "firstname": lead.name,  # whole: nobody can tell which part of it is which
            "lifecyclestage": "lead",
            "phone": lead.phone,
            "hubspot_owner_id": lead.owner_id,
            SOURCE: lead.source,
            NOTE: lead.note,
        }
        try:
            made = await self._create(desk, CONTACTS, properties, marker=marker)
        except Transient as failure:
            # Somebody made a contact with this address since it was looked for. It is where the conversation belongs.
            there = await contact_with(desk, lead.email) if failure.code == ALREADY_THERE else None
            if there is None:
                raise
            made = there
        return Found(record_of(desk, "contact", made.id), await owner_of(desk, made))

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a conversation to a timeline as a note, at its end."""
        check_size(len(as_html(activity.text)), DECLARED.limits)
        desk = self._desks.of(workspace_id)
        properties = {
            "hs_timestamp": activity.ended_at,
            "hs_note_body": f"<strong>{as_html(activity.title)}</strong><br>{as_html(activity.text)}",
            TYPE: activity.type,
        }
        made = await self._attach(desk, NOTES, properties, to=to, marker=marker)
        return Found(record_of(desk, "note", made.id))

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add an agent's note to a timeline; the owner of the record comes back, who is told by others."""
        check_size(len(as_html(note.text)), DECLARED.limits)
        desk = self._desks.of(workspace_id)
        standing = await standing_of(desk, to, properties=("hubspot_owner_id",))
        properties = {
            "hs_timestamp": datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "hs_note_body": f"{as_html(note.text)}<br>— {as_html(note.author.name)}",
            TYPE: "note",
        }
        to = record_of(desk, to.type, standing.id)
        made = await self._attach(desk, NOTES, properties, to=to, marker=marker)
        return Found(record_of(desk, "note", made.id), await owner_of(desk, standing))

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        """Create a ticket, tied to the person if they are still there."""
        check_size(len(as_html(ticket.text)), DECLARED.limits)
        desk = self._desks.of(workspace_id)
        properties = {
            "subject": ticket.title,
            "content": ticket.text,
            "hs_pipeline": desk.account.ticket_pipeline,
            "hs_pipeline_stage": desk.account.ticket_stage,
            "source_type": "CHAT",
            TYPE: ticket.type,
            NAME: ticket.name,
            EMAIL: ticket.email,
            PHONE: ticket.phone,
            TAG: ticket.tag,
            LINK: ticket.link,
        }
        made = None
        if ticket.person is not None:
            try:
                made = await self._attach(desk, TICKETS, properties, to=ticket.person, marker=marker)
            except Refused as refused:
                if refused.code != RECORD_GONE:
                    raise
        if made is None:
            made = await self._create(desk, TICKETS, properties, marker=marker)
        return Found(record_of(desk, "ticket", made.id))

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Set the phone number of a contact, or of the first contact of a deal."""
        desk = self._desks.of(workspace_id)
        number = contact = number_of(of)
        if of.type == "deal":
            deal = await standing_of(desk, of, links=(CONTACTS,))
            number, contacts = deal.id, deal.linked(CONTACTS)
            if not contacts:
                raise Refused("deal_without_contact")
            contact = contacts[0]
        change = {"properties": {"phone": phone}}
        written = await desk.site.write("PATCH", desk.path("objects", CONTACTS, contact), RECORD, json=change)
        return Found(record_of(desk, of.type, number if of.type == "deal" else written.id))

    # ------------------------------------------------------------ cards

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return what each section can show."""
        known = await self._card_columns(workspace_id)
        return {section: tuple(one.field for one in columns) for section, columns in known.items()}

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return the contact, or the deal with its contact, and the company."""
        desk = self._desks.of(workspace_id)
        layout = cards.laid_out(await self._card_columns(workspace_id), layouts)
        record_id = number_of(record)
        there = await cards.read(desk, KINDS[record.type], record_id, layout)
        if there is None:
            raise Refused(RECORD_GONE)
        standing, sections = there
        owner = await owner_of(desk, standing)
        return Card(record_of(desk, record.type, standing.id), sections, owner)

    async def _card_columns(self, workspace_id: str) -> cards.Columns:
        return await self._columns.of(workspace_id, lambda: cards.columns(self._desks.of(workspace_id)))

    # ------------------------------------------------------------ inside

    async def _attach(
        self, desk: Desk, kind: str, properties: Mapping[str, str | None], *, to: CrmRecord, marker: str
    ) -> Record:
        """Create a record on another one, or on the one that was merged into."""
        try:
            return await self._create(desk, kind, properties, to=to, marker=marker)
        except Refused as refused:
            if refused.code != RECORD_GONE:
                raise
        standing = await standing_of(desk, to)
        if standing.id == to.id:
            raise Refused(RECORD_GONE)
        return await self._create(desk, kind, properties, to=replace(to, id=standing.id), marker=marker)

    async def _create(
        self,
        desk: Desk,
        kind: str,
        properties: Mapping[str, str | None],
        *,
        marker: str,
        to: CrmRecord | None = None,
    ) -> Record:
        """Create a record, or return the one with this marker."""
        await prepare(desk, kind)
        given = {name: value for name, value in properties.items() if value is not None}
        body: dict[str, Any] = {"properties": given | {MARKER: marker}}
        if to is not None:
            there_id = number_of(to)
            link = {
                "associationCategory": "HUBSPOT_DEFINED",
                "associationTypeId": ASSOCIATIONS[kind, to.type],
            }
            body["associations"] = [{"to": {"id": there_id}, "types": [link]}]
        try:
            return await desk.site.write("POST", desk.path("objects", kind), RECORD, json=body)
        except Unavailable as failure:
            if failure.code == SETUP_NEEDED:
                desk.prepared.discard(kind)
            raise
        except Refused as refused:
            if refused.code != ALREADY_THERE:
                raise
        there = await desk.get(kind, marker, properties=("hubspot_owner_id",), by=MARKER)
        if there is None:
            raise Transient(ALREADY_THERE)
        return there


async def _owner_of_marked(desk: Desk, kind: str, found: Record) -> CrmOwner | None:
    """Return the owner of the record itself; of a note, that of the record it stands on."""
    if kind != NOTES:
        return await owner_of(desk, found)
    for of in KINDS.values():
        for record_id in found.linked(of)[:1]:
            person = await desk.get(of, record_id, properties=("hubspot_owner_id",))
            return None if person is None else await owner_of(desk, person)
    return None
