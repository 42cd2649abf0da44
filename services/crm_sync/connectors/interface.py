"""What every connector to a CRM can do, how it says what went wrong, and what it declares about its limits.

The one rule: everything that is created carries a *marker* (the id of the effect that caused it). Creating with a marker that is
already in the CRM creates nothing and returns what is there, and `find_marker` tells whether it is there.
"""

from collections.abc import Sequence
from typing import Protocol

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import Declaration, Found, NewActivity, NewLead, Person
from services.runtime.effects import Transient


class OutcomeUnknown(Transient):
    """The request may have been carried out, or not: the marker is asked for before anything is sent again."""


class Connector(Protocol):
    """One CRM, for all workspaces that use it.

    Every method may raise, from `services.runtime.effects`, `Unavailable` (the CRM is down or asks for a pause), `Transient` (try
    again; nothing happened) and `Refused` (it never will: a field it does not take, a record that is gone, access denied), and
    where it writes also `OutcomeUnknown`; nothing else. Each has a code without any value of the record. None retries by itself.
    """

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows; it never changes."""

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Leads and contacts with exactly this address, letter case aside, in no particular order."""

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """The new lead, or the one that was created with this marker before."""

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """The new entry in the feed of `to`, or the one with this marker, wherever it is. `Refused("record_gone")` without `to`."""

    async def find_marker(self, marker: str, *, workspace_id: str) -> Found | None:
        """What carries this marker: a lead, or an activity."""

    async def close(self) -> None:
        """Ends its connections. It is not used again."""
