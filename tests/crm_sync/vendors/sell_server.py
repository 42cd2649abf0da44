"""Zendesk Sell on loopback: accounts by access token, and every request held to what Sell has published.

The one rule: what Sell would refuse is refused here with Sell's own error. Sources, all below https://developer.zendesk.com/api-reference/sales-crm/:
requests/ (envelopes, headers, paging, filters), errors/, rate-limits/, authentication/, resources/leads/, …/contacts/, …/deals/, …/notes/,
…/lead-sources/, …/stages/, …/users/, …/custom-fields/; field names also by github.com/zendesk/basecrm-python and basecrm-java.
Where these say nothing, what is done here is marked "assumed".
"""

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BUDGET_PER_HOUR = 36_000
"""rate-limits/: "up to 36,000 requests per hour", "10 requests/token/second"."""
PER_PAGE_MAX, PER_PAGE_DEFAULT = 100, 25  # requests/: paging
TOKEN_LASTS_S = 3_600  # authentication/: expires_in
CLIENT = ("app", "app-secret")
CONTENT_TYPE = "application/json"

_TEXT = dict.fromkeys(
    ("title", "description", "industry", "website", "email", "phone", "mobile", "fax", "skype"), str
)
WRITABLE: dict[str, dict[str, type]] = {
    "leads": _TEXT
    | {
        "first_name": str,
        "last_name": str,
        "organization_name": str,
        "status": str,
        "source_id": int,
        "owner_id": int,
        "address": dict,
        "tags": list,
        "custom_fields": dict,
    },
    "contacts": _TEXT
    | {
        "name": str,
        "first_name": str,
        "last_name": str,
        "is_organization": bool,
        "contact_id": int,
        "owner_id": int,
        "customer_status": str,
        "prospect_status": str,
        "address": dict,
        "tags": list,
        "custom_fields": dict,
    },
    "notes": {
        "content": str,
        "resource_type": str,
        "resource_id": int,
        "is_important": bool,
        "tags": list,
        "type": str,
    },
    "lead_sources": {"name": str},
}
"""resources/: the attributes marked writable."""
FILTERS: dict[str, set[str]] = {
    "leads": {"ids", "creator_id", "owner_id", "source_id", "first_name", "last_name", "organization_name"}
    | {"status", "email", "phone", "mobile"},
    "contacts": {"ids", "creator_id", "owner_id", "is_organization", "name", "first_name", "last_name"}
    | {"email", "phone", "mobile", "contact_id"},
    "deals": {
        "ids",
        "creator_id",
        "owner_id",
        "contact_id",
        "organization_id",
        "hot",
        "source_id",
        "stage_id",
    }
    | {"name"},
    "notes": {"ids", "creator_id", "q", "resource_type", "resource_id"},
    "lead_sources": {"ids", "name"},
    "stages": {"ids", "name", "pipeline_id", "active"},
    "users": {"ids", "name", "email", "role", "status", "confirmed"},
}
"""resources/: the parameters of each list."""
SORTED_BY = re.compile(r"(id|created_at|updated_at|last_name|first_name|name)(:(asc|desc))?")
SINGULAR = {"leads": "lead", "contacts": "contact", "deals": "deal", "notes": "note"}
CUSTOM = re.compile(r"custom_fields\[(.+)\]")


@dataclass
class SellAccountData:
    """What one account holds, by resource and number."""

    creator_id: int = 300
    sources_max: int = 1_000
    things: dict[str, dict[int, dict[str, Any]]] = field(
        default_factory=lambda: {
            "leads": {},
            "contacts": {},
            "deals": {},
            "notes": {},
            "lead_sources": {},
            "stages": {
                1: {"id": 1, "name": "Qualified", "category": "qualified", "pipeline_id": 1},
                2: {"id": 2, "name": "Won", "category": "won", "pipeline_id": 1},
                3: {"id": 3, "name": "Lost", "category": "lost", "pipeline_id": 1},
            },
            "users": {
                300: {"id": 300, "name": "Chat", "email": "chat@acme.example"},
                301: {"id": 301, "name": "佐藤 健", "email": "ken@acme.example"},
            },
        }
    )
    custom_fields: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {
            "lead": [
                {"id": 1, "name": "Chat reference", "type": "string", "filterable": True},
                {"id": 2, "name": "Tier", "type": "string"},
            ],
            "deal": [{"id": 3, "name": "Tier", "type": "string"}],
            "contact": [
                {"id": 4, "name": "Rank", "type": "string", "for_contact": True, "for_organisation": False},
                {"id": 5, "name": "Size", "type": "string", "for_contact": False, "for_organisation": True},
            ],
        }
    )
    numbers: Any = field(default_factory=lambda: count(1_000))

    def put(self, resource: str, **values: Any) -> dict[str, Any]:
        """Add a thing as somebody at the CRM would."""
        now = _moment(datetime.now(UTC))
        made: dict[str, Any] = {
            "id": next(self.numbers),
            "created_at": now,
            "updated_at": now,
            "creator_id": self.creator_id,
        }
        if resource in ("leads", "contacts", "deals"):
            # resources/: owner_id, "defaults to the authenticated user".
            made |= {"owner_id": self.creator_id, "custom_fields": {}, "tags": []}
        made |= values
        self.things[resource][made["id"]] = made
        return made


