"""The example of `docs/connectors/README.md` keeps the contract, and the page names what there is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from docs.examples.connector import ExampleCrm
from schemas.outcomes import CrmRecord
from services.crm_sync.addresses import email_key
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.records import Capability, PersonKind
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, LEAD, OTHER, Office, World
from tests.crm_sync.vendors.serving import HttpLine, Serving

PAGE = Path(__file__).parents[2] / "docs/connectors/README.md"
TOKENS = {ACME: "token-a", OTHER: "token-o"}
Row = dict[str, object]


@dataclass
class ExampleServer:
    """The CRM: each account's rows by their id, people and activities alike. A reference is taken once."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {ACME: {}, OTHER: {}})
    locked_out: bool = False
    added: int = 0

    def add(self, workspace_id: str, row: Row) -> Row:
        self.added += 1
        row["id"] = str(self.added)
        self.rows[workspace_id][str(row["id"])] = row
        return row

    def create(self, workspace_id: str, row: Row) -> Row:
        return self.of_reference(workspace_id, row["reference"]) or self.add(workspace_id, row)

    def of_reference(self, workspace_id: str, reference: object) -> Row | None:
        rows = self.rows[workspace_id].values()
        return next((row for row in rows if row.get("reference") == reference), None)

    async def handle(self, request: Request) -> JSONResponse:
        accounts = {f"Bearer {token}": workspace_id for workspace_id, token in TOKENS.items()}
        workspace_id = accounts[request.headers["authorization"]]
        if self.locked_out:
            return JSONResponse({}, 401)
        sent: Row = await request.json() if request.method == "POST" else {}
        match request.url.path.strip("/").split("/"):
            case ["people"]:
                key = email_key(request.query_params["email"])
                people = self.rows[workspace_id].values()
                return JSONResponse([row for row in people if row.get("email_key") == key])
            case ["references", reference]:
                row = self.of_reference(workspace_id, reference)
                return JSONResponse(row or {}, 404 if row is None else 200)
            case ["leads"]:
                if not sent["name"]:
                    return JSONResponse({"name": "missing"}, 422)
                lead = {
                    "type": "lead",
                    "created_ms": 0,
                    "open": True,
                    "email_key": email_key(str(sent["email"])),
                }
                return JSONResponse(self.create(workspace_id, sent | lead))
            case ["people", person, "activities"] if person in self.rows[workspace_id]:
                owner = self.rows[workspace_id][person].get("owner")
                entry: Row = {"type": "activity", "person": person, "owner": owner}
                return JSONResponse(self.create(workspace_id, sent | entry))
        return JSONResponse({}, 404)


class ExampleOffice(Office):
    def __init__(self, server: ExampleServer) -> None:
        self._server = server

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
        assert company is None
        row = self._server.add(
            workspace_id,
            {
                "type": kind,
                "name": name,
                "email": email,
                "email_key": None if email is None else email_key(email),
                "created_ms": created_ms,
                "open": True,
                "owner": owner_id,
            },
        )
        return CrmRecord(kind, str(row["id"]))

    async def remove(self, record: CrmRecord) -> None:
        del self._server.rows[ACME][record.id]

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        rows = self._server.rows[workspace_id].values()
        people = [row for row in rows if row["type"] != "activity"]
        return [
            (str(row["name"]), _text(row, "email"), _text(row, "owner"), _text(row, "source"))
            for row in people
        ]

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        rows = self._server.rows[workspace_id]
        entries = [row for row in rows.values() if row["type"] == "activity"]
        return [(str(rows[str(row["person"])]["name"]), str(row["text"])) for row in entries]

    async def phone(self, record: CrmRecord) -> str | None:
        return _text(self._server.rows[ACME][record.id], "phone")


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None else str(value)


class ExampleLine(HttpLine):
    asks_login = True

    def __init__(self, serving: Serving, server: ExampleServer) -> None:
        super().__init__(serving, too_many=b"{}")
        self._server = server

    async def lock_out(self) -> None:
        self._server.locked_out = True

    async def let_in(self) -> None:
        self._server.locked_out = False


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = ExampleServer()
    app = Starlette(routes=[Route("/{path:path}", server.handle, methods=["GET", "POST"])])
    async with Serving(app, writes=lambda method, _: method == "POST").open() as serving:
        connector = ExampleCrm(serving.url, TOKENS, private_addresses=True)
        yield World(
            connector,
            ExampleOffice(server),
            ExampleLine(serving, server),
            kinds=frozenset({"lead", "contact"}),
            refused_lead=replace(LEAD, name=""),
        )
        await connector.close()


class TestExample(ConnectorContract):
    pass


@pytest.mark.parametrize(
    "name",
    [
        *get_args(Capability),
        *(name for name in vars(Connector) if not name.startswith("_") and name != "declared"),
    ],
)
def test_the_page_names_every_capability_and_method(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text("utf-8")


def test_the_page_leads_to_files_that_are_there() -> None:
    links = [part.partition(")")[0] for part in PAGE.read_text("utf-8").split("](")[1:]]
    assert "../examples/connector.py" in links
    for link in links:
        assert (PAGE.parent / link).exists(), link
