"""A real Tryton as a world of the contract: its office is an administrator's session, and a gateway in front of it loses answers."""

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import orjson
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.records import PersonKind
from services.crm_sync.connectors.tryton.connector import MODELS, TrytonCrm
from services.crm_sync.connectors.tryton.rpc import LOGIN_PAUSE_S, TrytonAccount, TrytonRpc
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, World
from tests.crm_sync.vendors.serving import HttpLine, Serving

CHAT, ADMIN = "chat", "administrator"
PASSWORD = "correct horse"
COMPANY: Mapping[str, Any] = {
    "company": "山田商店",
    "currency": "JPY",
    "employees": [
        {"code": "ken", "name": "佐藤 健", "email": "ken@crm.example"},
        {"code": "mia", "name": "Mia O'Neil", "email": "mia@crm.example"},
    ],
    "users": [
        {"name": "Chat", "login": CHAT, "password": PASSWORD},
        {"name": "Ken", "login": "ken", "password": PASSWORD, "employee": "ken"},
        {"name": "Administrator", "login": ADMIN, "password": PASSWORD},
    ],
    "people": [],
}
FORGOTTEN = ("ir_note", "sale_opportunity", "sale_opportunity__history", "party_contact_mechanism")
"""Tables that a test fills, beside the parties."""
CREATES = (
    *("model.ir.note.create", "model.sale.opportunity.create"),
    *("model.party.contact_mechanism.create", "model.party.contact_mechanism.write"),
)
"""What creates the things that carry markers, and phone numbers; the party of a lead comes before."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A Tryton that runs: its address, and the files of its databases by their names."""

    url: str
    files: Mapping[str, Path]

    def account(self, database: str, *, user: str = CHAT, url: str | None = None) -> TrytonAccount:
        return TrytonAccount(url or self.url, database, user, SecretStr(PASSWORD))

    def change(self, database: str, statement: str, *values: str) -> None:
        """Change a database behind the server's back."""
        with closing(sqlite3.connect(self.files[database], timeout=30)) as connection, connection:
            connection.execute(statement, values)

    def empty(self) -> None:
        """Take away everybody but the employees, and all sessions."""
        for database in self.files:
            employees = "SELECT party FROM company_employee UNION SELECT party FROM company_company"
            for table in FORGOTTEN:
                kept = f" WHERE party NOT IN ({employees})" if table.startswith("party") else ""
                self.change(database, f"DELETE FROM {table}{kept}")
            self.change(database, f"DELETE FROM party_party WHERE id NOT IN ({employees})")
            self.change(database, "DELETE FROM ir_session")
            self.change(database, "UPDATE res_user SET administrator = 1 WHERE login = ?", ADMIN)


