"""A small connector: leads and activities, in a CRM with an HTTP API that exists for this example only.

The one rule: it turns values into requests and answers into values. What a failure means, logins, and how many requests a second are
sent is `Site`'s business; when something is sent again, the sync's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from pydantic import TypeAdapter

from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.interface import (
    LOGIN_REFUSED,
    RECORD_GONE,
    TEXT_TOO_LONG,
    Connector,
    Undeclared,
)
from services.crm_sync.connectors.records import Declaration, Found, Limits, NewActivity, NewLead, Person
from services.crm_sync.connectors.vendor.logins import Fixed
from services.crm_sync.connectors.vendor.site import Site
from services.runtime.effects import Refused, Unavailable

DECLARED = Declaration(
    name="example",
    capabilities=frozenset({"lead", "activity"}),
    limits=Limits(
        body_max=10_000,
        body_unit="characters",
        name_chars_max=100,
        people_found_max=50,
        requests_per_s_max=10,
    ),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A record as the API answers it; what else it says is left aside."""

    id: str
    type: str
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _PersonRow(_Row):
    type: Literal["lead", "contact"]
    created_ms: int
    open: bool


_ROW = TypeAdapter(_Row)
_PEOPLE = TypeAdapter(list[_PersonRow])


class ExampleCrm(Undeclared, Connector):
    """`tokens`: the access token of each workspace's account. `Undeclared` refuses what this connector can't do."""

    def __init__(self, url: str, tokens: Mapping[str, str], *, private_addresses: bool = False) -> None:
        self._sites = {
            workspace_id: Site(url, login=Fixed(token), private_addresses=private_addresses)
            for workspace_id, token in tokens.items()
        }

    @property
    def declared(self) -> Declaration:
        """What it is, can do and allows."""
        return DECLARED

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Ask for everybody with this address; this CRM leaves letter case aside by itself."""
        rows = await self._site(workspace_id).read("GET", "/people", _PEOPLE, params={"email": email})
        return [
            Person(CrmRecord(row.type, row.id), row.type, row.created_ms, open=row.open, owner=_owner(row))
            for row in rows
        ]

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead. In this CRM a reference is unique: the same again answers with the lead there is."""
        sent = {
            "reference": marker,
            "name": lead.name,
            "email": lead.email,
            "phone": lead.phone,
            "owner": lead.owner_id,
            "source": lead.source,
            "note": lead.note,
        }
        return _found(await self._site(workspace_id).write("POST", "/leads", _ROW, json=sent))

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add a conversation to the feed of `to`."""
        if len(activity.text) > DECLARED.limits.body_max:
            raise Refused(TEXT_TOO_LONG)
        sent = {"reference": marker, "title": activity.title, "text": activity.text}
        path = f"/people/{quote(to.id, safe='')}/activities"
        return _found(await self._site(workspace_id).write("POST", path, _ROW, json=sent))

    async def find_marker(
        self, marker: str, *, workspace_id: str, on: Sequence[CrmRecord] = ()
    ) -> Found | None:
        """Ask for a reference. This CRM finds it wherever it stands, so `on` is not needed."""
        del on
        try:
            row = await self._site(workspace_id).read("GET", f"/references/{quote(marker, safe='')}", _ROW)
        except Refused as refused:
            if refused.code == RECORD_GONE:
                return None
            raise
        return _found(row)

    async def close(self) -> None:
        """End the connections."""
        for site in self._sites.values():
            await site.close()

    def _site(self, workspace_id: str) -> Site:
        if workspace_id not in self._sites:
            raise Unavailable(LOGIN_REFUSED)
        return self._sites[workspace_id]


def _found(row: _Row) -> Found:
    return Found(CrmRecord(row.type, row.id), _owner(row))


def _owner(row: _Row) -> CrmOwner | None:
    return None if row.owner is None else CrmOwner(row.owner)
