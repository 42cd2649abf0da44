"""The pages: a transcript or a missed chat behind a signed link that expires and can be revoked. Everything else is refused (404).

The one rule: whoever has the link may read the page, and links are forwarded; so it shows what the visitor could see
and what staff needs to know of a missed chat, and never a whisper (an internal message).
"""

import asyncio
from collections.abc import Callable
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Route

from schemas.types import Language
from services.runtime.html import page_headers, page_templates
from services.runtime.languages import preferred_language
from services.runtime.links import LINK_PATH, LinkExpired, LinkInvalid, read_link
from services.runtime.logs import explain, log
from services.transcript.pages.reading import ArchivedChat, is_erased, read_chat
from services.transcript.pages.rendering import PACKAGE, STYLE, Written, iso
from services.transcript.pages.revocation import is_revoked
from services.transcript.pages.wording import WORDS

HEADERS = page_headers(STYLE, form_action="none")
"""Sent with every page: nothing is loaded or run, nothing kept, and the link is not told to other sites."""

_log = log(__name__)


class Pages:
    """Renders the pages of one archive. `now_ms` is the wall clock that links are checked against."""

    def __init__(self, engine: AsyncEngine, *, secret: str, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._secret = secret
        self._now_ms = now_ms
        templates = page_templates(PACKAGE)
        self._page = templates.get_template("page.html")
        self._notice = templates.get_template("notice.html")

    def routes(self) -> list[BaseRoute]:
        """The routes to serve; the last one refuses whatever no other route takes, so it must stand last."""
        return [
            Route(LINK_PATH + "{token}", self.transcript, methods=["GET", "HEAD"]),
            Route("/{anything:path}", self.nothing, methods=["GET", "HEAD"]),
        ]

    async def transcript(self, request: Request) -> HTMLResponse:
        """The page of a link: 200, 403 for a forged one, 404 while the chat is not archived, 410 once link or chat are gone."""
        try:
            link = read_link(request.path_params["token"], self._secret, self._now_ms())
        except LinkExpired:
            return self._told(request, "expired", status=410)
        except LinkInvalid:
            return self._told(request, "invalid", status=403)
        try:
            if await is_revoked(self._engine, link):
                return self._told(request, "revoked", status=410)
            of_chat = {"workspace_id": link.workspace_id, "chat_id": link.chat_id}
            archived = await read_chat(self._engine, **of_chat, revision=link.revision)
            if archived is None and await is_erased(self._engine, **of_chat):
                return self._told(request, "erased", status=410)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("page_failed", error=explain(error))
            return self._told(request, "down", status=503)
        if archived is None:
            return self._told(request, "absent", status=404)
        # In a thread: a long conversation takes a good part of a second, and transcripts are made on this loop.
        otherwise = preferred_language(request.headers.get("accept-language", ""))
        html = await asyncio.to_thread(self.render, archived, otherwise=otherwise)
        return HTMLResponse(html, headers=HEADERS)

    async def nothing(self, request: Request) -> HTMLResponse:
        """Refuses an address nobody serves."""
        return self._told(request, "nothing", status=404)

    def render(self, archived: ArchivedChat, *, otherwise: Language) -> str:
        """The HTML of one chat in its workspace's time zone, in its department's language, or in another one while that is not known."""
        chat = archived.chat
        language: Language = chat["language"] or otherwise
        written = Written(language, ZoneInfo(chat["timezone"] or "UTC"))
        return self._page.render(
            archived=archived,
            chat=chat,
            clock=written.clock,
            counts=chat["available_counts"] or {},
            days=groupby(archived.messages, lambda message: written.day(message["at_ms"])),
            iso=iso,
            language=language,
            moment=written.moment,
            served_by={agent["id"]: agent["name"] for agent in chat["agents"] or ()},
            span=written.span,
            style=STYLE,
            w=WORDS[language],
            zone=written.zone.key,
        )

    def _told(self, request: Request, what: str, *, status: int) -> HTMLResponse:
        """A page of one sentence, in the reader's language as their browser states it."""
        language = preferred_language(request.headers.get("accept-language", ""))
        html = self._notice.render(
            language=language,
            style=STYLE,
            title=WORDS[language][f"{what}_title"],
            text=WORDS[language][f"{what}_text"],
        )
        return HTMLResponse(html, status_code=status, headers=HEADERS)
