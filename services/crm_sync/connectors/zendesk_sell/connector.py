"""The CRM Zendesk Sell: leads, deals and contacts, with notes as their feed.

    lead      a lead; open until somebody calls it unqualified
    deal      a deal of a contact with the address, in a stage that is neither won, lost nor unqualified
    contact   a contact without an open deal
    activity  a note; so is an agent's note
    owner     a user, named by their number

The one rule: Sell keeps no marker unique. A lead's stands in a custom field, a note's is its last line, and nothing is looked for before
it is sent: the sync's claim lets one worker at a time send it, and has the marker asked for before it is sent again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import email_key, spellings
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
from services.crm_sync.connectors.vendor.logins import Kept
from services.crm_sync.connectors.vendor.opened import Opened
from services.crm_sync.connectors.vendor.site import refused_field
from services.crm_sync.connectors.zendesk_sell.api import (
    NOTE,
    NOTES,
    PAGE_MAX,
    RECORD,
    RECORDS,
    Record,
    Sell,
    SellAccount,
)
from services.crm_sync.connectors.zendesk_sell.cards import SellCards, full_owner
from services.crm_sync.connectors.zendesk_sell.lists import SellLists
from services.runtime.effects import Refused

NAME = "zendesk_sell"
PATHS: Mapping[str, str] = {"lead": "leads", "deal": "deals", "contact": "contacts"}
PAGES: Mapping[str, str] = {"lead": "leads", "deal": "sales/deals", "contact": "crm/contacts"}
"""Where people see them."""
UNQUALIFIED = "unqualified"
CLOSED = frozenset({"won", "lost", UNQUALIFIED})
"""Categories of the stages of a deal that is over."""
CONTACTS_MAX = 5
"""Contacts of one address whose deals are asked for, the newest: one request each."""
NEWEST = "created_at:desc"
DECLARED = Declaration(
    name=NAME,
    capabilities=frozenset({"lead", "activity", "note", "phone", "card"}),
    limits=Limits(
        # Sell publishes no limit of a note. Its last line and its title come on top of this.
        body_max=60_000,
        body_unit="characters",
        name_chars_max=255,
        people_found_max=PAGE_MAX,
        requests_per_s_max=10,
        feed_items_max=PAGE_MAX,
        feed_limit_reason="notes_by_page",
    ),
)


class SellCrm(Undeclared):
    """A `Connector` to the accounts at Sell of all workspaces that have one. `kept`: where renewed tokens are."""

    def __init__(self, accounts: Mapping[str, SellAccount], *, kept: Kept) -> None:
        self._accounts = accounts
        sells = {workspace_id: Sell(account, kept=kept) for workspace_id, account in accounts.items()}
        self._sells = Opened(sells)
        self._lists = {workspace_id: SellLists(sell) for workspace_id, sell in sells.items()}

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the connections of all accounts."""
        await self._sells.close()

    # ------------------------------------------------------------ who is there

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return leads, contacts and their open deals; a contact with an open deal is met in the deal."""
        leads = await self._with_address("leads", email, workspace_id=workspace_id)
        contacts = await self._with_address("contacts", email, workspace_id=workspace_id)
        app_url = self._accounts[workspace_id].app_url
        found = [_person("lead", lead, app_url, is_open=not _is_unqualified(lead)) for lead in leads]
        for number, contact in enumerate(contacts):
            deals = await self._open_deals(contact, workspace_id) if number < CONTACTS_MAX else []
            found += [_person("deal", deal, app_url) for deal in deals] or [
                _person("contact", contact, app_url)
            ]
        return found

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        """Return the note on one of these records that carries this marker, or the lead."""
        sell = self._sells.of(workspace_id)
        for record in on:
            if record.type in PATHS:
                notes = await sell.page(
                    "notes", NOTES, resource_type=record.type, resource_id=record.id, sort_by=NEWEST
                )
                for note in notes:
                    if note.content.endswith(f" {marker}]"):
                        return Found(CrmRecord("note", str(note.id)))
        name = self._accounts[workspace_id].reference_field
        leads = await sell.page("leads", RECORDS, **{f"custom_fields[{name}]": marker})
        for lead in leads:
            if lead.custom_fields.get(name) == marker:
                return Found(_record("lead", lead, self._accounts[workspace_id].app_url), _owner(lead))
        return None

    # ------------------------------------------------------------ what is written

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead. Its whole name is the last name: which part of it is which differs from country to country."""
        sell = self._sells.of(workspace_id)
        data: dict[str, Any] = {
            "last_name": lead.name,
            "email": lead.email,
            "phone": lead.phone,
            "description": lead.note,
            "owner_id": None if lead.owner_id is None else _number(lead.owner_id),
            "source_id": await self._lists[workspace_id].source_id(lead.source),
            "custom_fields": {self._accounts[workspace_id].reference_field: marker},
        }
        given = {name: value for name, value in data.items() if value is not None}
        made = await sell.create("leads", given, RECORD)
        return Found(_record("lead", made, self._accounts[workspace_id].app_url), _owner(made))

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a note to a lead, a deal or a contact."""
        check_size(len(activity.text), DECLARED.limits)
        content = f"{activity.title}\n\n{activity.text}\n[{activity.type} {marker}]"
        return await self._add(content, to=to, workspace_id=workspace_id)

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """Add an agent's note; the owner of its record comes back, who is told by others."""
        check_size(len(note.text), DECLARED.limits)
        about = await self._sells.of(workspace_id).one(_path(to), RECORD)
        owner = await full_owner(about.owner_id, self._lists[workspace_id])
        content = f"{note.text}\n— {note.author.name}\n[note {marker}]"
        return Found((await self._add(content, to=to, workspace_id=workspace_id)).record, owner)

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """Set the phone number of a lead or a contact; a deal's is its contact's."""
        sell, whose = self._sells.of(workspace_id), _path(of)
        if of.type == "deal":
            deal = await sell.one(whose, RECORD)
            if deal.contact_id is None:
                raise Refused("deal_without_contact")
            whose = f"contacts/{deal.contact_id}"
        await sell.change(whose, {"phone": phone}, RECORD)
        return Found(of)

    # ------------------------------------------------------------ cards

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """Return the standard fields and the account's own."""
        self._sells.of(workspace_id)
        return await SellCards(self._lists[workspace_id]).fields()

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """Return the card of a lead, of a deal with its contact, or of a contact, with their company."""
        sell, path = self._sells.of(workspace_id), _path(record)
        return await SellCards(self._lists[workspace_id]).card(
            record, await sell.one(path, RECORD), layouts=layouts, sell=sell
        )

    # ------------------------------------------------------------ inside

    async def _with_address(self, path: str, email: str, *, workspace_id: str) -> list[Record]:
        found: dict[int, Record] = {}
        for spelling in spellings(email):
            page = await self._sells.of(workspace_id).page(path, RECORDS, email=spelling, sort_by=NEWEST)
            found |= {one.id: one for one in page if one.email and email_key(one.email) == email_key(email)}
        return list(found.values())

    async def _open_deals(self, contact: Record, workspace_id: str) -> list[Record]:
        deals = await self._sells.of(workspace_id).page(
            "deals", RECORDS, contact_id=contact.id, sort_by=NEWEST
        )
        if not deals:
            return []
        stages = await self._lists[workspace_id].stages()
        over = {stage.id for stage in stages.values() if stage.category in CLOSED}
        return [deal for deal in deals if deal.stage_id not in over]

    async def _add(self, content: str, *, to: CrmRecord, workspace_id: str) -> Found:
        _path(to)
        data = {"resource_type": to.type, "resource_id": int(to.id), "content": content}
        note = await self._sells.of(workspace_id).create("notes", data, NOTE)
        return Found(CrmRecord("note", str(note.id)))


def _path(record: CrmRecord) -> str:
    if record.type not in PATHS or not record.id.isascii() or not record.id.isdigit():
        raise Refused(RECORD_GONE)
    return f"{PATHS[record.type]}/{record.id}"


def _number(owner_id: str) -> int:
    if not owner_id.isascii() or not owner_id.isdigit():
        raise refused_field("owner_id")
    return int(owner_id)


def _person(kind: PersonKind, record: Record, app_url: str, *, is_open: bool = True) -> Person:
    return Person(
        _record(kind, record, app_url), kind, _ms(record.created_at), open=is_open, owner=_owner(record)
    )


def _record(kind: PersonKind, record: Record, app_url: str) -> CrmRecord:
    return CrmRecord(kind, str(record.id), f"{app_url}/{PAGES[kind]}/{record.id}")


def _owner(record: Record) -> CrmOwner | None:
    return None if record.owner_id is None else CrmOwner(str(record.owner_id))


def _is_unqualified(lead: Record) -> bool:
    return lead.unqualified_reason_id is not None or (lead.status or "").casefold() == UNQUALIFIED


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)
