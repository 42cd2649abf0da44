"""Zoho CRM as a world of the contract: two organizations behind the local server, and people who work in Zoho's own pages."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import CardKind, PersonKind
from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zoho_crm.api import ZohoCrmAccount
from services.crm_sync.connectors.zoho_crm.connector import ZohoCrm
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, World
from tests.crm_sync.vendors.serving import HttpLine, Serving
from tests.crm_sync.vendors.zoho_crm_org import Org, Row
from tests.crm_sync.vendors.zoho_crm_server import Turned, ZohoCrmServer

API, KEN = "5725767000000411001", "5725767000000411002"
USERS: Mapping[str, str] = {API: "Chat", KEN: "佐藤 健"}
KIND_OF: Mapping[str, str] = {"lead": "Leads", "contact": "Contacts", "deal": "Deals"}
CUSTOM: Mapping[CardKind, str] = {"lead": "Budget", "person": "Budget"}
TOO_MANY = orjson.dumps(Turned(429, "TOO_MANY_REQUESTS").body)
APP_URL = "https://crm.zoho.com/crm"


class ZohoOffice(Office):
    def __init__(self, orgs: Mapping[str, Org]) -> None:
        self._orgs = orgs

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
        org = self._orgs[workspace_id]
        created = datetime.fromtimestamp(created_ms / 1000, UTC).isoformat()
        given = {"Created_Time": created, "owner_id": owner_id}
        person = {"Last_Name": name, "Email": email} | given
        account = {}
        if company is not None and kind != "lead":
            account = {"Account_Name": {"id": org.add("Accounts", Account_Name=company)["id"]}}
        if kind == "lead":
            row = org.add("Leads", **person, Company=company)
        elif kind == "contact":
            row = org.add("Contacts", **person, **account)
        else:
            there = [one for one in org.rows["Contacts"].values() if email and one["Email"] == email]
            contact = there[0] if there else org.add("Contacts", **person, **account)
            row = org.add(
                "Deals",
                Deal_Name=name,
                Stage="Qualification",
                Contact_Name={"id": contact["id"]},
                **given,
                **account,
            )
        return seen(kind, row)

    def _row(self, record: CrmRecord) -> Row:
        kind = KIND_OF[record.type]
        return next(org.rows[kind][record.id] for org in self._orgs.values() if record.id in org.rows[kind])

    async def remove(self, record: CrmRecord) -> None:
        for org in self._orgs.values():
            org.rows[KIND_OF[record.type]].pop(record.id, None)

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        """Nothing leads from the one to the other."""
        assert self._row(into)
        await self.remove(duplicate)

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        row, org = self._row(record), self._orgs[ACME]
        if kind == "company":
            row = org.rows["Accounts"][row["Account_Name"]["id"]]
        elif record.type == "deal":
            row = org.rows["Contacts"][row["Contact_Name"]["id"]]
        row[name] = value

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        rows = self._orgs[workspace_id].rows
        return [
            (row["Last_Name"], row["Email"], row["Owner"]["id"], row["Lead_Source"])
            for kind in ("Leads", "Contacts")
            for row in rows[kind].values()
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Above the last line."""
        return self._notes(r"\n\[(chat|missed_chat) \w+\]", workspace_id)

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        """Above the line that says who wrote it."""
        return self._notes(r"\n— [^\n]*\n\[note \w+\]", workspace_id)

    def _notes(self, end: str, workspace_id: str) -> list[tuple[str, str]]:
        org = self._orgs[workspace_id]
        found = []
        for note in org.notes.values():
            of = org.rows[note["module"]][note["parent"]]
            text = re.fullmatch(rf"(.*?){end}", note["Note_Content"], re.DOTALL)
            if text is not None:
                found.append((of.get("Deal_Name") or of["Last_Name"], text[1]))
        return found

    async def phone(self, record: CrmRecord) -> str | None:
        row = self._row(record)
        if record.type == "deal":
            row = self._orgs[ACME].rows["Contacts"][row["Contact_Name"]["id"]]
        phone: str | None = row["Phone"]
        return phone


def seen(kind: str, row: Row) -> CrmRecord:
    """The record with the address of the page on which people see it."""
    return CrmRecord(kind, row["id"], f"{APP_URL}/tab/{KIND_OF[kind]}/{row['id']}")


@dataclass(frozen=True)
class Zoho:
    """The connector and all that is behind it."""

    crm: ZohoCrm
    orgs: Mapping[str, Org]
    server: ZohoCrmServer
    serving: Serving
    kept: Tokens
    now_s: list[float]

    @property
    def acme(self) -> Org:
        return self.orgs[ACME]

    def world(self) -> World:
        return World(
            self.crm,
            ZohoOffice(self.orgs),
            HttpLine(self.serving, self.server, too_many=TOO_MANY),
            owner_id=KEN,
            together=("lead", "lead", "contact", "deal"),
            keeps_markers_unique=False,
            merges=frozenset({"lead", "contact"}),
            tells_merged=False,
            custom=dict(CUSTOM),
            refused_lead=replace(LEAD, owner_id="5725767000000411009"),
        )


def accounts(url: str, **settings: Any) -> dict[str, ZohoCrmAccount]:
    return {
        one: ZohoCrmAccount(
            "app",
            SecretStr("app-secret"),
            SecretStr(f"refresh-{one}"),
            url=url,
            accounts_url=url,
            private_addresses=True,
            **settings,
        )
        for one in (ACME, OTHER)
    }


def writes(method: str, path: str) -> bool:
    return method == "PUT" or (method == "POST" and path.endswith(("/Leads", "/Notes")))


@asynccontextmanager
async def zoho(folder: Path, **settings: Any) -> AsyncIterator[Zoho]:
    orgs = {one: Org(API, USERS) for one in (ACME, OTHER)}
    now_s = [0.0]
    server = ZohoCrmServer({f"refresh-{one}": org for one, org in orgs.items()}, now_s=lambda: now_s[0])
    kept = await Tokens.open(f"sqlite:///{folder}/tokens.db")
    async with Serving(server.app, writes=writes).open() as serving:
        crm = ZohoCrm(accounts(serving.url, **settings), kept=kept)
        try:
            yield Zoho(crm, orgs, server, serving, kept, now_s)
        finally:
            await crm.close()
            await kept.close()
