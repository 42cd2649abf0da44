"""The feed page of the embedded CRM: what sales sees, filtered by type, user, team and group.

The one rule: it shows conversations, so it is closed by default. Without a password it answers only where the worker listens on
loopback and was asked for by a loopback name (another name there means that some site has pointed its own at us). With one
(CHAT_CRM_FEED_TOKEN) the browser asks for it; any user name will do.
"""

import binascii
import hmac
from base64 import b64decode
from ipaddress import ip_address

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from schemas.types import Language
from services.crm_sync.connectors.embedded import DECLARED, EmbeddedCrm, FeedFilter, FeedPage
from services.runtime.effects import Unavailable
from services.runtime.html import page_headers, page_style, page_templates

FEED_PATH = "/crm/{workspace}/feed"
FILTER_CHARS_MAX = 256
_STYLE = page_style("services.crm_sync", "feed.css")
HEADERS = page_headers(_STYLE, form_action="self")
CLOSED = (
    "The feed is shown on loopback only, under a name of this machine such as 127.0.0.1. "
    "To open it elsewhere, give the worker a password in CHAT_CRM_FEED_TOKEN.\n"
)
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Activity feed",
        "type": "Type",
        "user": "User",
        "team": "Team",
        "group": "Group",
        "all": "all",
        "show": "Show",
        "owner": "owner",
        "link": "Whole conversation",
        "nothing": "Nothing here yet.",
        "limit": "The latest {shown} of {total} are shown: {reason}.",
        "chat": "Chat",
        "missed_chat": "Missed chat",
        "lead": "Lead",
        "contact": "Contact",
    },
    "ja": {
        "title": "活動フィード",
        "type": "種類",
        "user": "担当者",
        "team": "チーム",
        "group": "グループ",
        "all": "すべて",
        "show": "表示",
        "owner": "所有者",
        "link": "会話の全文",
        "nothing": "まだ何もありません。",
        "limit": "{total}件のうち最新の{shown}件を表示しています（{reason}）。",
        "chat": "チャット",
        "missed_chat": "不在チャット",
        "lead": "リード",
        "contact": "連絡先",
    },
}
_LIMIT_REASONS: dict[Language, str] = {
    "en": DECLARED.limits.feed_limit_reason or "",
    "ja": "1ページの上限です。絞り込むと古いものも表示できます",
}


class FeedPages:
    """Shows the feeds of one embedded CRM."""

    def __init__(self, crm: EmbeddedCrm, *, http_host: str, token: str | None) -> None:
        """`http_host`: the address the worker listens on; `token`: the password, None for loopback only."""
        self._crm = crm
        self._on_loopback = _is_loopback(http_host)
        self._token = token
        templates = page_templates("services.crm_sync")
        self._page = templates.get_template("feed.html")

    def routes(self) -> list[BaseRoute]:
        """Return the routes to serve."""
        return [Route(FEED_PATH, self.feed, methods=["GET", "HEAD"])]

    async def feed(self, request: Request) -> Response:
        """Return a workspace's feed: 401 or 403 for whoever may not see it, 503 while the database is away."""
        closed = self._closed(request)
        if closed is not None:
            return closed
        shown = _filter(request.query_params)
        try:
            page = await self._crm.feed(shown, workspace_id=request.path_params["workspace"])
        except Unavailable:
            return PlainTextResponse("The CRM's database does not answer.\n", 503, headers=HEADERS)
        language: Language = (
            "ja" if request.headers.get("accept-language", "").strip().lower().startswith("ja") else "en"
        )
        return HTMLResponse(self.render(page, shown, language=language), headers=HEADERS)

    def render(self, page: FeedPage, shown: FeedFilter, *, language: Language) -> str:
        """Return the HTML of a page of the feed."""
        words = _WORDS[language]
        filters = (
            ("type", words["type"], [(one, words.get(one, one)) for one in page.types], shown.type),
            ("user", words["user"], page.users, shown.user),
            ("team", words["team"], [(one, one) for one in page.teams], shown.team),
            ("group", words["group"], [(one, one) for one in page.groups], shown.group),
        )
        limit_note = None
        if page.total > len(page.items):
            limit_note = words["limit"].format(
                shown=len(page.items), total=page.total, reason=_LIMIT_REASONS[language]
            )
        return self._page.render(
            page=page, filters=filters, limit_note=limit_note, language=language, style=_STYLE, w=words
        )

    def _closed(self, request: Request) -> Response | None:
        """Return the refusal of a request that may not see the feed, None for one that may."""
        if self._token is None:
            open_here = self._on_loopback and _is_loopback(request.url.hostname or "")
            return None if open_here else PlainTextResponse(CLOSED, 403, headers=HEADERS)
        if hmac.compare_digest(_password(request.headers.get("authorization", "")), self._token.encode()):
            return None
        asked = {**HEADERS, "WWW-Authenticate": 'Basic realm="feed", charset="UTF-8"'}
        return PlainTextResponse("The feed's password is needed.\n", 401, headers=asked)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
