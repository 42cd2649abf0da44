"""HubSpot as a world of the contract: two accounts behind the local server, and people who work in HubSpot's own pages."""

import html
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.hubspot.api import MARKER, HubspotAccount
from services.crm_sync.connectors.hubspot.connector import HubspotCrm
from services.crm_sync.connectors.hubspot.setup import OWN
from services.crm_sync.connectors.records import CardKind, PersonKind
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, SeenTicket, World
from tests.crm_sync.vendors.hubspot_portal import Portal, Row
from tests.crm_sync.vendors.hubspot_server import HubspotServer
from tests.crm_sync.vendors.serving import HttpLine, Serving

KEN = "7700"
TOKENS: Mapping[str, str] = {ACME: "pat-na1-acme", OTHER: "pat-na1-other"}
TOO_MANY = b'{"status":"error","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING","category":"RATE_LIMITS"}'
KIND_OF: Mapping[str, str] = {"contact": "contacts", "deal": "deals"}
STAGE_OF: Mapping[PersonKind, str] = {"lead": "lead", "deal": "opportunity", "contact": "customer"}
CUSTOM: Mapping[CardKind, str] = {"lead": "budget", "person": "budget", "company": "tier"}


class HubspotOffice(Office):
    def __init__(self, portals: Mapping[str, Portal]) -> None:
        self._portals = portals

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
        portal = self._portals[workspace_id]
        created = {"createdate": datetime.fromtimestamp(created_ms / 1000, UTC).isoformat()}
        owned = created | ({} if owner_id is None else {"hubspot_owner_id": owner_id})
        there = None if email is None else portal.find_by("contacts", "email", email)
        row = contact = there
        if there is None or kind != "deal":
            # HubSpot has one contact with an address: a second one for the same person has none.
            address = {} if email is None or there is not None else {"email": email}
            given = {"firstname": name, "lifecyclestage": STAGE_OF[kind]} | owned | address
            row = contact = portal.add("contacts", given)
        assert row is not None
        assert contact is not None
        if kind == "deal":
            row = portal.add("deals", {"dealname": name, "hs_is_closed": "false"} | owned)
            portal.link(row, contact)
        if company is not None:
            firm = portal.add("companies", {"name": company})
            portal.link(firm, contact)
            if row is not contact:
                portal.link(firm, row)
        return CrmRecord("deal" if kind == "deal" else "contact", row.id)

    def _row(self, record: CrmRecord) -> Row:
        return next(
            rows[record.id]
            for portal in self._portals.values()
            if record.id in (rows := portal.rows[KIND_OF[record.type]])
        )

    async def remove(self, record: CrmRecord) -> None:
        self._row(record).archived = True

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        gone, kept = self._row(duplicate), self._row(into)
        kept.properties = gone.properties | kept.properties
        gone.archived = True
        self._portals[ACME].merged[gone.id] = kept.id

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        row = self._row(record)
        wanted = "companies" if kind == "company" else "contacts"
        if row.kind != wanted:
            row = next(one for one in row.links if one.kind == wanted)
        row.properties[name] = value

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        return [
            (
                row.name,
                row.properties.get("email"),
                row.properties.get("hubspot_owner_id"),
                row.properties.get("chat_source"),
            )
            for row in self._portals[workspace_id].rows["contacts"].values()
            if not row.archived
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Below the title."""
        return [
            (name, text.partition("\n")[2])
            for name, kind, text in self._notes(workspace_id)
            if kind != "note"
        ]

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Above the line that says who wrote it."""
        return [
            (name, text.rpartition("\n")[0])
            for name, kind, text in self._notes(workspace_id)
            if kind == "note"
        ]

    def _notes(self, workspace_id: str) -> list[tuple[str, str, str]]:
        return [
            (row.links[0].name, row.properties["chat_type"], _read(row.properties["hs_note_body"]))
            for row in self._portals[workspace_id].rows["notes"].values()
        ]

    async def phone(self, record: CrmRecord) -> str | None:
        row = self._row(record)
        contact = row if row.kind == "contacts" else row.links[0]
        return contact.properties.get("phone")

    async def tickets(self, workspace_id: str = ACME, *, missed: bool = False) -> list[SeenTicket]:
        portal = self._portals[workspace_id]
        rows = list(portal.rows["tickets"].values())
        if missed:
            (view,) = portal.lists
            rows = [row for row in rows if _is_in(row, view)]
        return [
            SeenTicket(
                text=row.properties["content"],
                name=row.properties["chat_name"],
                email=row.properties.get("chat_email"),
                phone=row.properties.get("chat_phone"),
                tag=row.properties.get("chat_tag"),
                person=next((one.name for one in row.links), None),
            )
            for row in rows
        ]


def _read(body: str) -> str:
    """What a browser shows of a note."""
    plain = body.replace("<strong>", "").replace("</strong>", "").replace("<br>", "\n")
    assert "<" not in plain
    return html.unescape(plain).replace("\u00a0", " ")


def _is_in(row: Row, view: Mapping[str, Any]) -> bool:
    return any(
        all(row.properties.get(one["property"]) in one["operation"]["values"] for one in branch["filters"])
        for branch in view["filterBranch"]["filterBranches"]
    )


@dataclass(frozen=True)
class Hubspot:
    """The connector and all that is behind it."""

    crm: HubspotCrm
    portals: Mapping[str, Portal]
    serving: Serving
    now_s: list[float]

    @property
    def acme(self) -> Portal:
        return self.portals[ACME]

    def world(self) -> World:
        return World(
            self.crm,
            HubspotOffice(self.portals),
            HttpLine(self.serving, self.acme, too_many=TOO_MANY),
            owner_id=KEN,
            together=("contact", "deal", "deal"),
            merges=frozenset({"lead", "contact"}),
            custom=dict(CUSTOM),
            refused_lead=replace(LEAD, owner_id="999999"),
        )


def accounts(url: str, **settings: Any) -> dict[str, HubspotAccount]:
    return {
        workspace_id: HubspotAccount(SecretStr(token), url=url, private_addresses=True, **settings)
        for workspace_id, token in TOKENS.items()
    }


@asynccontextmanager
async def hubspot(*, prepared: bool = True, **settings: Any) -> AsyncIterator[Hubspot]:
    """`prepared`: the accounts were used before, and have the properties of the connector."""
    portals = {workspace_id: Portal(KEN) for workspace_id in TOKENS}
    for portal in portals.values():
        for kind in ("contacts", "deals"):
            portal.define(kind, "budget")
        portal.define("companies", "tier")
        if prepared:
            _prepare(portal)
    now_s = [0.0]
    server = HubspotServer({TOKENS[one]: portal for one, portal in portals.items()}, now_s=lambda: now_s[0])
    async with Serving(server.app, writes=_writes).open() as serving:
        crm = HubspotCrm(accounts(serving.url, **settings))
        try:
            yield Hubspot(crm, portals, serving, now_s)
        finally:
            await crm.close()


def _prepare(portal: Portal) -> None:
    for kind, own in OWN.items():
        for one in own:
            portal.define(kind, one.name)
        portal.define(kind, MARKER, hasUniqueValue=True)
    missed = {"property": "chat_type", "operation": {"values": ["missed_chat"]}}
    portal.lists.append({"name": "Missed chats", "filterBranch": {"filterBranches": [{"filters": [missed]}]}})


def _writes(method: str, path: str) -> bool:
    return method == "PATCH" or (method == "POST" and not path.endswith("/batch/read"))
