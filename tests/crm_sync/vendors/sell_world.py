"""Zendesk Sell as a world of the contract: two accounts behind the local server, and people who work in Sell's pages."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import CardKind, PersonKind
from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zendesk_sell.api import SellAccount
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, World
from tests.crm_sync.vendors.sell_server import TOO_MANY, SellAccountData, SellServer
from tests.crm_sync.vendors.serving import HttpLine, Serving

REFERENCE = "Chat reference"
KEN = "301"
PATHS = {"lead": "leads", "deal": "deals", "contact": "contacts"}


def writes(method: str, path: str) -> bool:
    return method == "PUT" or (method == "POST" and path in ("/v2/leads", "/v2/notes"))


def seen(kind: str, thing: dict[str, Any]) -> CrmRecord:
    """The record with the address of the page on which people see it."""
    page = {"lead": "leads", "deal": "sales/deals", "contact": "crm/contacts"}[kind]
    return CrmRecord(kind, str(thing["id"]), f"https://app.futuresimple.com/{page}/{thing['id']}")


class SellOffice(Office):
    """People at Sell, who see what stands there."""

    def __init__(self, accounts: dict[str, SellAccountData]) -> None:
        self._accounts = accounts

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
        account = self._accounts[workspace_id]
        owned: dict[str, Any] = {} if owner_id is None else {"owner_id": int(owner_id)}
        if created_ms:
            owned["created_at"] = datetime.fromtimestamp(created_ms / 1_000, UTC).isoformat()
        if kind == "lead":
            lead = account.put("leads", last_name=name, email=email, organization_name=company, **owned)
            return seen("lead", lead)
        of: dict[str, Any] = {}
        if company is not None:
            of["contact_id"] = account.put("contacts", name=company, is_organization=True)["id"]
        contact = account.put("contacts", name=name, email=email, is_organization=False, **of, **owned)
        if kind == "contact":
            return seen("contact", contact)
        deal = account.put(
            "deals", name=name, contact_id=contact["id"], stage_id=1, value="12.50", currency="EUR", **owned
        )
        return seen("deal", deal)

    async def remove(self, record: CrmRecord) -> None:
        for account in self._accounts.values():
            account.things[PATHS[record.type]].pop(int(record.id), None)

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        await self.remove(duplicate)
        for note in self._accounts[ACME].things["notes"].values():
            if (note["resource_type"], note["resource_id"]) == (duplicate.type, int(duplicate.id)):
                note["resource_id"] = int(into.id)

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        things = self._accounts[ACME].things
        thing = things[PATHS[record.type]][int(record.id)]
        if kind == "company":
            thing = things["contacts"][thing["contact_id"]]
        thing["custom_fields"][name] = value

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        account = self._accounts[workspace_id]
        sources = account.things["lead_sources"]
        return [
            (
                one["last_name"],
                one["email"],
                str(one["owner_id"]),
                sources[one["source_id"]]["name"] if "source_id" in one else None,
            )
            for one in account.things["leads"].values()
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [
            (name, content.partition("\n\n")[2].rpartition("\n")[0])
            for name, content in self._notes(r"\[(chat|missed_chat) \w+\]", workspace_id)
        ]

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [
            (name, content.rpartition("\n— ")[0])
            for name, content in self._notes(r"\[note \w+\]", workspace_id)
        ]

    def _notes(self, last_line: str, workspace_id: str) -> list[tuple[str, str]]:
        account = self._accounts[workspace_id]
        found = []
        for note in account.things["notes"].values():
            of = account.things[f"{note['resource_type']}s"][note["resource_id"]]
            if re.fullmatch(last_line, note["content"].rpartition("\n")[2]):
                found.append((of.get("name") or of["last_name"], note["content"]))
        return found

    async def phone(self, record: CrmRecord) -> str | None:
        phone = self._accounts[ACME].things[PATHS[record.type]][int(record.id)].get("phone")
        return None if phone is None else str(phone)


@dataclass
class Scene:
    server: SellServer
    serving: Serving
    kept: Tokens

    def account(self, token: str = ACME, **changes: Any) -> SellAccount:
        usual = SellAccount(SecretStr(token), REFERENCE, url=self.serving.url, private_addresses=True)
        return replace(usual, **changes)

    def world(self, crm: SellCrm) -> World:
        return World(
            crm,
            SellOffice(self.server.accounts),
            HttpLine(self.serving, self.server, too_many=TOO_MANY),
            owner_id=KEN,
            keeps_markers_unique=False,
            merges=frozenset({"lead", "contact"}),
            tells_merged=False,
            custom={"lead": "Tier", "person": "Rank"},
            refused_lead=replace(LEAD, owner_id="999"),
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[SellCrm]:
        crm = SellCrm({ACME: self.account(ACME), OTHER: self.account(OTHER)}, kept=self.kept)
        try:
            yield crm
        finally:
            await crm.close()


@asynccontextmanager
async def sell(folder: Path) -> AsyncIterator[Scene]:
    server = SellServer()
    server.accounts = {ACME: SellAccountData(), OTHER: SellAccountData()}
    kept = await Tokens.open(f"sqlite:///{folder}/tokens.db")
    try:
        async with Serving(server.app, writes=writes).open() as serving:
            yield Scene(server, serving, kept)
    finally:
        await kept.close()
