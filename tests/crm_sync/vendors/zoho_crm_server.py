"""Zoho CRM's API as its documentation describes it, on loopback: it refuses what Zoho would refuse, in Zoho's words.

Sources: [OAS] github.com/zoho/crm-oas, v8.0 (record, related_notes, coql, composite_requests, fields); [LIM] https://www.zoho.com/crm/
developer/docs/api/v8/api-limits.html; [OAUTH] https://www.zoho.com/accounts/protocol/oauth/; [LAYOUT] Zoho's help on the modules'
standard fields. What no page says is marked "assumed", and stands in docs/connectors/zoho-crm.md.

The one rule: a request that is not written as a page says is an error, also where Zoho itself might let it pass.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.crm_sync.vendors.zoho_crm_org import CUSTOM, FIELDS, LOOKUPS, Malformed, Org, Row

TOKENS_MAX, TOKENS_S, TOKEN_LASTS_S = 10, 600, 3_600
"""[OAUTH] Access tokens for one refresh token in ten minutes, and how long each is good."""
CONCURRENCY_MAX, OF_COMPOSITE = 10, 5
"""[LIM] What may run at a time in the Standard edition. [OAS] What a composite request takes of it."""
PARTS_MAX, FOUND_MAX, URI = 5, 25, re.compile(r"/crm(/.*)?/v[0-9]+([.][0-9]+)?/.*")
"""[OAS] composite_requests."""
RECORDS_MAX, PAGE_MAX, FIELDS_MAX = 100, 200, 50
LENGTHS: Mapping[str, int] = {
    "Last_Name": 80,
    "First_Name": 40,
    "Company": 200,
    "Email": 100,
    "Phone": 30,
    "Description": 32_000,
    "Note_Title": 120,
    "Note_Content": 65_535,
}
"""[OAS] notes; the others [LAYOUT]."""
REQUIRED: Mapping[str, tuple[str, ...]] = {"Leads": ("Last_Name", "Company"), "Contacts": ("Last_Name",)}
"""[OAS] MANDATORY_NOT_FOUND. The company is what the standard layout of leads asks for [LAYOUT]."""
READ_ONLY = {"id", "Created_Time", "Modified_Time"}


class Turned(Exception):
    """Zoho's answer to what it does not do. `each`: it stands in the list of what became of each record."""

    def __init__(self, status: int, code: str, *, each: bool = False, **details: Any) -> None:
        super().__init__(code)
        self.status = status
        said = {"code": code, "details": details, "message": f"{code}: quoted value", "status": "error"}
        self.body: Any = {"data": [said]} if each else said


