"""What every connector to a CRM can do, how it says what went wrong, and what it declares about its limits.

The one rule: everything that is created carries a *marker* (the id of the effect that caused it), and `find_marker` tells whether it
is there. Where the CRM can keep markers unique, creating with one that is there creates nothing and returns what is there; where it
can't, a connector spends no request on looking first: the sync asks for the marker before it sends anything a second time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from schemas.events import Layouts
from schemas.outcomes import CrmRecord
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
from services.runtime.effects import Refused, Transient

NOT_SUPPORTED = "not_supported"
"""The code of a refusal of what a connector does not declare."""
RECORD_GONE = "record_gone"
"""The code of a refusal where the record is not there (any more), or is another workspace's."""
TEXT_TOO_LONG = "text_too_long"
"""The code of a refusal of a text longer than the connector declares."""
LOGIN_REFUSED = "login_refused"
"""The code of `Unavailable` where the CRM does not take the login: what comes meanwhile waits until somebody has put it right."""
SETUP_NEEDED = "setup_needed"
"""The code of `Unavailable` where the account lacks a field that the connector needs, and it can't make it: as with a login."""


def check_size(size: int, limits: Limits) -> None:
    """Raises Refused where a text is larger than the connector declares; `size` is in the unit it declares."""
    if size > limits.body_max:
        raise Refused(TEXT_TOO_LONG)


class OutcomeUnknown(Transient):
    """The request may have been carried out, or not: the marker is asked for before anything is sent again."""


class Connector(Protocol):
    """One CRM, for all workspaces that use it.

    Every method may raise, from `services.runtime.effects`, `Unavailable` (the CRM is down, asks for a pause, or does not take the
    login), `Transient` (try again; nothing happened) and `Refused` (it never will: a field it does not take, a record that is gone,
    access denied), and where it writes also `OutcomeUnknown`; nothing else. Each has a code without any value of the record. None
    retries by itself.
    What a connector does not declare among its capabilities it refuses with `not_supported`. A record that was merged into
    another stands for that one; where the CRM does not say which, it is `record_gone`, and the caller looks for the person again.
    """

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows; it never changes."""

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Leads, deals and contacts with exactly this address, letter case aside, in no particular order."""

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """The new lead, or the one that was created with this marker before."""

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """The new entry in the feed of `to`, or the one with this marker, wherever it is. `Refused("record_gone")` without `to`."""

    async def add_note(self, note: NewNote, *, to: CrmRecord, marker: str, workspace_id: str) -> Found:
        """The note on `to`, or the one with this marker; the CRM tells the owner where it declares `tells_owner`."""

    async def set_phone(self, phone: str, *, of: CrmRecord, workspace_id: str) -> Found:
        """The record whose phone number (E.164) is this one now, added or changed; setting it twice is setting it once."""

    async def create_ticket(self, ticket: NewTicket, *, marker: str, workspace_id: str) -> Found:
        """The new ticket, or the one with this marker."""

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        """What carries this marker: a lead, an activity, a note or a ticket. `on`: where it would stand, for a CRM that can look there only."""

    async def card_fields(self, *, workspace_id: str) -> Mapping[CardKind, Sequence[Field]]:
        """The fields a card can show, standard and custom ones, in the CRM's order."""

    async def read_card(self, record: CrmRecord, *, layouts: Layouts, workspace_id: str) -> Card:
        """What the CRM knows of a person, as laid out; an empty layout shows the standard fields, an unknown field is left out."""

    async def close(self) -> None:
        """Ends its connections. It is not used again."""


class Undeclared:
    """What need not be declared, refused: a connector that lacks some of it derives from this and overrides the rest."""

    async def create_lead(self, *_: Any, **__: Any) -> Found:
        """Refuse: the capability `lead` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def add_activity(self, *_: Any, **__: Any) -> Found:
        """Refuse: the capability `activity` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def add_note(self, *_: Any, **__: Any) -> Found:
        """Refuse: the capability `note` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def set_phone(self, *_: Any, **__: Any) -> Found:
        """Refuse: the capability `phone` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def create_ticket(self, *_: Any, **__: Any) -> Found:
        """Refuse: the capability `ticket` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def card_fields(self, *_: Any, **__: Any) -> Mapping[CardKind, Sequence[Field]]:
        """Refuse: the capability `card` is not declared."""
        raise Refused(NOT_SUPPORTED)

    async def read_card(self, *_: Any, **__: Any) -> Card:
        """Refuse: the capability `card` is not declared."""
        raise Refused(NOT_SUPPORTED)
