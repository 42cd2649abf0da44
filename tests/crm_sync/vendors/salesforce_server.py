"""Salesforce's REST API as its documentation describes it, on loopback: it refuses what Salesforce would refuse, in its words.

Sources, under https://developer.salesforce.com/docs/platform/api-rest/guide/: [ERR] errorcodes, [ROWS] dome-sobject-create and
dome-update-fields, [COMP] resources-composite-composite, [QUERY] resources-query, [DUP] headers-duplicaterules, [DESC] resources-sobject-describe;
[SOQL] platform/salesforce-soql-sosl/guide; [OBJ] the object reference: Lead, Task; [AUTH] help.salesforce.com, OAuth 2.0 client
credentials flow. What no page says stands in docs/connectors/salesforce.md.

The one rule: a request that is not written as a page says is an error, also where Salesforce itself might let it pass.
"""

import re
from collections.abc import Mapping
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.crm_sync.vendors.salesforce_org import FIELDS, PREFIXES, Malformed, Org, Row

VERSION = "v62.0"
LENGTHS: Mapping[str, int] = {
    "LastName": 80,
    "FirstName": 40,
    "Company": 255,
    "Subject": 255,
    "Description": 32_000,
    "Email": 80,
}
"""[OBJ]"""
REQUIRED: Mapping[str, tuple[str, ...]] = {"Lead": ("LastName", "Company"), "Task": ()}
READ_ONLY = {"Id", "Name", "CreatedDate", "IsDeleted", "IsConverted", "MasterRecordId"}
PARTS_MAX, QUERIES_MAX = 25, 5
"""[COMP] Up to 25 subrequests, of which five may be queries."""


class Turned(Exception):
    """Salesforce's answer to what it does not do."""

    def __init__(self, status: int, code: str, *fields: str, message: str = "quoted value") -> None:
        super().__init__(code)
        self.status = status
        # [ERR] A list of errors.
        self.body: Any = [{"message": f"{code}: {message}", "errorCode": code, "fields": list(fields)}]


class SalesforceServer:
    """The orgs by their client ids, whose secret is the id with `-secret`."""

    def __init__(self, orgs: Mapping[str, Org]) -> None:
        self._orgs = orgs
        self._numbers = count(1)
        self.sessions: dict[str, Org] = {}
        self.app = Starlette(
            routes=[Route("/{path:path}", self._handle, methods=["GET", "POST", "PATCH", "DELETE"])]
        )

    async def _handle(self, request: Request) -> Response:
        if request.url.path == "/services/oauth2/token":
            return self._token(request, await request.body())
        try:
            org = self._let_in(request)
            body = await self._json(request) if request.method in {"POST", "PATCH"} else None
            status, answer = self._route(org, request, body)
        except Turned as turned:
            return JSONResponse(turned.body, turned.status)
        return Response(status_code=204) if status == 204 else JSONResponse(answer, status)

    def _token(self, request: Request, body: bytes) -> Response:
        # [AUTH] A form, and no expires_in in the answer.
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        org = self._orgs.get(form.get("client_id", ""))
        known = (
            org is not None and form["client_secret"] == f"{form['client_id']}-secret" and not org.locked_out
        )
        if org is None or not known or form["grant_type"] != "client_credentials":
            return JSONResponse(
                {"error": "invalid_client", "error_description": "invalid client credentials"}, 400
            )
        token = f"session-{next(self._numbers)}"
        self.sessions[token] = org
        url = str(request.base_url).rstrip("/")
        return JSONResponse(
            {"access_token": token, "instance_url": url, "token_type": "Bearer", "issued_at": "1"}
        )

    def _let_in(self, request: Request) -> Org:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        org = self.sessions.get(token)
        if scheme != "Bearer" or org is None or org.locked_out:
            raise Turned(401, "INVALID_SESSION_ID")
        return org

    async def _json(self, request: Request) -> Any:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise Turned(415, "UNSUPPORTED_MEDIA_TYPE")
        try:
            return orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            raise Turned(400, "JSON_PARSER_ERROR") from None

    def _route(self, org: Org, request: Request, body: Any) -> tuple[int, Any]:
        match (request.method, *request.url.path.strip("/").split("/")):
            case ("GET", "services", "data", version, "query" | "queryAll" as how) if version == VERSION:
                return 200, _queried(org, how, request.query_params["q"])
            case ("POST", "services", "data", version, "composite") if version == VERSION:
                return 200, {"compositeResponse": [self._part(org, one) for one in _parts(body)]}
            case ("GET", "services", "data", version, "sobjects", kind, "describe") if (
                version == VERSION and kind in FIELDS
            ):
                return 200, {"name": kind, "fields": [_described(name) for name in sorted(FIELDS[kind])]}
            case ("POST", "services", "data", version, "sobjects", kind) if (
                version == VERSION and kind in REQUIRED
            ):
                row = _created(org, kind, body, request.headers.get("sforce-duplicate-rule-header", ""))
                return 201, {"id": row["Id"], "success": True, "errors": []}
            case ("PATCH", "services", "data", version, "sobjects", kind, key) if (
                version == VERSION and kind in FIELDS
            ):
                row_there = org.rows[kind].get(key)
                if row_there is None or row_there["IsDeleted"]:
                    raise Turned(404, "NOT_FOUND" if row_there is None else "ENTITY_IS_DELETED")
                _check(org, kind, body)
                row_there |= body
                return 204, None
        raise Turned(404, "NOT_FOUND")

    def _part(self, org: Org, part: Mapping[str, str]) -> Any:
        url = urlsplit(part["url"])
        base, _, how = url.path.rpartition("/")
        status, body = 404, Turned(404, "NOT_FOUND").body
        if part["method"] == "GET" and base == f"/services/data/{VERSION}" and how in {"query", "queryAll"}:
            try:
                status, body = 200, _queried(org, how, parse_qs(url.query)["q"][0])
            except Turned as turned:
                status, body = turned.status, turned.body
        return {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": part["referenceId"]}


def _parts(body: Any) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = body["compositeRequest"]
    names = [one["referenceId"] for one in parts]
    queries = [one for one in parts if "/query" in one["url"]]
    if len(parts) > PARTS_MAX or len(queries) > QUERIES_MAX or len(set(names)) < len(names):
        raise Turned(400, "LIMIT_EXCEEDED")
    if not all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names):
        raise Turned(400, "INVALID_INPUT")
    return parts


