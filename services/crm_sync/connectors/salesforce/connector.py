"""The CRM Salesforce: conversations and notes are tasks on leads, contacts and opportunities.

    lead      Lead, open until it is converted
    deal      Opportunity of a contact with the address
    contact   Contact
    activity  Task that is done, with the conversation as its description

The one rule: a marker is a value of a field that Salesforce keeps unique, on leads and on tasks. Records are made and never upserted: an
upsert that comes a second time would undo what sales has changed meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import spellings
from services.crm_sync.connectors.interface import RECORD_GONE, Undeclared, check_size
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
from services.crm_sync.connectors.salesforce import cards
from services.crm_sync.connectors.salesforce.api import (
    ALREADY_THERE,
    BAD_REFERENCE,
    CONTACT,
    LEAD,
    OPPORTUNITY,
    ROLE,
    ROLES,
    TASK,
    USER,
    Org,
    Record,
    SalesforceAccount,
    quoted,
    select,
    within,
)
from services.crm_sync.connectors.vendor.logins import Kept
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.reach import Resolve
from services.crm_sync.connectors.vendor.remembered import Remembered
from services.crm_sync.connectors.vendor.site import refused_field
from services.runtime.effects import Refused, Transient
from services.runtime.wall_clock import now_ms

CONNECTOR = "salesforce"
KINDS: Mapping[str, str] = {"lead": LEAD, "contact": CONTACT, "deal": OPPORTUNITY}
PREFIXES: Mapping[str, PersonKind] = {"00Q": "lead", "003": "contact", "006": "deal"}
"""What ids of a kind of record begin with."""
SUBJECT_CHARS_MAX = 255
NOTE_FROM = "Note from "
MERGES_FOLLOWED_MAX = 5
DECLARED = Declaration(
    name=CONNECTOR,
    capabilities=frozenset({"lead", "activity", "note", "phone", "card"}),
    limits=Limits(
        body_max=32_000,  # a task's comments
        body_unit="characters",
        name_chars_max=80,  # a lead's last name
        people_found_max=200,
        # Salesforce names none by the second, but one of a day; with a rate all workers pause together when it is reached.
        requests_per_s_max=20.0,
    ),
)
_OWNED = "Id, CreatedDate, Owner.Id, Owner.Name, Owner.Email"


class SalesforceCrm(Undeclared):
    """A `Connector` to the orgs of all workspaces that have one. `kept`: where renewed tokens are; the rest is for tests."""

    def __init__(
        self,
        accounts: Mapping[str, SalesforceAccount],
        *,
        kept: Kept,
        resolve: Resolve | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._orgs = Opened(
            {one: Org(account, kept=kept, resolve=resolve) for one, account in accounts.items()}
        )
        self._owners = Remembered[tuple[str, str], CrmOwner](now_s=now_s)
        self._columns = Remembered[str, cards.Columns](now_s=now_s)

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._orgs.close()

    # ------------------------------------------------------------ who is there

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return leads and contacts with this address, and the contacts' opportunities, in one request."""
        org = self._orgs.of(workspace_id)
        spelt = " OR ".join(f"Email = {quoted(one)}" for one in spellings(email))
        newest = f"ORDER BY CreatedDate DESC LIMIT {DECLARED.limits.people_found_max}"
        deal = ", ".join(f"Opportunity.{one}" for one in f"{_OWNED}, IsClosed".split(", "))
        leads, contacts = await org.query(
            select(f"{_OWNED}, IsConverted", LEAD, f"({spelt}) {newest}"),
            select(f"{_OWNED}, {within(deal, ROLES)}", CONTACT, f"({spelt}) {newest}"),
        )
        found = [_person(org, one, "lead", is_open=not one.is_converted) for one in leads]
        deals: dict[str, Person] = {}
        for contact in contacts:
            found.append(_person(org, contact, "contact"))
            for role in contact.deals.records if contact.deals else ():
                deals[role.deal.id] = _person(org, role.deal, "deal", is_open=not role.deal.is_closed)
        return [*found, *deals.values()]

    async def find_marker(
        self,
        marker: str,
        *,
        workspace_id: str,
        on: Sequence[CrmRecord] = (),  # noqa: ARG002  # a marker is found wherever it is
    ) -> Found | None:
        """Return the lead or the task that carries this marker."""
        org = self._orgs.of(workspace_id)
        carries = f"{org.account.marker_field} = {quoted(marker)}"
        leads, tasks = await org.query(
            select(_OWNED, LEAD, carries), select("Id, WhoId, WhatId", TASK, carries)
        )
        if leads:
            return Found(_record(org, "lead", leads[0].id), leads[0].owner)
        if not tasks:
            return None
        of = tasks[0].who or tasks[0].what or ""
        kind = PREFIXES.get(of[:3])
        owner = (await self._standing(org, CrmRecord(kind, of))).owner if kind else None
        return Found(_record(org, "task", tasks[0].id), owner)

    # ------------------------------------------------------------ what is created

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead, or return the one with this marker."""
        org = self._orgs.of(workspace_id)
        owner = None if lead.owner_id is None else await self._owner(org, lead.owner_id, workspace_id)
        fields = {
            "LastName": lead.name,
            "Company": org.account.company,
            "Email": lead.email,
            "Phone": lead.phone,
            "LeadSource": lead.source,
            "Description": lead.note,
            "OwnerId": lead.owner_id,
            org.account.marker_field: marker,
        }
        try:
            return Found(_record(org, "lead", await org.create(LEAD, fields)), owner)
        except Refused as refused:
            return await self._taken(refused, marker, workspace_id)

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a conversation as a task that is done."""
        org = self._orgs.of(workspace_id)
        fields = _task(activity.title, activity.text, day=activity.ended_at[:10])
        return await self._attach(org, fields, to=to, marker=marker, workspace_id=workspace_id)

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add an agent's note as a task that is done; the owner of the record comes back, who is told by others."""
        org = self._orgs.of(workspace_id)
        standing = await self._standing(org, to)
        today = datetime.fromtimestamp(now_ms() / 1000, UTC).date().isoformat()
        fields = _task(f"{NOTE_FROM}{note.author.name}", note.text, day=today)
        to = replace(to, id=standing.id)
        made = await self._attach(org, fields, to=to, marker=marker, workspace_id=workspace_id)
        return replace(made, owner=standing.owner)

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Set the phone number of a lead or contact, or of the first contact of an opportunity."""
        org = self._orgs.of(workspace_id)
        kind, record_id = KINDS.get(of.type, ""), _id(of)
        if kind == OPPORTUNITY:
            which = f"OpportunityId = {quoted(record_id)} ORDER BY IsPrimary DESC LIMIT 1"
            deals, roles = await org.query(
                select("Id", OPPORTUNITY, f"Id = {quoted(record_id)}"), select("ContactId", ROLE, which)
            )
            if not deals:
                raise Refused(RECORD_GONE)
            if not roles or roles[0].contact is None:
                raise Refused("deal_without_contact")
            kind, record_id = CONTACT, roles[0].contact
        await org.change(kind, record_id, {"Phone": phone})
        return Found(_record(org, of.type, of.id))

    # ------------------------------------------------------------ cards

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return what each section can show."""
        known = await self._card_columns(workspace_id)
        return {section: tuple(one.field for one in there) for section, there in known.sections.items()}

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return the lead, the contact or the opportunity with its first contact, and their account."""
        org = self._orgs.of(workspace_id)
        layout = (await self._card_columns(workspace_id)).laid_out(layouts)
        there = await cards.read(org, KINDS.get(record.type, ""), _id(record), layout)
        if there is None:
            record = replace(record, id=(await self._standing(org, record)).id)
            there = await cards.read(org, KINDS[record.type], record.id, layout)
        if there is None:
            raise Refused(RECORD_GONE)
        owner, sections = there
        return Card(_record(org, record.type, record.id), sections, owner)

    async def _card_columns(self, workspace_id: str) -> cards.Columns:
        return await self._columns.of(workspace_id, lambda: cards.columns(self._orgs.of(workspace_id)))

    # ------------------------------------------------------------ inside

    async def _owner(self, org: Org, owner_id: str, workspace_id: str) -> CrmOwner:
        async def ask() -> CrmOwner:
            (users,) = await org.query(select("Id, Name, Email", USER, f"Id = {quoted(owner_id)}"))
            if not users:
                raise refused_field("owner_id", "unknown")
            return CrmOwner(owner_id, users[0].name, users[0].email)

        return await self._owners.of((workspace_id, owner_id), ask)

    async def _standing(self, org: Org, record: CrmRecord) -> Record:
        """Return the record as it is now: the one it was merged into, if it was. Raises Refused where it is gone."""
        kind, record_id = KINDS.get(record.type, ""), _id(record)
        for _ in range(MERGES_FOLLOWED_MAX):
            which = f"Id = {quoted(record_id)}"
            merged = select("MasterRecordId", kind, f"{which} AND IsDeleted = true")
            found, *binned = await org.query(
                select(_OWNED, kind, which), deleted_too=None if kind == OPPORTUNITY else merged
            )
            if found:
                return found[0]
            master = next((one.master for each in binned for one in each), None)
            if master is None:
                break
            record_id = master
        raise Refused(RECORD_GONE)

    async def _attach(
        self, org: Org, fields: Mapping[str, str], *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Make a task on a record, or on the one it was merged into."""
        check_size(len(fields["Description"]), DECLARED.limits)
        place = "WhatId" if to.type == "deal" else "WhoId"
        marked = dict(fields) | {"Status": org.account.task_status, org.account.marker_field: marker}
        try:
            made = await org.create(TASK, marked | {place: _id(to)})
        except Refused as refused:
            if refused.code not in (BAD_REFERENCE, RECORD_GONE):
                return await self._taken(refused, marker, workspace_id)
            standing = await self._standing(org, to)
            if standing.id == to.id:
                raise
            made = await org.create(TASK, marked | {place: standing.id})
        return Found(_record(org, "task", made))

    async def _taken(self, refused: Refused, marker: str, workspace_id: str) -> Found:
        """Return what has this marker, where that is why it was refused."""
        if refused.code != ALREADY_THERE:
            raise refused
        found = await self.find_marker(marker, workspace_id=workspace_id)
        if found is None:  # it is being made by somebody else
            raise Transient(ALREADY_THERE)
        return found


def _task(subject: str, text: str, *, day: str) -> dict[str, str]:
    return {"Subject": subject[:SUBJECT_CHARS_MAX], "Description": text, "ActivityDate": day}


def _id(record: CrmRecord) -> str:
    """Return the id of a record of ours. Raises Refused for what can't be one."""
    if record.type not in KINDS or not (record.id.isascii() and record.id.isalnum()):
        raise Refused(RECORD_GONE)
    return record.id


def _record(org: Org, kind: str, record_id: str) -> CrmRecord:
    return CrmRecord(kind, record_id, f"{org.account.url.rstrip('/')}/{record_id}")


def _person(org: Org, record: Record, kind: PersonKind, *, is_open: bool = True) -> Person:
    return Person(_record(org, kind, record.id), kind, record.created_ms, open=is_open, owner=record.owner)
