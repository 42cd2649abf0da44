"""Zoho Desk on loopback, as far as tickets go: every request held to what Zoho has published.

The one rule: what Desk would refuse is refused here with Desk's own error. Sources: https://desk.zoho.com/DeskAPIDocument (Tickets_CreateTicket,
Search_SearchTickets, Errors, APICredits, OAuthScopes), Zoho's OpenAPI files github.com/zoho/zohodesk-oas v1.0 (Ticket, Search, CustomView,
Common), https://www.zoho.com/accounts/protocol/oauth/ for tokens. Where these say nothing, what is done here is marked "assumed".
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOKENS_MAX = 10
"""Tokens for one refresh token in ten minutes; further ones are denied."""
LENGTHS = {"subject": 255, "email": 150, "phone": 120, "description": 65_535, "channel": 120}
"""Tickets_CreateTicket: the longest values."""
ATTRIBUTES = {*LENGTHS, "departmentId", "contactId", "contact", "cf", "status", "priority", "category"}
CUSTOM_MAX = 100
SEARCHED_BY = {"departmentId", "customField1", "limit", "from", "email", "subject", "sortBy", "_all"}
MISSED = ("cf_chat_type", "missed_chat")
"""The criterion of the view that an admin makes in Desk: the API only reads views (CustomView)."""


@dataclass
class DeskData:
    """One organization's tickets and contacts."""

    org_id: str
    department_id: str = "7001"
    fields: set[str] = field(default_factory=lambda: {"cf_chat_reference", "cf_chat_type", "cf_chat_tag"})
    tickets: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    given: int = 0

    def missed(self) -> list[dict[str, Any]]:
        """Return what the view "Missed chats" shows."""
        name, value = MISSED
        return [one for one in self.tickets if one["cf"].get(name) == value]


class DeskError(Exception):
    """An answer that is no success, as Errors has it."""

    def __init__(self, status: int, code: str, *problems: tuple[str, str], retry_after: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.headers = {"retry-after": retry_after} if retry_after else {}
        self.body: dict[str, Any] = {"errorCode": code, "message": f"{code}: hanako@example.com"}
        if problems:
            self.body["errors"] = [
                {"fieldName": name, "errorType": problem, "errorMessage": "of a value"}
                for name, problem in problems
            ]


class DeskServer:
    """All of Desk, and Zoho's token endpoint: organizations by refresh token."""

    def __init__(self) -> None:
        self.organizations: dict[str, DeskData] = {}
        self.locked_out = False
        self.credits_left = 50_000
        self._tokens: dict[str, DeskData] = {}
        self._numbers = count(1)
        self.app = Starlette(
            routes=[
                Route("/oauth/v2/token", self._token, methods=["POST"]),
                Route("/api/{path:path}", self._handle, methods=["GET", "POST", "PATCH"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        organization = self.organizations.get(form.get("refresh_token", ""))
        known = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"))
        if self.locked_out or organization is None or known != ("refresh_token", "app", "app-secret"):
            return _json(200, {"error": "invalid_code"})  # yes, 200
        organization.given += 1
        if organization.given > TOKENS_MAX:
            return _json(400, {"error": "Access Denied"})
        access = f"desk-{next(self._numbers)}"
        self._tokens[access] = organization
        # No new refresh token; `api_domain` is that of other products of Zoho's.
        granted = {"access_token": access, "expires_in": 3_600, "token_type": "Bearer"}
        return _json(200, granted | {"api_domain": "https://www.zohoapis.com"})

    def expire(self) -> None:
        """End all tokens."""
        self._tokens.clear()

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._answered(self._organization(request), request)
        except DeskError as error:
            return _json(error.status, error.body, error.headers)

    async def _answered(self, organization: DeskData, request: Request) -> Response:
        if request.url.path == "/api/v1/tickets" and request.method == "POST":
            return _json(200, self._create(organization, await _body(request)))
        if request.url.path == "/api/v1/tickets/search" and request.method == "GET":
            found = _search(organization, dict(request.query_params))
            return _json(200, {"data": found, "count": len(found)}) if found else Response(status_code=204)
        raise DeskError(404, "URL_NOT_FOUND")

    def _organization(self, request: Request) -> DeskData:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        organization = self._tokens.get(token)
        if scheme != "Zoho-oauthtoken" or organization is None or self.locked_out:
            raise DeskError(401, "INVALID_OAUTH")
        if request.headers.get("orgid") != organization.org_id:
            raise DeskError(403, "OAUTH_ORG_MISMATCH")
        self.credits_left -= 1
        if self.credits_left < 0:
            raise DeskError(429, "THRESHOLD_EXCEEDED", retry_after="1800")
        return organization

    def _create(self, organization: DeskData, ticket: dict[str, Any]) -> dict[str, Any]:
        problems = [(f"/{name}", "missing") for name in ("subject", "departmentId") if not ticket.get(name)]
        problems += [(f"/{name}", "invalid") for name in ticket if name not in ATTRIBUTES]
        problems += [
            (f"/{name}", "invalid")
            for name, longest in LENGTHS.items()
            if len(ticket.get(name, "")) > longest
        ]
        if ticket.get("departmentId") != organization.department_id:
            problems.append(("/departmentId", "invalid"))
        contact = ticket.get("contact", {})
        if not ticket.get("contactId") and not (contact.get("lastName") or contact.get("email")):
            problems.append(("/contactId", "missing"))
        for name, value in ticket.get("cf", {}).items():
            if name not in organization.fields or len(value) > CUSTOM_MAX:
                problems.append((f"/cf/{name}", "invalid"))
        if problems:
            raise DeskError(422, "INVALID_DATA", *problems)
        number = str(next(self._numbers))
        made = ticket | {
            "id": number,
            "contact": self._contact(organization, contact),
            "webUrl": f"https://desk.zoho.com/support/acme/ShowHomePage.do#Cases/dv/{number}",
        }
        organization.tickets.append(made)
        return made

    def _contact(self, organization: DeskData, contact: dict[str, Any]) -> dict[str, Any]:
        """Tickets_CreateTicket: "If the email ID of the contact already exists", it is that contact's ticket."""
        for known in organization.contacts:
            if contact.get("email") and known.get("email") == contact["email"]:
                return known
        organization.contacts.append(contact)
        return contact


def _search(organization: DeskData, wanted: dict[str, str]) -> list[dict[str, Any]]:
    for name in wanted:
        if name not in SEARCHED_BY:
            raise DeskError(422, "INVALID_DATA", (f"/{name}", "invalid"))
    limit = wanted.get("limit", "10")
    if not limit.isdigit() or not 1 <= int(limit) <= 100:
        raise DeskError(422, "INVALID_DATA", ("/limit", "invalid"))
    name, _, value = wanted.get("customField1", "").partition(":")
    found = [
        one
        for one in organization.tickets
        if one["departmentId"] == wanted.get("departmentId") and one["cf"].get(name) == value
    ]
    return found[: int(limit)]


async def _body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type") != "application/json":
        raise DeskError(415, "UNSUPPORTED_MEDIA_TYPE")
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise DeskError(400, "BAD_REQUEST") from None
    if not isinstance(body, dict):
        raise DeskError(422, "UNPROCESSABLE_ENTITY")
    return body


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
