"""Who is in a HubSpot account: contacts and deals as the sync knows them, and who owns them.

The one rule: a record is read by its number, its address or its marker, and so is as it is now. One that was merged into another comes
back as that one, with another number.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import spellings
from services.crm_sync.connectors.hubspot.api import CONTACTS, DEALS, OWNER, Desk, Owner, Record
from services.crm_sync.connectors.interface import RECORD_GONE
from services.crm_sync.connectors.records import Person
from services.runtime.effects import Refused

KINDS: Mapping[str, str] = {"contact": CONTACTS, "deal": DEALS}
PAGES: Mapping[str, str] = {"contact": "0-1", "deal": "0-3", "ticket": "0-5"}
"""What HubSpot calls kinds of records in the addresses of their pages."""
UNQUALIFIED = "UNQUALIFIED"
"""The lead status of a lead that is lost."""
_OWNER = "hubspot_owner_id"
_CONTACT = ("lifecyclestage", "hs_lead_status", "createdate", _OWNER)
_DEAL = ("hs_is_closed", "createdate", _OWNER)


async def people_with(desk: Desk, email: str, *, people_max: int) -> Sequence[Person]:
    """Return the contact with this address, and that contact's deals."""
    contact = await contact_with(desk, email)
    if contact is None:
        return []
    found = [
        Person(
            record_of(desk, "contact", contact.id),
            "lead" if desk.is_lead(contact) else "contact",
            _created_ms(contact),
            open=contact.get("hs_lead_status") != UNQUALIFIED,
            owner=await owner_of(desk, contact),
        )
    ]
    deal_ids = contact.linked(DEALS)[: people_max - 1]
    deals = await desk.get_all(DEALS, deal_ids, properties=_DEAL) if deal_ids else ()
    return found + [
        Person(
            record_of(desk, "deal", deal.id),
            "deal",
            _created_ms(deal),
            open=deal.get("hs_is_closed") != "true",
            owner=await owner_of(desk, deal),
        )
        for deal in deals
    ]


async def contact_with(desk: Desk, email: str) -> Record | None:
    """Return the contact with this address, be it one of its further ones."""
    # HubSpot compares addresses without letter case.
    for spelling in dict.fromkeys(one.casefold() for one in spellings(email)):
        found = await desk.get(CONTACTS, spelling, properties=_CONTACT, links=(DEALS,), by="email")
        if found is not None:
            return found
    return None


async def standing_of(
    desk: Desk, record: CrmRecord, *, properties: Sequence[str] = (_OWNER,), links: Sequence[str] = ()
) -> Record:
    """Return the record as it is now. Raises Refused where it is gone."""
    found = await desk.get(KINDS.get(record.type, ""), number_of(record), properties=properties, links=links)
    if found is None:
        raise Refused(RECORD_GONE)
    return found


async def owner_of(desk: Desk, record: Record) -> CrmOwner | None:
    """Return the owner of a record of which this was asked, or None where it has none."""
    owner_id = record.get(_OWNER)
    if not owner_id:
        return None
    return await desk.owners.of(owner_id, lambda: _owner(desk, owner_id))


async def _owner(desk: Desk, owner_id: str) -> CrmOwner:
    try:
        user = await desk.site.read("GET", desk.path("owners", owner_id), OWNER)
    except Refused as refused:
        if refused.code != RECORD_GONE:
            raise
        user = Owner(owner_id)  # somebody who has left
    name = " ".join(filter(None, (user.first_name, user.last_name)))
    return CrmOwner(owner_id, name or None, user.email)


def number_of(record: CrmRecord) -> str:
    """Return the number of a contact or deal. Raises Refused for what can't be one."""
    if record.type not in KINDS or not (record.id.isascii() and record.id.isdigit()):
        raise Refused(RECORD_GONE)
    return record.id


def record_of(desk: Desk, kind: str, number: str) -> CrmRecord:
    """Return a record with the address of its page, where it has one and the account says its own number."""
    account = desk.account
    if account.portal_id is None or kind not in PAGES:
        return CrmRecord(kind, number)
    page = f"{account.app_url}/contacts/{account.portal_id}/record/{PAGES[kind]}/{number}"
    return CrmRecord(kind, number, page)


def _created_ms(record: Record) -> int:
    return int(datetime.fromisoformat(record.get("createdate")).timestamp() * 1000)
