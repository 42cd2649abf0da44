"""HubSpot's CRM API as its documentation describes it, on loopback: it refuses what HubSpot would refuse, in HubSpot's words.

Sources, all under https://developers.hubspot.com/docs/: [OBJ] api-reference/2026-03/crm/objects/contacts/guide, [NOTE] …/crm/activities/
notes/guide, [TICK] …/crm/objects/tickets/guide, [PROP] …/crm/properties/guide, [ASSOC] …/crm/associations/associate-records/guide,
[OWN] …/crm/owners, [LIST] …/crm/lists/guide, [ERR] api-reference/error-handling, [LIM] developer-tooling/platform/usage-guidelines; and
[SPEC] github.com/HubSpot/HubSpot-public-api-spec-collection. What no page says stands in docs/connectors/hubspot.md as unchecked.

The one rule: a request that is not written as a page says is an error, also where HubSpot itself might let it pass.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.crm_sync.vendors.hubspot_portal import KINDS, Portal, Row

VERSION = "2026-03"
BURST_MAX, BURST_S = 100, 10.0
"""[LIM] Free and Starter: 100 requests in 10 s for each app. Other subscriptions have more."""
TEXT_CHARS_MAX = 65_536
"""[NOTE] hs_note_body is limited to 65,536 characters; [PROP] so is every text."""
BATCH_MAX = 100
"""[OBJ] Batch operations are limited to 100 records."""
UNIQUE_MAX = 10
"""[PROP] Up to ten properties of a kind can have unique values."""
ASSOCIATIONS: Mapping[tuple[str, str], int] = {
    ("notes", "contacts"): 202,
    ("notes", "deals"): 214,
    ("tickets", "contacts"): 16,
    ("tickets", "deals"): 28,
}
"""[ASSOC] The numbers of HubSpot's own types, from the kind that is created to the one it is tied to."""
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "notes": ("hs_timestamp",),  # [NOTE]
    "tickets": ("subject", "hs_pipeline_stage"),  # [TICK]
    "contacts": (),
}
GET_PARAMS = {"properties", "propertiesWithHistory", "associations", "archived", "idProperty"}
"""[SPEC]"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _To(_Strict):
    id: StrictStr


class _AssociationType(_Strict):
    associationCategory: StrictStr  # noqa: N815
    associationTypeId: StrictInt  # noqa: N815


class _Association(_Strict):
    to: _To
    types: list[_AssociationType]


class _Create(_Strict):
    """[SPEC] SimplePublicObjectInputForCreate."""

    properties: dict[str, StrictStr]
    associations: list[_Association] = []


class _Update(_Strict):
    properties: dict[str, StrictStr]


class _BatchRead(_Strict):
    inputs: list[_To]
    properties: list[StrictStr]


class _Property(_Strict):
    """[SPEC] PropertyCreate."""

    name: StrictStr
    label: StrictStr
    groupName: StrictStr  # noqa: N815
    type: StrictStr
    fieldType: StrictStr  # noqa: N815
    hasUniqueValue: bool = False  # noqa: N815


class _Group(_Strict):
    name: StrictStr
    label: StrictStr


class Turned(Exception):
    """HubSpot's answer to what it does not do."""

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        # [ERR] All fields are optional to a reader; these are what object APIs send.
        body = {
            "status": "error",
            "message": message,
            "correlationId": "aeb5f871",
            "category": category,
        } | more
        self.response = JSONResponse(body, status, dict(headers or {}))


