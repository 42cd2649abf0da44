"""What the connector needs in a HubSpot account beyond HubSpot's own: properties of contacts, notes and tickets, and a list of missed chats.

The one rule: the marker's property is made last, so where it is there all is there, and it must be one whose values HubSpot keeps unique:
without that a repeated request would make a second record, so nothing is written. What HubSpot refuses here is no fault of the record
that was to be written: it waits until the account has been put right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from services.crm_sync.connectors.hubspot.api import (
    ALREADY_THERE,
    CONTACTS,
    MARKER,
    MARKER_NOT_UNIQUE,
    NOTES,
    PROPERTY,
    TICKETS,
    Desk,
    Property,
)
from services.crm_sync.connectors.interface import RECORD_GONE, SETUP_NEEDED
from services.runtime.effects import Refused, Unavailable
from services.runtime.logs import log

GROUP = "chat"
TYPE, SOURCE, NOTE = "chat_type", "chat_source", "chat_note"
NAME, EMAIL, PHONE, TAG, LINK = "chat_name", "chat_email", "chat_phone", "chat_tag", "chat_link"
MISSED = "Missed chats"
TICKET_TYPE_ID = "0-5"
"""What HubSpot calls the kind of tickets in a list."""

_MADE = TypeAdapter(dict[str, Any])
"""Whatever was made: nothing is read from it."""
_log = log(__name__)


@dataclass(frozen=True, slots=True)
class _Own:
    name: str
    label: str
    long: bool = False


OWN: Mapping[str, tuple[_Own, ...]] = {
    CONTACTS: (_Own(SOURCE, "Source (chat)"), _Own(NOTE, "Note from the chat", long=True)),
    NOTES: (_Own(TYPE, "Kind of chat"),),
    TICKETS: (
        _Own(TYPE, "Kind of chat"),
        _Own(NAME, "Visitor's name"),
        _Own(EMAIL, "Visitor's e-mail"),
        _Own(PHONE, "Visitor's phone"),
        _Own(TAG, "Tag"),
        _Own(LINK, "Whole conversation"),
    ),
}
"""The properties of each kind beside its marker, fewer than the ten that an account without a subscription may have."""


async def prepare(desk: Desk, kind: str) -> None:
    """Make what this kind of record lacks, once in a process. Raises Unavailable and OutcomeUnknown; then it can be done again."""
    if kind in desk.prepared:
        return
    async with desk.preparing:
        if kind in desk.prepared:
            return
        try:
            await _prepare(desk, kind)
        except Refused as refused:
            _log.warning("hubspot_setup_refused", kind=kind, code=refused.code)
            raise Unavailable(SETUP_NEEDED) from refused
        desk.prepared.add(kind)


async def _prepare(desk: Desk, kind: str) -> None:
    marker = await _marker(desk, kind)
    if marker is None:
        await _unless_there(desk, {"name": GROUP, "label": "Chat"}, kind, "groups")
        for one in OWN[kind]:
            made = _definition(one.name, one.label, field="textarea" if one.long else "text")
            await _unless_there(desk, made, kind)
        if kind == TICKETS:
            await _make_list(desk)
        unique = _definition(MARKER, "Chat marker", field="text") | {"hasUniqueValue": True}
        await _unless_there(desk, unique, kind)
        marker = await _marker(desk, kind)
    if marker is None or not marker.unique:
        raise Unavailable(MARKER_NOT_UNIQUE)


async def _marker(desk: Desk, kind: str) -> Property | None:
    try:
        return await desk.site.read("GET", desk.path("properties", kind, MARKER), PROPERTY)
    except Refused as refused:
        if refused.code != RECORD_GONE:
            raise
        return None


def _definition(name: str, label: str, *, field: str) -> dict[str, Any]:
    return {"name": name, "label": label, "groupName": GROUP, "type": "string", "fieldType": field}


async def _unless_there(desk: Desk, what: Mapping[str, Any], *of: str) -> None:
    try:
        await desk.site.write("POST", desk.path("properties", *of), _MADE, json=what)
    except Refused as refused:
        if refused.code != ALREADY_THERE:
            raise


async def _make_list(desk: Desk) -> None:
    """Make the list that stands for a saved view: HubSpot's API makes lists of records, and no views."""
    missed = {
        "filterType": "PROPERTY",
        "property": TYPE,
        "operation": {"operationType": "MULTISTRING", "operator": "IS_EQUAL_TO", "values": ["missed_chat"]},
    }
    branch = {"filterBranchType": "AND", "filterBranches": [], "filters": [missed]}
    view = {
        "name": MISSED,
        "objectTypeId": TICKET_TYPE_ID,
        "processingType": "DYNAMIC",
        "filterBranch": {"filterBranchType": "OR", "filterBranches": [branch], "filters": []},
    }
    try:
        await desk.site.write("POST", desk.path("lists"), _MADE, json=view)
    except Refused as refused:
        # A list of this name is there, or the account has no more lists: tickets matter more than their list.
        _log.warning("hubspot_list_not_made", code=refused.code)