class ZohoCrmServer:
    """The organizations by their refresh tokens. `now_s`: the clock of the limits."""

    def __init__(self, orgs: Mapping[str, Org], *, now_s: Callable[[], float] = monotonic) -> None:
        self._orgs = orgs
        self._now_s = now_s
        self._numbers = count(1)
        self._given: dict[str, deque[float]] = {one: deque() for one in orgs}
        self.tokens: dict[str, tuple[Org, float]] = {}
        self.locked_out = False
        self.running = 0
        self.let_go = asyncio.Event()
        """Requests are answered while this is set."""
        self.let_go.set()
        self.app = Starlette(
            routes=[
                Route("/oauth/v2/token", self._token, methods=["POST"]),
                Route("/{path:path}", self._handle, methods=["GET", "POST", "PUT", "DELETE"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        client = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"))
        refresh, now = form.get("refresh_token", ""), self._now_s()
        if self.locked_out or client != ("refresh_token", "app", "app-secret") or refresh not in self._orgs:
            return JSONResponse({"error": "invalid_code"})  # [OAUTH] with status 200
        given = self._given[refresh]
        while given and given[0] <= now - TOKENS_S:
            given.popleft()
        if len(given) >= TOKENS_MAX:
            return JSONResponse({"error": "Access Denied"}, 400)
        given.append(now)
        access = f"1000.{next(self._numbers)}"
        self.tokens[access] = (self._orgs[refresh], now + TOKEN_LASTS_S)
        granted = {"access_token": access, "expires_in": TOKEN_LASTS_S, "token_type": "Bearer"}
        return JSONResponse(granted | {"api_domain": "https://www.zohoapis.com"})

    async def _handle(self, request: Request) -> Response:
        taken = OF_COMPOSITE if request.url.path.endswith("/__composite_requests") else 1
        self.running += taken
        try:
            org = self._let_in(request)
            body = await _json(request) if request.method in {"POST", "PUT"} else None
            await self.let_go.wait()
            path = tuple(request.url.path.strip("/").split("/"))
            status, answer = self._route(org, request.method, path, request.query_params, body)
        except Turned as turned:
            return JSONResponse(turned.body, turned.status)
        finally:
            self.running -= taken
        return Response(status_code=204) if status == 204 else JSONResponse(answer, status)

    def _let_in(self, request: Request) -> Org:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        org, ends = self.tokens.get(token, (None, 0.0))
        if scheme != "Zoho-oauthtoken" or org is None or self.locked_out or self._now_s() >= ends:
            raise Turned(401, "INVALID_TOKEN")
        if self.running > CONCURRENCY_MAX:
            raise Turned(429, "TOO_MANY_REQUESTS")
        org.credits_left -= 1
        if org.credits_left < 0:
            raise Turned(429, "TOO_MANY_REQUESTS")
        return org

    def _route(
        self, org: Org, method: str, path: tuple[str, ...], params: Mapping[str, Any], body: Any
    ) -> tuple[int, Any]:
        match (method, *path):
            case ("POST", "crm", "v8", "__composite_requests"):
                return self._composite(org, body)
            case ("POST", "crm", "v8", "coql"):
                return _queried(org, body)
            case ("GET", "crm", "v8", "settings", "fields"):
                return 200, {"fields": _fields(org, params)}
            case ("POST", "crm", "v8", module) if module in FIELDS:
                given = _row(body)
                _check(org, module, given, required=REQUIRED.get(module, ()))
                owner = given.pop("Owner", {"id": org.api})
                made = org.add(module, owner_id=owner["id"], **given)
                return 201, _done(org, made["id"], "record added")
            case ("PUT", "crm", "v8", module, key) if module in FIELDS:
                given = _row(body)
                there = _there(org, module, key)
                _check(org, module, given, required=())
                there |= given
                return 200, _done(org, key, "record updated")
            case ("GET", "crm", "v8", module, key) if module in FIELDS:
                return 200, {"data": [_shown(org, module, _there(org, module, key), params)]}
            case ("GET", "crm", "v8", module, key, "Notes") if module in FIELDS:
                _there(org, module, key)
                return _notes(org, key, params)
            case ("POST", "crm", "v8", module, key, "Notes") if module in FIELDS:
                given = _row(body)
                _there(org, module, key)
                _check_note(module, key, given)
                return 201, _done(org, org.note(module, key, given)["id"], "record added")
        raise Turned(404, "INVALID_URL_PATTERN")

    def _composite(self, org: Org, body: Any) -> tuple[int, Any]:
        parts = body.get("__composite_requests", [])
        if set(body) - {"__composite_requests", "parallel_execution", "rollback_on_fail"} or not parts:
            raise Turned(400, "INVALID_DATA", api_name="__composite_requests", json_path="$")
        if len(parts) > PARTS_MAX:
            raise Turned(400, "INVALID_DATA", api_name="__composite_requests", maximum_length=PARTS_MAX)
        ids = [one.get("sub_request_id") for one in parts]
        if len(set(ids)) < len(ids):
            raise Turned(400, "DUPLICATE_DATA", api_name="sub_request_id")
        answers = [self._part(org, one) for one in parts]
        failed = any(one["details"]["response"]["status_code"] >= 400 for one in answers)
        return 207 if failed else 200, {"__composite_requests": answers}

    def _part(self, org: Org, part: Mapping[str, Any]) -> Any:
        if set(part) - {"sub_request_id", "method", "uri", "params", "headers", "body"}:
            raise Turned(400, "INVALID_DATA", api_name="sub_request", json_path="$")
        if not URI.fullmatch(part["uri"]):
            raise Turned(400, "INVALID_DATA", api_name="uri", regex=URI.pattern)
        try:
            path = tuple(part["uri"].strip("/").split("/"))
            status, answer = self._route(
                org, part["method"], path, part.get("params", {}), part.get("body", {})
            )
        except Turned as turned:
            status, answer = turned.status, turned.body
        if status == 200 and len(answer["data"]) > FOUND_MAX:
            # [OAS] No more than 25 records; which error more of them are is assumed.
            status, answer = 400, Turned(400, "LIMIT_EXCEEDED", limit=FOUND_MAX).body
        told = {"headers": {}, "body": {} if status == 204 else answer, "status_code": status}
        return {"code": "SUCCESS", "message": "done", "status": "success", "details": {"response": told}}


async def _json(request: Request) -> Any:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Turned(415, "UNSUPPORTED_MEDIA_TYPE")  # assumed
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise Turned(400, "INVALID_DATA", expected_data_type="jsonobject") from None
    if not isinstance(body, dict):
        raise Turned(400, "INVALID_DATA", expected_data_type="jsonobject")
    return body


def _queried(org: Org, body: Any) -> tuple[int, Any]:
    if set(body) - {"select_query", "include_meta"} or not isinstance(body.get("select_query"), str):
        raise Turned(400, "MANDATORY_NOT_FOUND", api_name="select_query")
    try:
        rows = org.query(body["select_query"])
    except Malformed as error:
        if error.column is None:
            raise Turned(400, str(error)) from None
        raise Turned(400, str(error), column_name=error.column) from None
    # [OAS] 204 where nothing is found.
    return (200, {"data": rows, "info": {"count": len(rows), "more_records": False}}) if rows else (204, None)


def _fields(org: Org, params: Mapping[str, Any]) -> list[Row]:
    module = params.get("module", "")
    if module not in FIELDS:
        raise Turned(400, "REQUIRED_PARAM_MISSING", param_name="module")
    return [
        {
            "api_name": name,
            "field_label": f"{module[:-1]} Owner" if name == "Owner" else name.replace("_", " "),
            "custom_field": name in CUSTOM,
            "data_type": "ownerlookup" if name == "Owner" else "text",
            "unique": {"casesensitive": "false"} if name in org.unique else {},
        }
        for name in org.fields[module]
    ]


def _there(org: Org, module: str, key: str) -> Row:
    row = org.find(module, key)
    if row is None:
        # [OAS] "the id given seems to be invalid"
        raise Turned(400, "INVALID_DATA", resource_path_index=1)
    return row


def _shown(org: Org, module: str, row: Row, params: Mapping[str, Any]) -> Row:
    if set(params) - {"fields"}:
        raise Turned(400, "INVALID_DATA", param_name="fields")
    names = params["fields"].split(",") if "fields" in params else list(row)
    if len(names) > FIELDS_MAX and "fields" in params:
        raise Turned(400, "LIMIT_EXCEEDED", limit=FIELDS_MAX, param_name="fields")
    shown = {"id": row["id"]} | {name: row[name] for name in names if name in row}
    for name, of in LOOKUPS.items():
        if shown.get(name) and module != of:
            referred = org.rows[of][shown[name]["id"]]
            shown[name] = {
                "name": referred.get("Account_Name") or referred.get("Last_Name"),
                "id": referred["id"],
            }
    return shown


def _notes(org: Org, key: str, params: Mapping[str, Any]) -> tuple[int, Any]:
    if set(params) - {"fields", "page", "per_page", "sort_by", "sort_order"}:
        raise Turned(400, "INVALID_DATA", param_name="fields")
    if "fields" not in params:
        raise Turned(400, "REQUIRED_PARAM_MISSING", param_name="fields")
    size = int(params.get("per_page", PAGE_MAX))
    if not 1 <= size <= PAGE_MAX or params.get("sort_by", "id") not in {
        "id",
        "Created_Time",
        "Modified_Time",
    }:
        raise Turned(400, "INVALID_DATA", param_name="per_page")
    wanted = {"id", *params["fields"].split(",")}
    rows = [row for row in org.notes.values() if row["parent"] == key]
    if params.get("sort_order") == "desc":
        rows.reverse()
    shown = [{name: value for name, value in row.items() if name in wanted} for row in rows[:size]]
    return (200, {"data": shown, "info": {"more_records": len(rows) > size}}) if shown else (204, None)


def _row(body: Any) -> Row:
    """[OAS] Records stand in a list under `data`, a hundred at most; the connector sends one."""
    data = body.get("data")
    if set(body) - {"data", "trigger", "lar_id"} or not isinstance(data, list) or not data:
        raise Turned(400, "MANDATORY_NOT_FOUND", api_name="data")
    if len(data) > RECORDS_MAX:
        raise Turned(400, "LIMIT_EXCEEDED", limit=RECORDS_MAX)
    return dict(data[0])


def _check(org: Org, module: str, given: Mapping[str, Any], *, required: tuple[str, ...]) -> None:
    def invalid(name: str, code: str = "INVALID_DATA", **more: Any) -> Turned:
        return Turned(400, code, each=True, api_name=name, json_path=f"$.data[0].{name}", **more)

    for name in required:
        if not given.get(name):
            raise invalid(name, "MANDATORY_NOT_FOUND")
    for name, value in given.items():
        if name not in org.fields[module] or name in READ_ONLY:
            raise invalid(name)  # "the field api name given seems to be invalid"
        if name == "Owner":
            if not isinstance(value, dict) or value.get("id") not in org.users:
                raise invalid(name)
            continue
        if not isinstance(value, str):
            raise invalid(name, expected_data_type="string")
        if len(value) > LENGTHS.get(name, 255):
            raise invalid(name, maximum_length=LENGTHS.get(name, 255))
        if name == "Email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise invalid(name, expected_data_type="email")
        if name in org.unique and module == "Leads":
            same = next((row for row in org.rows[module].values() if row[name] == value), None)
            if same is not None:
                of = {"Owner": same["Owner"], "id": same["id"]}
                raise invalid(name, "DUPLICATE_DATA", duplicate_record=of, id=same["id"])


def _check_note(module: str, key: str, given: Mapping[str, Any]) -> None:
    if not given.get("Note_Title") and not given.get("Note_Content"):
        raise Turned(400, "EXPECTED_FIELD_MISSING", each=True)
    for name, value in given.items():
        if name == "Parent_Id":
            if value != {"module": {"api_name": module}, "id": key}:
                raise Turned(400, "INVALID_DATA", each=True, api_name=name)
        elif name not in {"Note_Title", "Note_Content"} or not isinstance(value, str):
            raise Turned(400, "INVALID_DATA", each=True, api_name=name)
        elif len(value) > LENGTHS[name]:
            raise Turned(400, "INVALID_DATA", each=True, api_name=name, maximum_length=LENGTHS[name])


def _done(org: Org, record_id: str, said: str) -> Any:
    user = {"name": org.users[org.api], "id": org.api}
    at = "2026-11-21T18:00:00+09:00"
    details = {
        "id": record_id,
        "Created_Time": at,
        "Modified_Time": at,
        "Created_By": user,
        "Modified_By": user,
    }
    return {"data": [{"code": "SUCCESS", "details": details, "message": said, "status": "success"}]}