class HubspotServer:
    """The portals by their tokens. `now_s`: the clock of the rate limits."""

    def __init__(self, portals: Mapping[str, Portal], *, now_s: Callable[[], float] = monotonic) -> None:
        self._portals = portals
        self._now_s = now_s
        self._sent: dict[str, deque[float]] = {token: deque() for token in portals}
        methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self._handle, methods=methods)])

    async def _handle(self, request: Request) -> Response:
        try:
            portal = self._let_in(request)
            body = await self._json(request) if request.method in {"POST", "PATCH"} else None
            status, answer = self._route(portal, request, body)
        except Turned as turned:
            return turned.response
        except ValidationError as error:
            # [ERR] "Invalid input JSON on line 1, column 1: …"
            problem = str(error.errors(include_url=False, include_input=False)[0]["loc"])
            return Turned(400, "VALIDATION_ERROR", f"Invalid input JSON: {problem}").response
        return JSONResponse(answer, status)

    def _let_in(self, request: Request) -> Portal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        portal = self._portals.get(token)
        if scheme != "Bearer" or portal is None or portal.locked_out:
            message = "Authentication credentials not found. This API supports OAuth 2.0 authentication."
            raise Turned(401, "INVALID_AUTHENTICATION", message)
        sent, now = self._sent[token], self._now_s()
        while sent and sent[0] <= now - BURST_S:
            sent.popleft()
        if len(sent) >= BURST_MAX:
            raise Turned(
                429,
                "RATE_LIMITS",
                "You have reached your ten_secondly_rolling limit.",
                headers={"X-HubSpot-RateLimit-Interval-Milliseconds": str(int(BURST_S * 1000))},
                errorType="RATE_LIMIT",
                policyName="TEN_SECONDLY_ROLLING",
            )
        sent.append(now)
        return portal

    async def _json(self, request: Request) -> Any:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise Turned(415, "VALIDATION_ERROR", "Unsupported Media Type")
        try:
            return orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            raise Turned(400, "VALIDATION_ERROR", "Invalid input JSON on line 1, column 1") from None

    def _route(self, portal: Portal, request: Request, body: Any) -> tuple[int, Any]:
        # [OBJ] The version is a part of the path: /crm/objects/2026-03/contacts
        match (request.method, *request.url.path.strip("/").split("/")):
            case ("GET", "crm", "objects", version, kind, key) if version == VERSION and kind in KINDS:
                return 200, self._get(portal, kind, key, request)
            case ("POST", "crm", "objects", version, kind) if version == VERSION and kind in REQUIRED:
                return 201, self._create(portal, kind, _Create.model_validate(body))
            case ("PATCH", "crm", "objects", version, kind, key) if version == VERSION and kind in REQUIRED:
                return 200, self._update(portal, kind, key, _Update.model_validate(body))
            case ("POST", "crm", "objects", version, kind, "batch", "read") if (
                version == VERSION and kind in KINDS
            ):
                return 200, self._batch(portal, kind, _BatchRead.model_validate(body))
            case ("GET", "crm", "properties", version, kind) if version == VERSION and kind in KINDS:
                return 200, {"results": list(portal.properties[kind].values())}
            case ("GET", "crm", "properties", version, kind, name) if version == VERSION and kind in KINDS:
                if name not in portal.properties[kind]:
                    raise Turned(404, "OBJECT_NOT_FOUND", f'Property "{name}" does not exist')
                return 200, portal.properties[kind][name]
            case ("POST", "crm", "properties", version, kind) if version == VERSION and kind in KINDS:
                return 201, self._define(portal, kind, _Property.model_validate(body))
            case ("POST", "crm", "properties", version, kind, "groups") if (
                version == VERSION and kind in KINDS
            ):
                group = _Group.model_validate(body)
                if group.name in portal.groups[kind]:
                    raise Turned(409, "CONFLICT", f"Group '{group.name}' already exists")
                portal.groups[kind].add(group.name)
                return 201, body
            case ("GET", "crm", "owners", version, owner_id) if version == VERSION:
                if owner_id not in portal.owners:
                    raise Turned(404, "OBJECT_NOT_FOUND", "resource not found")
                return 200, portal.owners[owner_id]
            case ("POST", "crm", "lists", version) if version == VERSION:
                return 200, self._list(portal, body)
        raise Turned(404, "OBJECT_NOT_FOUND", "resource not found")

    # ------------------------------------------------------------ records

    def _get(self, portal: Portal, kind: str, key: str, request: Request) -> Any:
        params = request.query_params
        if unknown := set(params) - GET_PARAMS:
            raise Turned(400, "VALIDATION_ERROR", f"Unknown parameters: {sorted(unknown)}")
        by = params.get("idProperty")
        if by is not None and not (kind == "contacts" and by == "email"):
            definition = portal.properties[kind].get(by)
            # [PROP] idProperty is a property with unique values.
            if definition is None or not definition["hasUniqueValue"]:
                raise Turned(400, "VALIDATION_ERROR", f"'{by}' is not a unique property")
        row = portal.find(kind, key) if by is None else portal.find_by(kind, by, key)
        if row is None:
            raise Turned(404, "OBJECT_NOT_FOUND", "resource not found")
        linked = [one for one in params.get("associations", "").split(",") if one]
        return _shown(row, params.get("properties", "").split(","), linked)

    def _batch(self, portal: Portal, kind: str, asked: _BatchRead) -> Any:
        if len(asked.inputs) > BATCH_MAX:
            raise Turned(400, "VALIDATION_ERROR", f"The maximum number of inputs is {BATCH_MAX}")
        rows = [portal.find(kind, one.id) for one in asked.inputs]
        results = [_shown(row, asked.properties, []) for row in rows if row is not None]
        return {"status": "COMPLETE", "results": results, "startedAt": "", "completedAt": ""}

    def _create(self, portal: Portal, kind: str, asked: _Create) -> Any:
        for name in REQUIRED[kind]:
            if not asked.properties.get(name):
                # [ERR] errors[].context names what was not included.
                detail = {
                    "message": f"{name} is required",
                    "code": "REQUIRED",
                    "context": {"propertyName": [name]},
                }
                raise Turned(
                    400, "VALIDATION_ERROR", "One or more required properties are missing", errors=[detail]
                )
        self._check(portal, kind, asked.properties)
        links = [self._linked(portal, kind, one) for one in asked.associations]
        self._check_unique(portal, kind, asked.properties)
        row = portal.add(kind, asked.properties)
        for other in links:
            portal.link(row, other)
        return _shown(row, list(asked.properties), [])

    def _update(self, portal: Portal, kind: str, key: str, asked: _Update) -> Any:
        # No page says that a merged record's number is good for writing.
        row = portal.rows[kind].get(key)
        if row is None or row.archived:
            raise Turned(404, "OBJECT_NOT_FOUND", "resource not found")
        self._check(portal, kind, asked.properties)
        row.properties |= asked.properties
        return _shown(row, list(asked.properties), [])

    def _linked(self, portal: Portal, kind: str, asked: _Association) -> Row:
        for (of, to), number in ASSOCIATIONS.items():
            wanted = [("HUBSPOT_DEFINED", number)]
            if (
                of == kind
                and [(one.associationCategory, one.associationTypeId) for one in asked.types] == wanted
            ):
                row = portal.rows[to].get(asked.to.id)
                if row is not None and not row.archived:
                    return row
        # As quoted in github.com/segmentio/action-destinations, HubSpot's custom objects.
        raise Turned(400, "VALIDATION_ERROR", "one or more associations are not valid")

    def _check(self, portal: Portal, kind: str, properties: Mapping[str, str]) -> None:
        """[ERR] Wrong values are listed in the message, as JSON."""
        invalid = [
            {"isValid": False, "message": f"{name}: {value[:100]}", "error": problem, "name": name}
            for name, value in properties.items()
            if (problem := _problem(portal, portal.properties[kind].get(name), value)) is not None
        ]
        if invalid:
            message = f"Property values were not valid: {orjson.dumps(invalid).decode()}"
            raise Turned(400, "VALIDATION_ERROR", message)

    def _check_unique(self, portal: Portal, kind: str, properties: Mapping[str, str]) -> None:
        email = properties.get("email")
        there = portal.find_by(kind, "email", email) if kind == "contacts" and email else None
        if there is not None:  # [OBJ] The address is the unique identifier of contacts.
            raise Turned(409, "CONFLICT", f"Contact already exists. Existing ID: {there.id}")
        for name, value in properties.items():
            there = (
                portal.find_by(kind, name, value) if portal.properties[kind][name]["hasUniqueValue"] else None
            )
            if there is not None:
                coordinates = f"PropertyValueCoordinates{{propertyName={name}, value={value}}}"
                message = f"Cannot set {coordinates} on 1. {there.id} already has that value."
                raise Turned(400, "VALIDATION_ERROR", message)

    # ------------------------------------------------------------ properties and lists

    def _define(self, portal: Portal, kind: str, asked: _Property) -> Any:
        known = portal.properties[kind]
        if asked.name in known:
            raise Turned(409, "CONFLICT", f"A property named '{asked.name}' already exists")
        problems = {
            "name": not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", asked.name),
            "groupName": asked.groupName not in portal.groups[kind],
            # [PROP] The table of types and field types; only texts are made here.
            "fieldType": (asked.type, asked.fieldType) not in {("string", "text"), ("string", "textarea")},
            "hasUniqueValue": asked.hasUniqueValue
            and sum(bool(one["hasUniqueValue"]) for one in known.values()) >= UNIQUE_MAX,
        }
        if wrong := [name for name, is_wrong in problems.items() if is_wrong]:
            raise Turned(400, "VALIDATION_ERROR", f"Invalid: {wrong}")
        return portal.define(kind, **asked.model_dump())

    def _list(self, portal: Portal, asked: Any) -> Any:
        # [LIST] The root is OR, its branches AND; filters stand in these.
        root = asked["filterBranch"]
        branches = root["filterBranches"]
        shapes = [root["filterBranchType"], *(one["filterBranchType"] for one in branches)]
        named = {one["name"] for one in portal.lists}
        if asked["name"] in named or root["filters"] or shapes != ["OR"] + ["AND"] * len(branches):
            raise Turned(400, "VALIDATION_ERROR", "The list is not valid")
        if (asked["objectTypeId"], asked["processingType"]) != ("0-5", "DYNAMIC"):
            raise Turned(400, "VALIDATION_ERROR", "Another list than was expected")
        if any(
            one["property"] not in portal.properties["tickets"]
            for branch in branches
            for one in branch["filters"]
        ):
            raise Turned(400, "VALIDATION_ERROR", "A filter of an unknown property")
        portal.lists.append(asked)
        return {"list": {"listId": str(len(portal.lists)), "name": asked["name"]}}


