"""What the contract of connectors needs to know of one CRM, and what it sends there.

The one rule: a world says what its CRM can't do, and the tests of that are skipped with this as the reason; nothing else is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import (
    Capability,
    CardKind,
    Found,
    NewActivity,
    NewLead,
    NewNote,
    NewTicket,
    PersonKind,
    Staff,
)
from services.crm_sync.conversation import activity_of
from tests.crm_sync.material import LIMITS, said, transcript

ACME, OTHER = "acme", "other"
LEAD = NewLead(
    "山田 花子", "Hanako@Example.com", "chat", owner_id="ken", phone="+81312345678", note="ask again"
)
NOTE = NewNote("Please call her.", Staff("ken", "佐藤 健"))
TICKET = NewTicket(
    type="missed_chat",
    title="Missed chat with 山田 花子",
    text="Do you ship to Kyoto?",
    question="Do you ship to Kyoto?",
    name="山田 花子",
    link="https://chat.example.com/t/abc",
    created_at="2026-11-21T09:05:00.000Z",
    email="Hanako@Example.com",
    phone="+81312345678",
    tag="shipping",
)

Loss = Literal["unreached", "before", "after", "half", "gateway"]
"""How an answer gets lost: the CRM is not reached; it is, and the connection ends before it acts, after it, or within its answer; or a
gateway before it answers with an error though it has acted."""
ACTED: Mapping[Loss, bool] = {
    "unreached": False,
    "before": False,
    "after": True,
    "half": True,
    "gateway": True,
}

Written = Literal["lead", "activity", "note", "ticket"]
WRITTEN: tuple[Written, ...] = ("lead", "activity", "note", "ticket")
"""What is created with a marker."""


def activity(text: str = "Hello") -> NewActivity:
    return activity_of(transcript(messages=(said(text),)), limits=LIMITS)


@dataclass(frozen=True, slots=True)
class SeenTicket:
    """A ticket as somebody at the CRM sees it."""

    text: str
    name: str
    email: str | None
    phone: str | None
    tag: str | None
    person: str | None


class Office:
    """What people at the CRM do and see, beside the connector. A CRM that lacks one of these things leaves it out."""

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
        raise NotImplementedError

    async def remove(self, record: CrmRecord) -> None:
        raise NotImplementedError

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        raise NotImplementedError

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        """Give a custom field of the section `kind` of this record's card a value."""
        raise NotImplementedError

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        """Name, address, owner and source of everybody, in the order they came."""
        raise NotImplementedError

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Name of the person and text, of every entry that came from a conversation."""
        raise NotImplementedError

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Name of the person and text, of every note."""
        raise NotImplementedError

    async def told(self, owner_id: str) -> list[str]:
        """Texts of the notes this owner was told of by the CRM."""
        raise NotImplementedError

    async def phone(self, record: CrmRecord) -> str | None:
        raise NotImplementedError

    async def tickets(self, workspace_id: str = ACME, *, missed: bool = False) -> list[SeenTicket]:
        """All tickets, or those of the saved view "missed chats"."""
        raise NotImplementedError


class Line:
    """What can go wrong between connector and CRM. A world whose line can do some of it says so, and overrides it."""

    losses: frozenset[Loss] = frozenset()
    limits_rate = False
    asks_login = False

    async def lose(self, how: Loss) -> None:
        """The answer to the next request that writes gets lost; what follows goes well."""
        raise NotImplementedError

    async def ask_to_wait(self, wait_s: int) -> None:
        """The CRM turns the next request away, and asks to be left alone for so long."""
        raise NotImplementedError

    async def lock_out(self) -> None:
        """The CRM takes the connector's login no more."""
        raise NotImplementedError

    async def let_in(self) -> None:
        """The login is good again."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class World:
    """A connector, the CRM behind it, and what this CRM can't do."""

    connector: Connector
    office: Office
    line: Line = field(default_factory=Line)
    kinds: frozenset[PersonKind] = frozenset({"lead", "deal", "contact"})
    together: tuple[PersonKind, ...] = ("lead", "lead", "deal", "contact")
    """Records that can have the same address in this CRM."""
    owner_id: str = "ken"
    """An owner the CRM knows."""
    sets_dates: bool = True
    """Whether the office can say when somebody was added."""
    keeps_markers_unique: bool = True
    """Whether the CRM itself takes a marker once; otherwise the marker is asked for before anything is sent again."""
    merges: frozenset[PersonKind] = frozenset()
    tells_merged: bool = True
    """Whether the CRM says whom somebody was merged into."""
    custom: Mapping[CardKind, str] = field(default_factory=dict)
    """A custom text field of each section of a card that can have one."""
    refused_lead: NewLead | None = None
    """A lead with a field this CRM does not take."""

    @property
    def lead(self) -> NewLead:
        return replace(LEAD, owner_id=self.owner_id)

    @property
    def kind(self) -> PersonKind:
        """The first kind this CRM has; the order of a set is another one in every run."""
        kinds: tuple[PersonKind, ...] = ("lead", "contact", "deal")
        return next(one for one in kinds if one in self.kinds)

    def needs(self, *capabilities: Capability) -> None:
        missing = sorted(set(capabilities) - self.connector.declared.capabilities)
        if missing:
            pytest.skip(f"does not declare {', '.join(missing)}")

    async def add(self, name: str, email: str | None = "h@example.com") -> CrmRecord:
        """Somebody, of the first kind this CRM has."""
        return await self.office.add(self.kind, name, email)

    async def write(
        self,
        what: Written,
        *,
        to: CrmRecord,
        marker: str = "M",
        text: str = "Hello",
        workspace_id: str = ACME,
    ) -> Found:
        """Create one thing with this marker; `text` stands in it."""
        match what:
            case "lead":
                # As in the sync, whose marker of a lead is made of the address: some CRMs take an address once.
                lead = replace(self.lead, name=text, email=f"{marker}@example.com".lower())
                return await self.connector.create_lead(lead, marker=marker, workspace_id=workspace_id)
            case "activity":
                return await self.connector.add_activity(
                    replace(activity(), text=text), to=to, marker=marker, workspace_id=workspace_id
                )
            case "note":
                return await self.connector.add_note(
                    replace(NOTE, text=text), to=to, marker=marker, workspace_id=workspace_id
                )
            case "ticket":
                return await self.connector.create_ticket(
                    replace(TICKET, text=text, person=to), marker=marker, workspace_id=workspace_id
                )

    async def find(self, *on: CrmRecord, marker: str = "M", workspace_id: str = ACME) -> Found | None:
        """What carries this marker; unless it is a lead or a ticket it stands on one of these records."""
        return await self.connector.find_marker(marker, workspace_id=workspace_id, on=on)

    async def once(
        self, what: Written, *, to: CrmRecord, text: str = "Hello", before: CrmRecord | None = None
    ) -> Found:
        """Create it again, as the sync does: what the CRM does not keep unique itself is asked for first.

        `before`: whom it was written to when that was somebody else.
        """
        if not self.keeps_markers_unique:
            found = await self.find(before or to)
            if found is not None:
                return found
        return await self.write(what, to=to, text=text)

    async def written(self, what: Written, workspace_id: str = ACME) -> list[str]:
        """The texts of everything of this sort that the connector created."""
        match what:
            case "lead":
                source = self.lead.source
                return [name for name, _, _, by in await self.office.people(workspace_id) if by == source]
            case "activity":
                return [text for _, text in await self.office.feed(workspace_id)]
            case "note":
                return [text for _, text in await self.office.notes(workspace_id)]
            case "ticket":
                return [one.text for one in await self.office.tickets(workspace_id)]
