"""The pages: a transcript or a missed chat behind a signed, expiring link. Everything else is refused (404).

The one rule: whoever has the link may read the page, and links are forwarded; so it shows what the visitor could see
and what staff needs to know of a missed chat, and never a whisper (an internal message).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Route

from schemas.types import Language
from services.runtime.html import page_headers
from services.runtime.links import LINK_PATH, LinkExpired, LinkInvalid, read_link
from services.runtime.logs import explain, log
from services.transcript.reading import ArchivedChat, read_chat
from services.transcript.wording import WORDS

_STYLE = (resources.files("services.transcript") / "templates" / "page.css").read_text("utf-8")
HEADERS = page_headers(_STYLE, form_action="none")
"""Sent with every page: nothing is loaded or run, nothing kept, and the link is not told to other sites."""

_log = log(__name__)


class Pages:
    """Renders the pages of one archive. `now_ms` is the wall clock that links are checked against."""

    def __init__(self, engine: AsyncEngine, *, secret: str, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._secret = secret
        self._now_ms = now_ms
        templates = Environment(
            loader=PackageLoader("services.transcript", "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._page = templates.get_template("page.html")
        self._notice = templates.get_template("notice.html")

    def routes(self) -> list[BaseRoute]:
        """The routes to serve; the last one refuses whatever no other route takes, so it must stand last."""
        return [
            Route(LINK_PATH + "{token}", self.transcript, methods=["GET", "HEAD"]),
            Route("/{anything:path}", self.nothing, methods=["GET", "HEAD"]),
        ]

    async def transcript(self, request: Request) -> HTMLResponse:
        """The page of a link: 200, 403 for a forged link, 410 for an expired one, 404 while the chat is not archived."""
        try:
            link = read_link(request.path_params["token"], self._secret, self._now_ms())
        except LinkExpired:
            return self._told(request, "expired", status=410)
        except LinkInvalid:
            return self._told(request, "invalid", status=403)
        try:
            archived = await read_chat(
                self._engine, workspace_id=link.workspace_id, chat_id=link.chat_id, revision=link.revision
            )
        except (SQLAlchemyError, OSError) as error:
            _log.warning("page_failed", error=explain(error))
            return self._told(request, "down", status=503)
        if archived is None:
            return self._told(request, "absent", status=404)
        return HTMLResponse(self.render(archived), headers=HEADERS)

    async def nothing(self, request: Request) -> HTMLResponse:
        """Refuses an address nobody serves."""
        return self._told(request, "nothing", status=404)

    def render(self, archived: ArchivedChat) -> str:
        """The HTML of one chat, in its department's language and its workspace's time zone."""
        chat = archived.chat
        language: Language = "ja" if chat["language"] == "ja" else "en"
        zone = ZoneInfo(chat["timezone"] or "UTC")

        def moment(at_ms: int) -> str:
            at = datetime.fromtimestamp(at_ms / 1000, UTC)
            return format_datetime(at, "medium", tzinfo=zone, locale=language)

        return self._page.render(
            archived=archived,
            chat=chat,
            counts=chat["available_counts"] or {},
            language=language,
            moment=moment,
            iso=_iso,
            style=_STYLE,
            w=WORDS[language],
            zone=zone.key,
        )

    def _told(self, request: Request, what: str, *, status: int) -> HTMLResponse:
        """A page of one sentence, in the reader's language as their browser states it."""
        language = _preferred(request.headers.get("accept-language", ""))
        html = self._notice.render(
            language=language,
            style=_STYLE,
            title=WORDS[language][f"{what}_title"],
            text=WORDS[language][f"{what}_text"],
        )
        return HTMLResponse(html, status_code=status, headers=HEADERS)


def _preferred(accept_language: str) -> Language:
    """Japanese where a browser asks for it first."""
    return "ja" if accept_language.strip().lower().startswith("ja") else "en"


def _iso(at_ms: int) -> Any:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