def _problem(portal: Portal, definition: Mapping[str, Any] | None, value: str) -> str | None:
    if definition is None:
        return "PROPERTY_DOESNT_EXIST"
    if definition["modificationMetadata"]["readOnlyValue"]:
        return "READ_ONLY_VALUE"
    if len(value) > TEXT_CHARS_MAX:
        return "INVALID_LENGTH"
    match definition["name"]:
        case "email" if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            return "INVALID_EMAIL"
        case "hubspot_owner_id" if value not in portal.owners:
            return "INVALID_OWNER_ID"
        case "hs_timestamp" if not re.fullmatch(r"\d{12,14}|\d{4}-\d\d-\d\dT[\d:.]+Z", value):
            return "INVALID_DATE"  # [NOTE] milliseconds, or UTC
    values = {one["value"] for one in definition["options"]}
    return "INVALID_OPTION" if values and value not in values else None


def _shown(row: Row, properties: list[str], linked: list[str]) -> dict[str, Any]:
    """[SPEC] SimplePublicObjectWithAssociations: properties that were asked for, null where empty; unknown ones are left out."""
    always = ("hs_object_id", "createdate")
    shown: dict[str, Any] = {
        "id": row.id,
        "properties": {name: row.properties.get(name) for name in (*always, *filter(None, properties))},
        "createdAt": row.properties["createdate"],
        "archived": False,
    }
    links = {kind: [one for one in row.links if one.kind == kind and not one.archived] for kind in linked}
    if any(links.values()):
        # A record stands there once for every label of its association.
        shown["associations"] = {
            kind: {
                "results": [
                    {"id": one.id, "type": label} for one in ones for label in ("labelled", "unlabelled")
                ]
            }
            for kind, ones in links.items()
            if ones
        }
    return shown
