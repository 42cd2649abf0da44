"""A CRM on paper: it does all that a connector can, keeps it in memory, and files what it is sent as often as it is sent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.interface import NOT_SUPPORTED, RECORD_GONE, Connector, Undeclared
from services.crm_sync.connectors.records import (
    Capability,
    Declaration,
    Found,
    NewActivity,
    NewLead,
    NewNote,
    NewTicket,
    Person,
    PersonKind,
)
from services.runtime.effects import Refused
from tests.crm_sync.material import LIMITS

ALL: frozenset[Capability] = frozenset({"lead", "activity", "note", "phone", "ticket"})
OWNER = CrmOwner("z", "Zoe", "zoe@acme.example")


@dataclass
class Sheet:
    """One person, and what was filed about them."""

    person: Person
    email: str
    marker: str = ""
    lead: NewLead | None = None
    phone: str | None = None
    entries: list[tuple[str, NewActivity]] = field(default_factory=list)
    notes: list[tuple[str, NewNote]] = field(default_factory=list)


class PaperCrm(Undeclared, Connector):
    """Markers do not hinder it from filing twice. `blind`: a search finds nobody (yet), as in CRMs that index later."""

    def __init__(self, capabilities: frozenset[Capability] = ALL) -> None:
        self.declared_ = Declaration("paper", capabilities, LIMITS)
        self.sheets: dict[str, Sheet] = {}
        self.tickets: list[tuple[str, NewTicket]] = []
        self.blind = False
        self.on_search: Callable[[], None] | None = None
        """Happens right after the next search."""
        self._last = 0

    @property
    def declared(self) -> Declaration:
        return self.declared_

    def add(
        self,
        kind: PersonKind = "lead",
        *,
        email: str = "hanako@example.com",
        is_open: bool = True,
        owner: CrmOwner | None = OWNER,
        marker: str = "",
        lead: NewLead | None = None,
    ) -> Sheet:
        self._last += 1
        record = CrmRecord(kind, str(self._last), f"https://crm.example/{self._last}")
        sheet = Sheet(
            Person(record, kind, self._last, open=is_open, owner=owner), email, marker=marker, lead=lead
        )
        self.sheets[record.id] = sheet
        return sheet

    def merge(self, one: Sheet, into: Sheet) -> None:
        """Nothing is left under the old id, and nothing says where it went."""
        del self.sheets[one.person.record.id]
        into.entries += one.entries
        into.notes += one.notes

    def _sheet(self, record: CrmRecord) -> Sheet:
        found = self.sheets.get(record.id)
        if found is None:
            raise Refused(RECORD_GONE)
        return found

    async def find_people(self, email: str, **_: Any) -> Sequence[Person]:
        found = [
            one.person
            for one in self.sheets.values()
            if one.email.lower() == email.lower() and not self.blind
        ]
        happens, self.on_search = self.on_search, None
        if happens is not None:
            happens()
        return found

    async def create_lead(self, lead: NewLead, *, marker: str, **_: Any) -> Found:
        self._must("lead")
        owner = None if lead.owner_id is None else CrmOwner(lead.owner_id)
        return _found(self.add(email=lead.email, owner=owner, marker=marker, lead=lead))

    async def add_activity(self, activity: NewActivity, *, to: CrmRecord, marker: str, **_: Any) -> Found:
        self._must("activity")
        sheet = self._sheet(to)
        sheet.entries.append((marker, activity))
        return replace(_found(sheet), record=CrmRecord("activity", marker))

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, **_: Any) -> Found:
        self._must("note")
        sheet = self._sheet(to)
        sheet.notes.append((marker, note))
        return Found(CrmRecord("note", marker))

    async def set_phone(self, phone: str, *, of: CrmRecord, **_: Any) -> Found:
        self._must("phone")
        sheet = self._sheet(of)
        sheet.phone = phone
        return _found(sheet)

    async def create_ticket(self, ticket: NewTicket, *, marker: str, **_: Any) -> Found:
        self._must("ticket")
        self.tickets.append((marker, ticket))
        return Found(CrmRecord("ticket", marker))

    async def find_marker(self, marker: str, **_: Any) -> Found | None:
        return next((found for carried, found in self._carried() if carried == marker), None)

    def _carried(self) -> Iterator[tuple[str, Found]]:
        for sheet in self.sheets.values():
            yield sheet.marker, _found(sheet)
            for marker, _entry in sheet.entries:
                yield marker, replace(_found(sheet), record=CrmRecord("activity", marker))
            for marker, _note in sheet.notes:
                yield marker, Found(CrmRecord("note", marker))
        for marker, _ticket in self.tickets:
            yield marker, Found(CrmRecord("ticket", marker))

    def _must(self, capability: Capability) -> None:
        if capability not in self.declared.capabilities:
            raise Refused(NOT_SUPPORTED)

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def filed(self) -> list[tuple[str, str]]:
        """Whose feed has which conversation: a person's id and a link."""
        return [(key, entry.link) for key, sheet in self.sheets.items() for _marker, entry in sheet.entries]


def _found(sheet: Sheet) -> Found:
    return Found(sheet.person.record, sheet.person.owner)
