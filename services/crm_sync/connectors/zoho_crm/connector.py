"""The CRM Zoho CRM: conversations and notes are notes on leads, contacts and deals.

    lead      Lead, open unless its status says otherwise
    deal      Deal of a contact with the address
    contact   Contact
    activity  Note, with a last line that says what it is and carries the marker

Notes rather than calls or tasks: they stand in a record's timeline, move along when a lead is converted, and need no field of ours.

The one rule: nothing is looked up by Zoho's search, whose index is behind, but by queries and by reading a record's notes. A lead's
marker stands in a field that Zoho may keep unique; a note's can't be, so it is asked for before a note is sent again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import spellings
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
    Person,
    PersonKind,
)
from services.crm_sync.connectors.vendor.logins import Kept
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.remembered import Remembered
from services.crm_sync.connectors.vendor.site import refused_field
from services.crm_sync.connectors.zoho_crm import cards
from services.crm_sync.connectors.zoho_crm.api import (
    CONTACTS,
    DEALS,
    FOUND_MAX,
    LEADS,
    Org,
    Record,
    ZohoCrmAccount,
    among,
)
from services.crm_sync.connectors.zoho_crm.errors import AlreadyThere
from services.runtime.effects import Refused, Unavailable

CONNECTOR = "zoho_crm"
KINDS: Mapping[str, str] = {"lead": LEADS, "contact": CONTACTS, "deal": DEALS}
TITLE_CHARS_MAX = 120
NOTE_CHARS_MAX = 65_535
NOTE_FRAME_MAX = 1_535
"""What stands around a text in a note: who wrote it, what it is, and its marker."""
DECLARED = Declaration(
    name=CONNECTOR,
    capabilities=frozenset({"lead", "activity", "note", "phone", "card"}),
    limits=Limits(
        body_max=NOTE_CHARS_MAX - NOTE_FRAME_MAX,
        body_unit="characters",
        name_chars_max=80,  # a lead's last name
        people_found_max=FOUND_MAX,
        # Zoho limits what runs at a time, 10 in Standard, of which a composite request takes five. A slot is used again a second
        # after its answer has begun, so of four one or two run. It is seven times what Standard's credits of a day allow.
        requests_per_s_max=4.0,
    ),
)
_MENTION = re.compile(r"(crm|zsu)\[")
"""What Zoho takes for the beginning of a mention, `crm[user#…]crm`, which tells that user."""
_OWNED = "id, Owner, Created_Time"


class ZohoCrm(Undeclared):
    """A `Connector` to the organizations of all workspaces that have one. `kept`: where renewed tokens are; the rest is for tests."""

    def __init__(
        self,
        accounts: Mapping[str, ZohoCrmAccount],
        *,
        kept: Kept,
        resolve: Resolve | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._orgs = Opened(
            {one: Org(account, kept=kept, resolve=resolve) for one, account in accounts.items()}
        )
        self._columns = Remembered[str, cards.Columns](now_s=now_s)
        self._ready: set[Org] = set()

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._orgs.close()

    # ------------------------------------------------------------ who is there

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return leads and contacts with this address, and the contacts' deals, in one request."""
        org = self._orgs.of(workspace_id)
        spelt, columns = spellings(email), org.account.email_fields
        of_contact = [f"Contact_Name.{one}" for one in columns]
        leads, contacts, deals = await org.ask(
            org.select(f"{_OWNED}, Lead_Status", LEADS, among(columns, spelt)),
            org.select(_OWNED, CONTACTS, among(columns, spelt)),
            org.select(f"{_OWNED}, Stage", DEALS, among(of_contact, spelt)),
        )
        lost, over = org.account.closed_statuses, org.account.closed_stages
        return [
            *(_person(org, one, "lead", is_open=one.status not in lost) for one in leads),
            *(_person(org, one, "contact") for one in contacts),
            *(_person(org, one, "deal", is_open=one.stage not in over) for one in deals),
        ]

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        """Return the lead that carries this marker, or the note on one of these records; both are asked for in one request."""
        org = self._orgs.of(workspace_id)
        places = [one for one in on if _is_ours(one)]
        leads, *notes = await org.ask(
            org.select(_OWNED, LEADS, among((org.account.reference_field,), (marker,))),
            *(org.notes_of(KINDS[one.type], one.id) for one in places),
        )
        if leads:
            return Found(_record(org, "lead", leads[0].id), leads[0].owner)
        for place, written in zip(places, notes, strict=True):
            for note in written:
                last = (note.content or "").rpartition("\n")[2]
                if last.endswith(f" {marker}]"):
                    owner = await _owner_of(org, place) if last == _last_line("note", marker) else None
                    return Found(CrmRecord("note", note.id), owner)
        return None

    # ------------------------------------------------------------ what is created

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead, or return the one that has the marker, or the address where Zoho keeps that unique."""
        org = self._orgs.of(workspace_id)
        if lead.owner_id is not None and not _is_number(lead.owner_id):
            raise refused_field("owner_id")
        await self._prepare(org)
        given = {
            "Last_Name": lead.name,  # whole: nobody can tell which part of it is which
            "Company": org.account.company,
            "Email": lead.email,
            "Phone": lead.phone,
            "Lead_Source": lead.source,
            "Description": lead.note,
            "Owner": None if lead.owner_id is None else {"id": lead.owner_id},
            org.account.reference_field: marker,
        }
        try:
            made = await org.create(LEADS, given=given)
        except AlreadyThere as taken:
            if taken.field not in (org.account.reference_field, "Email"):
                raise
            kind = "contact" if taken.there.module.name == CONTACTS else "lead"
            of = taken.there.of
            return Found(_record(org, kind, taken.there.id), None if of is None else CrmOwner(of.id))
        return Found(_record(org, "lead", made), None if lead.owner_id is None else CrmOwner(lead.owner_id))

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a conversation as a note."""
        check_size(len(activity.text), DECLARED.limits)
        content = f"{activity.text}\n{_last_line(activity.type, marker)}"
        return await self._add(activity.title, content, to=to, workspace_id=workspace_id)

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add an agent's note; the owner of its record comes back, who is told by others."""
        check_size(len(note.text), DECLARED.limits)
        owner = await _owner_of(self._orgs.of(workspace_id), to)
        content = f"{note.text}\n— {note.author.name}\n{_last_line('note', marker)}"
        title = f"Note from {note.author.name}"
        made = await self._add(title, content, to=to, workspace_id=workspace_id)
        return Found(made.record, owner)

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Set the phone number of a lead or contact, or of the contact of a deal."""
        org = self._orgs.of(workspace_id)
        module, record_id = _place(of)
        if module == DEALS:
            deal = await org.record(DEALS, record_id, "Contact_Name")
            if deal is None:
                raise Refused(RECORD_GONE)
            if deal.contact is None:
                raise Refused("deal_without_contact")
            module, record_id = CONTACTS, deal.contact.id
        await org.change(module, record_id, {"Phone": phone})
        return Found(_record(org, of.type, of.id))

    # ------------------------------------------------------------ cards

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return what each section can show."""
        known = await self._card_columns(workspace_id)
        return {section: tuple(one.field for one in there) for section, there in known.items()}

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return the lead, the contact or the deal with its contact, and their account."""
        org = self._orgs.of(workspace_id)
        layout = cards.laid_out(await self._card_columns(workspace_id), layouts)
        there = await cards.read(org, *_place(record), layout)
        if there is None:
            raise Refused(RECORD_GONE)
        owner, sections = there
        return Card(_record(org, record.type, record.id), sections, owner)

    async def _card_columns(self, workspace_id: str) -> cards.Columns:
        return await self._columns.of(workspace_id, lambda: cards.columns(self._orgs.of(workspace_id)))

    # ------------------------------------------------------------ inside

    async def _prepare(self, org: Org) -> None:
        """Make sure that leads can carry a marker, once in a process: Zoho may pass over a field that it does not know."""
        if org in self._ready:
            return
        if org.account.reference_field not in {one.name for one in await org.fields(LEADS)}:
            raise Unavailable(SETUP_NEEDED)
        self._ready.add(org)

    async def _add(self, title: str, content: str, *, to: CrmRecord, workspace_id: str) -> Found:
        org = self._orgs.of(workspace_id)
        module, record_id = _place(to)
        given = {
            "Note_Title": _unmentioned(title)[:TITLE_CHARS_MAX],
            "Note_Content": _unmentioned(content),
            "Parent_Id": {"module": {"api_name": module}, "id": record_id},
        }
        return Found(CrmRecord("note", await org.create(module, record_id, "Notes", given=given)))


async def _owner_of(org: Org, record: CrmRecord) -> CrmOwner | None:
    """Return who owns a record, with name and address. Raises Refused where it is gone."""
    found = await org.record(*_place(record), "Owner")
    if found is None:
        raise Refused(RECORD_GONE)
    return found.owner


def _last_line(kind: str, marker: str) -> str:
    return f"[{kind} {marker}]"


def _unmentioned(text: str) -> str:
    """Return the text, as long as it was, with nobody mentioned in it: strangers wrote it."""
    return _MENTION.sub(r"\1(", text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_ours(record: CrmRecord) -> bool:
    return record.type in KINDS and _is_number(record.id)


def _place(record: CrmRecord) -> tuple[str, str]:
    """Return the module and id of a record. Raises Refused for what can be none."""
    if not _is_ours(record):
        raise Refused(RECORD_GONE)
    return KINDS[record.type], record.id


def _record(org: Org, kind: str, record_id: str) -> CrmRecord:
    return CrmRecord(kind, record_id, f"{org.account.app_url}/tab/{KINDS[kind]}/{record_id}")


def _person(org: Org, record: Record, kind: PersonKind, *, is_open: bool = True) -> Person:
    owner = None if record.of is None else CrmOwner(record.of.id)
    return Person(_record(org, kind, record.id), kind, record.created_ms, open=is_open, owner=owner)