def _queried(org: Org, how: str, text: str) -> Any:
    try:
        rows = org.query(text, deleted_too=how == "queryAll")
    except Malformed as error:
        code = "INVALID_FIELD" if "No such column" in str(error) else "MALFORMED_QUERY"
        raise Turned(400, code, message=str(error)) from None
    return {"totalSize": len(rows), "done": True, "records": rows}


def _described(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.replace("__c", "").replace("_", " "),
        "custom": name.endswith("__c"),
        "type": "string",
    }


def _created(org: Org, kind: str, body: Mapping[str, Any], duplicates: str) -> Row:
    missing = [name for name in REQUIRED[kind] if not body.get(name)]
    if missing:
        raise Turned(400, "REQUIRED_FIELD_MISSING", *missing)
    _check(org, kind, body)
    marker = body.get("Chat_Marker__c")
    if any(row["Chat_Marker__c"] == marker and not row["IsDeleted"] for row in org.rows[kind].values()):
        raise Turned(400, "DUPLICATE_VALUE")
    same = kind == "Lead" and any(row["Email"] == body.get("Email") for row in org.rows["Lead"].values())
    # [DUP] An alert can be acknowledged in the header, a rule that blocks can not.
    acknowledged = "allowSave=true" in duplicates and org.duplicate_rule == "alert"
    if same and org.duplicate_rule is not None and not acknowledged:
        raise Turned(400, "DUPLICATES_DETECTED")
    return org.add(kind, body)


def _check(org: Org, kind: str, body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name not in FIELDS[kind]:
            # [ERR] It is named in the message alone.
            raise Turned(400, "INVALID_FIELD", message=f"No such column '{name}' on sobject of type {kind}")
        if name in READ_ONLY:
            raise Turned(400, "INVALID_FIELD_FOR_INSERT_UPDATE", name)
        if not isinstance(value, str):
            raise Turned(400, "JSON_PARSER_ERROR")
        if len(value) > LENGTHS.get(name, 255):
            raise Turned(400, "STRING_TOO_LONG", name)
        match name:
            case "Email" if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
                raise Turned(400, "INVALID_EMAIL_ADDRESS", name)
            case "ActivityDate" if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
                raise Turned(400, "JSON_PARSER_ERROR")
            case "OwnerId" if value not in org.owners:
                raise Turned(400, "INVALID_CROSS_REFERENCE_KEY", name)
            case "WhoId" | "WhatId":
                _refer(org, name, value)


def _refer(org: Org, name: str, value: str) -> None:
    # [OBJ] Task: WhoId is a lead or a contact, WhatId anything else.
    of = {prefix: kind for kind, prefix in PREFIXES.items()}.get(value[:3])
    if of is None or (name == "WhoId") is not (of in {"Lead", "Contact"}):
        raise Turned(400, "FIELD_INTEGRITY_EXCEPTION", name)
    row = org.rows[of].get(value)
    if row is None or row["IsDeleted"]:
        raise Turned(
            400,
            "INVALID_CROSS_REFERENCE_KEY" if row is None else "ENTITY_IS_DELETED",
            *([name] if row is None else []),
        )
