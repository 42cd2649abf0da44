"""The pages of the embedded CRM: what sales sees. The feed, filtered by type, user, team and group; tickets; a person's card.

The one rule: they show conversations, so they are closed by default. Without a password they answer only where the worker listens on
loopback and was asked for by a loopback name (another name there means that some site has pointed its own at us). With one
(CHAT_CRM_FEED_TOKEN) the browser asks for it; any user name will do.
"""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from babel.dates import format_datetime
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from schemas.events import Layouts
from schemas.outcomes import CrmRecord
from schemas.types import Language
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.views import FeedFilter, FeedPage, TicketPage
from services.crm_sync.page_words import WORDS
from services.runtime.effects import Refused, Unavailable
from services.runtime.health import is_loopback
from services.runtime.html import page_headers, page_style, page_templates
from services.runtime.languages import preferred_language

FILTER_CHARS_MAX = 256
_STYLE = page_style("services.crm_sync", "crm.css")
HEADERS = page_headers(_STYLE, form_action="self")
CLOSED = (
    "The CRM's pages are shown on loopback only, under a name of this machine such as 127.0.0.1. "
    "To open them elsewhere, give the worker a password in CHAT_CRM_FEED_TOKEN.\n"
)
Shown = Callable[[Request, str, Language], Awaitable[str]]
"""The HTML of a page, given the request, the workspace and the language."""


class CrmPages:
    """Shows what one embedded CRM holds."""

    def __init__(self, crm: EmbeddedCrm, *, http_host: str, token: str | None) -> None:
        """`http_host`: the address the worker listens on; `token`: the password, None for loopback only."""
        self._crm = crm
        self._on_loopback = is_loopback(http_host)
        self.token = token
        self._templates = page_templates("services.crm_sync")

    def routes(self) -> list[BaseRoute]:
        """Return the routes to serve."""
        pages: tuple[tuple[str, Shown], ...] = (
            ("feed", self._feed),
            ("tickets", self._tickets),
            ("people/{person}", self._person),
        )
        return [
            Route(f"/crm/{{workspace}}/{path}", self._answering(show), methods=["GET", "HEAD"])
            for path, show in pages
        ]

    def _answering(self, show: Shown) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            """Return a page: 401 or 403 for whoever may not see it, 404 for nobody's, 503 while the database is away."""
            language = preferred_language(request.headers.get("accept-language", ""))
            closed = self._closed(request, language)
            if closed is not None:
                return closed
            try:
                html = await show(request, request.path_params["workspace"], language)
            except Refused:
                return _said("nobody", language, status=404)
            except Unavailable:
                return _said("away", language, status=503)
            return HTMLResponse(html, headers=HEADERS)

        return answer

    async def _feed(self, request: Request, workspace_id: str, language: Language) -> str:
        shown = _filter(request.query_params)
        page = await self._crm.feed(shown, workspace_id=workspace_id)
        words = WORDS[language]
        filters = (
            ("type", words["type"], [(one, words.get(one, one)) for one in page.types], shown.type),
            ("user", words["user"], page.users, shown.user),
            ("team", words["team"], [(one, one) for one in page.teams], shown.team),
            ("group", words["group"], [(one, one) for one in page.groups], shown.group),
        )
        limit_note = _limit_note(page, words, "reason_feed")
        return self._render(
            "feed.html",
            workspace_id,
            language,
            here="feed",
            page=page,
            filters=filters,
            limit_note=limit_note,
        )

    async def _tickets(self, request: Request, workspace_id: str, language: Language) -> str:
        missed = request.query_params.get("view") == "missed"
        page = await self._crm.tickets(workspace_id=workspace_id, missed=missed)
        limit_note = _limit_note(page, WORDS[language])
        here = "missed" if missed else "tickets"
        return self._render(
            "tickets.html", workspace_id, language, here=here, page=page, limit_note=limit_note
        )

    async def _person(self, request: Request, workspace_id: str, language: Language) -> str:
        record = CrmRecord("person", request.path_params["person"])
        fields = await self._crm.card_fields(workspace_id=workspace_id)
        whole = Layouts(**{kind: tuple(one.name for one in of_kind) for kind, of_kind in fields.items()})
        card = await self._crm.read_card(record, layouts=whole, workspace_id=workspace_id)
        person = int(card.record.id)
        feed = await self._crm.feed(FeedFilter(person=person), workspace_id=workspace_id)
        tickets = await self._crm.tickets(workspace_id=workspace_id, person=person)
        own = "person" if card.record.type == "contact" else "lead"
        words = WORDS[language]
        return self._render(
            "person.html",
            workspace_id,
            language,
            here=None,
            title=next(one.name for one in card.sections if one.kind == own),
            card=card,
            feed=feed,
            tickets=tickets,
            limit_notes=(_limit_note(feed, words), _limit_note(tickets, words)),
        )

    def _render(self, template: str, workspace_id: str, language: Language, **values: Any) -> str:
        def moment(text: str) -> str:
            """Write a time for people; what is none stays as it is."""
            try:
                at = datetime.fromisoformat(text).astimezone(UTC)
            except ValueError:
                return text
            return f"{format_datetime(at, 'medium', locale=language)} UTC"

        return self._templates.get_template(template).render(
            workspace=workspace_id,
            language=language,
            style=_STYLE,
            w=WORDS[language],
            moment=moment,
            **values,
        )

    def _closed(self, request: Request, language: Language) -> Response | None:
        """Return the refusal of a request that may not see the pages, None for one that may."""
        if self.token is None:
            open_here = self._on_loopback and is_loopback(request.url.hostname or "")
            return None if open_here else PlainTextResponse(CLOSED, 403, headers=HEADERS)
        if hmac.compare_digest(_password(request.headers.get("authorization", "")), self.token.encode()):
            return None
        refused = _said("password", language, status=401)
        refused.headers["WWW-Authenticate"] = 'Basic realm="feed", charset="UTF-8"'
        return refused


def _said(what: str, language: Language, *, status: int) -> Response:
    return PlainTextResponse(f"{WORDS[language][what]}\n", status, headers=HEADERS)


def _limit_note(page: FeedPage | TicketPage, words: Mapping[str, str], reason: str = "reason") -> str | None:
    """Return what a page says when it does not show all."""
    if page.total <= len(page.items):
        return None
    return words["limit"].format(shown=len(page.items), total=page.total, reason=words[reason])


def _password(authorization: str) -> bytes:
    """Return the password of HTTP Basic, empty where there is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _filter(query: QueryParams) -> FeedFilter:
    def one(name: str) -> str | None:
        return (query.get(name) or "")[:FILTER_CHARS_MAX] or None

    return FeedFilter(type=one("type"), user=one("user"), team=one("team"), group=one("group"))
