"""Salesforce as a world of the contract: two orgs behind the local server, and people who work in its pages."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import CardKind, PersonKind
from services.crm_sync.connectors.salesforce.api import SalesforceAccount
from services.crm_sync.connectors.salesforce.connector import NOTE_FROM, SalesforceCrm
from services.crm_sync.connectors.vendor.tokens import Tokens
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, World
from tests.crm_sync.vendors.salesforce_org import PREFIXES, Org, Row
from tests.crm_sync.vendors.salesforce_server import SalesforceServer
from tests.crm_sync.vendors.serving import HttpLine, Serving

KEN, API = "005000000000007KEN", "005000000000008API"
KIND_OF: Mapping[str, str] = {"lead": "Lead", "contact": "Contact", "deal": "Opportunity"}
CUSTOM: Mapping[CardKind, str] = {"lead": "Budget__c", "person": "Budget__c"}


class SalesforceOffice(Office):
    def __init__(self, orgs: Mapping[str, Org], url: str) -> None:
        self._orgs = orgs
        self._url = url

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
        created = datetime.fromtimestamp(created_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        given = {"CreatedDate": created} | ({} if owner_id is None else {"OwnerId": owner_id})
        account = {} if company is None else {"AccountId": org.add("Account", {"Name": company})["Id"]}
        person = {"LastName": name, "Email": email} | given
        if kind == "lead":
            row = org.add("Lead", person | {"Company": company or "?"})
        elif kind == "contact":
            row = org.add("Contact", person | account)
        else:
            there = [one for one in org.rows["Contact"].values() if email and one["Email"] == email]
            contact = there[0] if there else org.add("Contact", person | account)
            row = org.add("Opportunity", {"Name": name} | given | account)
            org.add(
                "OpportunityContactRole",
                {"OpportunityId": row["Id"], "ContactId": contact["Id"], "IsPrimary": True},
            )
        return CrmRecord(kind, row["Id"], f"{self._url}/{row['Id']}")

    def _row(self, record: CrmRecord) -> Row:
        kind = KIND_OF[record.type]
        return next(org.rows[kind][record.id] for org in self._orgs.values() if record.id in org.rows[kind])

    async def remove(self, record: CrmRecord) -> None:
        self._row(record)["IsDeleted"] = True

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        self._row(duplicate).update(IsDeleted=True, MasterRecordId=into.id)

    async def fill(self, record: CrmRecord, *, kind: CardKind, name: str, value: str) -> None:
        row, org = self._row(record), self._orgs[ACME]
        if kind == "company":
            row = org.rows["Account"][row["AccountId"]]
        elif record.type == "deal":
            row = self._contact(org, row)
        row[name] = value

    def _contact(self, org: Org, deal: Row) -> Row:
        roles = org.rows["OpportunityContactRole"].values()
        return next(
            org.rows["Contact"][one["ContactId"]] for one in roles if one["OpportunityId"] == deal["Id"]
        )

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        rows = self._orgs[workspace_id].rows
        return [
            (row["Name"], row["Email"], row["OwnerId"], row["LeadSource"])
            for kind in ("Lead", "Contact")
            for row in rows[kind].values()
            if not row["IsDeleted"]
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return self._tasks(workspace_id, notes=False)

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return self._tasks(workspace_id, notes=True)

    def _tasks(self, workspace_id: str, *, notes: bool) -> list[tuple[str, str]]:
        org = self._orgs[workspace_id]
        kinds = {prefix: kind for kind, prefix in PREFIXES.items()}
        return [
            (org.rows[kinds[of[:3]]][of]["Name"], row["Description"])
            for row in org.rows["Task"].values()
            if row["Subject"].startswith(NOTE_FROM) is notes and (of := row["WhoId"] or row["WhatId"])
        ]

    async def phone(self, record: CrmRecord) -> str | None:
        row = self._row(record)
        found = row if record.type != "deal" else self._contact(self._orgs[ACME], row)
        phone: str | None = found["Phone"]
        return phone


class SalesforceLine(HttpLine):
    limits_rate = False  # it has a limit of a day, and does not say when it ends


@dataclass(frozen=True)
class Salesforce:
    """The connector and all that is behind it."""

    crm: SalesforceCrm
    orgs: Mapping[str, Org]
    server: SalesforceServer
    serving: Serving
    kept: Tokens

    @property
    def acme(self) -> Org:
        return self.orgs[ACME]

    def world(self) -> World:
        return World(
            self.crm,
            SalesforceOffice(self.orgs, self.serving.url),
            SalesforceLine(self.serving, self.acme, too_many=b""),
            owner_id=KEN,
            together=("lead", "lead", "contact", "deal"),
            merges=frozenset({"lead", "contact"}),
            custom=dict(CUSTOM),
            refused_lead=replace(LEAD, owner_id="005000000000009NUL"),
        )


def accounts(url: str, **settings: Any) -> dict[str, SalesforceAccount]:
    return {
        one: SalesforceAccount(
            url, f"app-{one}", SecretStr(f"app-{one}-secret"), private_addresses=True, **settings
        )
        for one in (ACME, OTHER)
    }


@asynccontextmanager
async def salesforce(folder: Path) -> AsyncIterator[Salesforce]:
    orgs = {one: Org((API, KEN)) for one in (ACME, OTHER)}
    server = SalesforceServer({f"app-{one}": org for one, org in orgs.items()})
    kept = await Tokens.open(f"sqlite:///{folder}/tokens.db")
    async with Serving(
        server.app, writes=lambda _, path: "/sobjects/" in path and "describe" not in path
    ).open() as serving:
        crm = SalesforceCrm(accounts(serving.url), kept=kept)
        try:
            yield Salesforce(crm, orgs, server, serving, kept)
        finally:
            await crm.close()
            await kept.close()