class SellError(Exception):
    """An answer that is no success, as errors/ has it."""

    def __init__(self, status: int, code: str, *, resource: str | None = None, at: str | None = None) -> None:
        super().__init__(code)
        self.status = status
        error = {
            "code": code,
            "message": code,
            "details": f"{code} at {at}",
            "resource": resource,
            "field": at,
        }
        self.body = {
            "errors": [
                {"error": {name: value for name, value in error.items() if value}, "meta": {"type": "error"}}
            ],
            "meta": {"type": "errors", "http_status": str(status), "logref": "b5h8u-qn0oj"},
        }


TOO_MANY = orjson.dumps(SellError(429, "rate_limit_exceeded").body)


class SellServer:
    """All of Sell: accounts by access token, and its token endpoint."""

    def __init__(self) -> None:
        self.accounts: dict[str, SellAccountData] = {}
        self.locked_out = False
        self.budget = BUDGET_PER_HOUR
        self._spent: dict[str, int] = {}
        self.now = datetime.now(UTC)
        self.refresh_tokens: dict[str, SellAccountData] = {}
        self._ends: dict[str, datetime] = {}
        self._given = count(1)
        self.app = Starlette(
            routes=[
                Route("/oauth2/token", self._token, methods=["POST"]),
                Route("/{path:path}", self._handle, methods=["GET", "POST", "PUT", "DELETE"]),
            ]
        )

    # ------------------------------------------------------------ authentication/

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = "Basic " + base64.b64encode(":".join(CLIENT).encode()).decode()
        if self.locked_out or request.headers.get("authorization") != basic:
            return _json(401, {"error": "invalid_client"})
        account = self.refresh_tokens.pop(form.get("refresh_token", ""), None)
        if form.get("grant_type") != "refresh_token" or account is None:
            return _json(400, {"error": "invalid_grant"})
        number = next(self._given)
        # A refresh token is good once; the answer holds the next (authentication/, "Refresh token flow").
        access, refresh = f"access-{number}", f"refresh-{number}"
        self.accounts[access], self.refresh_tokens[refresh] = account, account
        self._ends[access] = self.now + timedelta(seconds=TOKEN_LASTS_S)
        granted = {"access_token": access, "token_type": "bearer", "refresh_token": refresh}
        return _json(200, granted | {"expires_in": TOKEN_LASTS_S, "scope": "read write"})

    # ------------------------------------------------------------ requests/

    async def _handle(self, request: Request) -> Response:
        try:
            account = self._account(request)
            status, answer = await self._answer(account, request)
        except SellError as error:
            return _json(error.status, error.body)
        return _json(status, answer)

    def _account(self, request: Request) -> SellAccountData:
        if not request.headers.get("user-agent"):
            raise SellError(400, "invalid_header")  # errors/: a User-Agent is required
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        account = self.accounts.get(token)
        ended = self._ends.get(token, self.now) < self.now
        if scheme != "Bearer" or account is None or self.locked_out or ended:
            raise SellError(401, "unauthorized")
        self._spent[token] = self._spent.get(token, 0) + 1
        if self._spent[token] > self.budget:
            raise SellError(429, "rate_limit_exceeded")
        return account

    async def _answer(self, account: SellAccountData, request: Request) -> tuple[int, Any]:
        version, _, path = request.url.path.removeprefix("/").partition("/")
        if version != "v2":
            raise SellError(404, "incorrect_path")
        resource, _, rest = path.partition("/")
        if rest == "custom_fields" and resource in account.custom_fields and request.method == "GET":
            return 200, _many(account.custom_fields[resource], "custom_field")
        if resource not in account.things:
            raise SellError(404, "incorrect_path")
        if rest:
            known = account.things[resource].get(int(rest)) if rest.isdigit() else None
            if known is None:
                raise SellError(404, "not_found")
            if request.method == "GET":
                return 200, _one(known, resource)
            if request.method == "PUT" and resource in WRITABLE:
                known |= self._checked(account, resource, await _data(request))
                return 200, _one(known, resource)
        elif request.method == "GET":
            return 200, self._list(account, resource, request)
        elif request.method == "POST" and resource in WRITABLE:
            values = self._checked(account, resource, await _data(request))
            self._complete(account, resource, values)
            return 200, _one(account.put(resource, **values), resource)
        raise SellError(404, "incorrect_path")

    def _list(self, account: SellAccountData, resource: str, request: Request) -> Any:
        wanted = dict(request.query_params)
        page, per_page = wanted.pop("page", "1"), wanted.pop("per_page", str(PER_PAGE_DEFAULT))
        if not page.isdigit() or not per_page.isdigit() or not 1 <= int(per_page) <= PER_PAGE_MAX:
            raise SellError(400, "invalid_param")
        sort_by = wanted.pop("sort_by", "id")
        if not SORTED_BY.fullmatch(sort_by):
            raise SellError(400, "invalid_param")
        found = list(account.things[resource].values())
        for name, value in wanted.items():
            custom = CUSTOM.fullmatch(name)
            if custom is not None:
                found = self._by_custom_field(account, resource, found, custom[1], value)
            elif name not in FILTERS[resource]:
                raise SellError(400, "invalid_param")
            else:
                # Assumed: an address is compared without letter case; nothing is said about it.
                found = [one for one in found if str(one.get(name)).casefold() == value.casefold()]
        key, _, order = sort_by.partition(":")
        found.sort(key=lambda one: (one.get(key) or "", one["id"]), reverse=order == "desc")
        first = (int(page) - 1) * int(per_page)
        return _many(found[first : first + int(per_page)], SINGULAR.get(resource, resource))

    def _by_custom_field(
        self, account: SellAccountData, resource: str, found: list[dict[str, Any]], name: str, value: str
    ) -> list[dict[str, Any]]:
        # requests/: only fields that are marked "Filterable" in the settings.
        fields = account.custom_fields.get(SINGULAR[resource], [])
        if not any(one["name"] == name and one.get("filterable") for one in fields):
            raise SellError(400, "invalid_param")
        return [one for one in found if one["custom_fields"].get(name) == value]

    # ------------------------------------------------------------ resources/

    def _checked(self, account: SellAccountData, resource: str, data: dict[str, Any]) -> dict[str, Any]:
        single = SINGULAR.get(resource, resource)
        for name, value in data.items():
            if name not in WRITABLE[resource]:
                raise SellError(422, "unknown", resource=single, at=f"/{name}")
            if type(value) is not WRITABLE[resource][name]:
                raise SellError(422, "invalid_type", resource=single, at=f"/{name}")
        for name in data.get("custom_fields", {}):
            if not any(one["name"] == name for one in account.custom_fields[single]):
                raise SellError(422, "unknown", resource=single, at=f"/custom_fields/{name}")
        for name, others in (("owner_id", "users"), ("source_id", "lead_sources")):
            if name in data and data[name] not in account.things[others]:
                raise SellError(422, "incorrect_value", resource=single, at=f"/{name}")
        return data

    def _complete(self, account: SellAccountData, resource: str, values: dict[str, Any]) -> None:
        """What a new thing needs."""
        single = SINGULAR.get(resource, resource)
        if resource == "leads" and not (values.get("last_name") or values.get("organization_name")):
            raise SellError(422, "missing", resource=single, at="/last_name")
        known = {one.get("name") for one in account.things[resource].values()}
        if resource == "lead_sources" and values["name"] in known:
            raise SellError(422, "already_exists", resource=single, at="/name")
        if resource == "lead_sources" and len(known) >= account.sources_max:
            # Assumed: that there may be no more of them.
            raise SellError(422, "incorrect_value", resource=single, at="/name")
        if resource == "notes":
            for name in ("content", "resource_type", "resource_id"):
                if not values.get(name):
                    raise SellError(422, "missing", resource=single, at=f"/{name}")
            of = f"{values['resource_type']}s"
            if of not in ("leads", "contacts", "deals"):
                raise SellError(422, "incorrect_value", resource=single, at="/resource_type")
            if values["resource_id"] not in account.things[of]:
                # Assumed: which error a record that is gone gives is not said.
                raise SellError(422, "incorrect_value", resource=single, at="/resource_id")


async def _data(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type") != CONTENT_TYPE:
        raise SellError(400, "invalid_header")
    try:
        data = orjson.loads(await request.body())["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise SellError(400, "invalid_payload") from None
    if not isinstance(data, dict):
        raise SellError(422, "incorrect_payload")
    return data


def _one(thing: dict[str, Any], resource: str) -> dict[str, Any]:
    return {"data": thing, "meta": {"type": SINGULAR.get(resource, resource)}}


def _many(things: list[dict[str, Any]], single: str) -> dict[str, Any]:
    items = [{"data": one, "meta": {"type": single}} for one in things]
    return {"items": items, "meta": {"type": "collection", "count": len(items), "links": {}}}


def _moment(at: datetime) -> str:
    """requests/: ISO 8601, in UTC."""
    return at.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _json(status: int, body: Any) -> Response:
    return Response(orjson.dumps(body), status, media_type=CONTENT_TYPE)