class Gateway(Serving):
    """What stands between connector and Tryton. It tells requests apart by the method they call."""

    def __init__(self, tryton: Installed) -> None:
        super().__init__(self._forward, writes=lambda _, path: path.rpartition("/")[2] in CREATES)
        self._http = httpx.AsyncClient(base_url=tryton.url, timeout=60)

    @property
    def methods(self) -> list[str]:
        """The methods that were called, in order."""
        return [path.rpartition("/")[2] for _, path in self.asked]

    async def _called(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        method = orjson.loads(body)["method"]

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        await super()._called({**scope, "path": f"{scope['path']}{method}"}, again, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path.rpartition("/")[0]
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        async with self._http.stream(
            "POST", f"{path}/", content=await request.body(), headers=headers
        ) as answer:
            # As it is: Tryton calls a long answer packed though it is not, where the client wants none packed.
            whole = b"".join([part async for part in answer.aiter_raw()])
        response = Response(whole, answer.status_code, {"content-type": answer.headers["content-type"]})
        await response(scope, receive, send)

    async def close(self) -> None:
        await self._http.aclose()


class TrytonOffice(Office):
    def __init__(self, tryton: Installed, connector: TrytonCrm) -> None:
        self._rpc = {name: TrytonRpc(tryton.account(name, user=ADMIN)) for name in tryton.files}
        self._connector = connector

    async def close(self) -> None:
        for rpc in self._rpc.values():
            await rpc.close()

    async def add(
        self,
        kind: PersonKind,
        name: str,
        email: str | None,
        *,
        workspace_id: str = ACME,
        created_ms: int = 0,  # noqa: ARG002  Tryton dates what it creates
        owner_id: str | None = None,
        company: str | None = None,  # noqa: ARG002  it knows none
    ) -> CrmRecord:
        rpc = self._rpc[workspace_id]
        ways = [] if email is None else [["create", [{"type": "email", "value": email}]]]
        party = await rpc.create("party.party", {"name": name, "contact_mechanisms": ways})
        if kind != "contact":
            lead = await self._opportunity(party, owner_id or "ken", workspace_id)
            if kind == "deal":
                await self._press("opportunity", lead, workspace_id)
            return self._connector._record(kind, lead, workspace_id)
        if owner_id is not None:
            lead = await self._opportunity(party, owner_id, workspace_id)
            await self._press("lost", lead, workspace_id)
        return self._connector._record(kind, party, workspace_id)

    async def _opportunity(self, party: int, owner_id: str, workspace_id: str) -> int:
        rpc = self._rpc[workspace_id]
        (employee,) = await rpc.search(
            "company.employee", [["party.code", "=", owner_id]], ["id"], records_max=1
        )
        return await rpc.create("sale.opportunity", {"party": party, "employee": employee["id"]})

    async def _press(self, button: str, lead: int, workspace_id: str = ACME) -> None:
        """Press a button of the lead's page."""
        rpc = self._rpc[workspace_id]
        await rpc._write(f"model.sale.opportunity.{button}", [[lead], await rpc.context()])

    async def remove(self, record: CrmRecord) -> None:
        rpc = self._rpc[ACME]
        party = int(record.id)
        if record.type != "contact":
            (lead,) = await rpc.search("sale.opportunity", [["id", "=", party]], ["party"], records_max=1)
            await self._press("cancel", lead["id"])
            await rpc._write("model.sale.opportunity.delete", [[lead["id"]], await rpc.context()])
            party = lead["party"]
        await rpc._write("model.party.party.delete", [[party], await rpc.context()])

    async def merge(self, duplicate: CrmRecord, *, into: CrmRecord) -> None:
        rpc = self._rpc[ACME]
        context = await rpc.context() | {"active_model": "party.party", "active_id": int(duplicate.id)}
        warned = {"name": f"party.replace name {duplicate.id} {into.id}", "user": 1, "always": True}
        form = {"ask": {"source": int(duplicate.id), "destination": int(into.id)}}
        (user,) = await rpc.search("res.user", [["login", "=", ADMIN]], ["id"], records_max=1)
        await rpc.create("res.user.warning", warned | {"user": user["id"]})
        session, _, _ = await rpc._write("wizard.party.replace.create", [context])
        await rpc._write("wizard.party.replace.execute", [session, form, "replace", context])

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        rpc = self._rpc[workspace_id]
        parties = await rpc.search("party.party", [], ["name", "email"], records_max=100)
        leads = await rpc.search(
            "sale.opportunity", [], ["party", "description", "employee.party.code"], records_max=100
        )
        of_party = {one["party"]: one for one in leads}
        staff = {"佐藤 健", "Mia O'Neil", "山田商店"}
        found = []
        for party in sorted(parties, key=lambda one: one["id"]):
            if party["name"] in staff:
                continue
            lead = of_party.get(party["id"], {})
            employee = lead.get("employee.")
            owner = employee["party."]["code"] if employee else None
            found.append((party["name"], party["email"] or None, owner, lead.get("description")))
        return found

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [(name, "\n".join(lines[2:-1])) for name, lines in await self._entries("[chat ", workspace_id)]

    async def notes(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        return [(name, "\n".join(lines[:-2])) for name, lines in await self._entries("[note ", workspace_id)]

    async def _entries(self, mark: str, workspace_id: str) -> list[tuple[str, list[str]]]:
        """Names of the people and lines of the notes whose last line begins so, the oldest first."""
        rpc = self._rpc[workspace_id]
        notes = await rpc.search("ir.note", [], ["resource", "message"], records_max=1_000)
        found = []
        for note in reversed(notes):
            lines = note["message"].split("\n")
            if lines[-1].startswith(mark):
                found.append((await self._name(note["resource"], workspace_id), lines))
        return found

    async def _name(self, resource: str, workspace_id: str) -> str:
        model, _, number = resource.partition(",")
        way = "" if model == "party.party" else "party."
        (one,) = await self._rpc[workspace_id].search(
            model, [["id", "=", int(number)]], [f"{way}rec_name"], records_max=1
        )
        return str((one["party."] if way else one)["rec_name"])

    async def phone(self, record: CrmRecord) -> str | None:
        way = "" if record.type == "contact" else "party."
        (one,) = await self._rpc[ACME].search(
            MODELS[record.type], [["id", "=", int(record.id)]], [f"{way}phone"], records_max=1
        )
        return (one["party."] if way else one)["phone"] or None


class TrytonLine(HttpLine):
    asks_login = True

    def __init__(self, gateway: Gateway, tryton: Installed, clock: "Clock") -> None:
        super().__init__(gateway, too_many=b"")
        self._tryton = tryton
        self._clock = clock

    async def lock_out(self) -> None:
        self._tryton.change(ACME, "UPDATE res_user SET active = 0 WHERE login = ?", CHAT)
        self._tryton.change(ACME, "DELETE FROM ir_session")

    async def let_in(self) -> None:
        self._tryton.change(ACME, "UPDATE res_user SET active = 1 WHERE login = ?", CHAT)
        self._clock.now_s += LOGIN_PAUSE_S


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, slots=True)
class TrytonWorld:
    """The contract's world, and what tests of Tryton alone look at."""

    world: World
    tryton: Installed
    gateway: Gateway
    connector: TrytonCrm

    @classmethod
    @asynccontextmanager
    async def opened(cls, tryton: Installed) -> AsyncIterator["TrytonWorld"]:
        """Open the gateway and the connector on empty databases."""
        tryton.empty()
        clock = Clock()
        async with Gateway(tryton).open() as gateway:
            assert isinstance(gateway, Gateway)
            accounts = {name: tryton.account(name, url=gateway.url) for name in (ACME, OTHER)}
            connector = TrytonCrm(accounts, now_s=clock)
            office = TrytonOffice(tryton, connector)
            try:
                yield cls(
                    World(
                        connector,
                        office,
                        TrytonLine(gateway, tryton, clock),
                        sets_dates=False,
                        keeps_markers_unique=False,
                        merges=frozenset({"contact"}),
                        refused_lead=replace(LEAD, owner_id="nobody"),
                    ),
                    tryton,
                    gateway,
                    connector,
                )
            finally:
                await connector.close()
                await office.close()
                await gateway.close()
