"""The read API: what the archive knows of a workspace, as JSON, for whoever has a token.

The one rule: default deny. Nothing is answered before the token is read, its workspace is the path's, its role may read the
noun, and the parameters are understood; only the OpenAPI document is everybody's.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.routing import BaseRoute

from services.runtime.api import api_routes, asked_of, workspace_of
from services.runtime.logs import explain, log
from services.runtime.openapi import Endpoint, document
from services.runtime.problems import NotNow, Refused
from services.transcript.api import (
    canned,
    chat,
    chats,
    departments,
    exports,
    inbox,
    monitored,
    notes,
    visitor,
)
from services.transcript.api.access import MAY_READ, ROLES, Noun, Token, read_token
from services.transcript.api.downloads import Download, Downloads
from services.transcript.api.reader import open_reader
from services.transcript.archive import tagging

ENDPOINTS: tuple[Endpoint[Noun], ...] = (
    Endpoint("/{workspace}/departments", "departments", departments.departments),
    Endpoint(
        "/{workspace}/departments/{department_id}/agents", "available_agents", departments.available_agents
    ),
    Endpoint("/{workspace}/departments/{department_id}/queue", "queue", departments.queue),
    Endpoint("/{workspace}/chats", "chats", chats.chats),
    Endpoint("/{workspace}/chats/export", "chats", exports.export_chats, exports.FILES),
    Endpoint("/{workspace}/chats/{chat_id}", "chats", chat.chat),
    Endpoint("/{workspace}/chats/{chat_id}/export", "chats", exports.export_chat, exports.FILES),
    Endpoint("/{workspace}/chats/{chat_id}/messages", "chats", chat.messages),
    Endpoint("/{workspace}/chats/{chat_id}/recent", "chats", chat.recent),
    Endpoint("/{workspace}/chats/{chat_id}/visitor", "visitors", visitor.visitor),
    Endpoint("/{workspace}/chats/{chat_id}/notes", "notes", notes.notes),
    Endpoint("/{workspace}/missed", "missed", inbox.missed),
    Endpoint("/{workspace}/missed/{chat_id}", "missed", inbox.missed_chat),
    Endpoint("/{workspace}/monitored", "monitored", monitored.monitored),
    Endpoint("/{workspace}/canned-messages", "canned", canned.canned_messages),
    Endpoint("/{workspace}/canned-messages/suggestions", "canned", canned.suggestions),
    Endpoint("/{workspace}/tags", "tags", tagging.tags),
    Endpoint("/{workspace}/caller", "callers", visitor.caller),
)
"""All that is served, the OpenAPI document besides. (A chat whose id is "export" is found by what the paths mean: `chats/%65xport`.)"""
RETRY_AFTER_S = 5
"""When to ask again while the database does not answer."""

_log = log(__name__)


class Api:
    """Serves one archive. `secret` signs the tokens; `now_ms` is the wall clock their expiry is checked against."""

    def __init__(self, engine: AsyncEngine, *, secret: str, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self.secret = secret
        self._now_ms = now_ms
        self._downloads = Downloads()

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return api_routes(ENDPOINTS, self._reply, document=_document)

    async def _reply(self, endpoint: Endpoint[Noun], request: Request) -> Any:
        token = self._admit(endpoint, request)
        asked = asked_of(endpoint, request)
        try:
            async with self._engine.connect() as connection:
                reader = await open_reader(connection, token, noun=endpoint.noun)
                answer = await endpoint.answer(reader, asked)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("api_failed", endpoint=endpoint.path, error=explain(error))
            raise NotNow("the archive does not answer", retry_after_s=RETRY_AFTER_S) from None
        if isinstance(answer, Download):
            return self._downloads.answer(answer, workspace_id=token.workspace, head=request.method == "HEAD")
        return answer

    def _admit(self, endpoint: Endpoint[Noun], request: Request) -> Token:
        """The token, if it is for the path's workspace and its role may read such things at all. Raises Refused."""
        token = read_token(request.headers.get("authorization"), secret=self.secret, now_ms=self._now_ms())
        if workspace_of(request) != token.workspace:
            raise Refused(403, "the token is for another workspace")
        if MAY_READ[endpoint.noun][token.role] == "none":
            raise Refused(403, f"the role {token.role} may not read this")
        return token


@cache
def _document() -> bytes:
    return orjson.dumps(
        document(
            ENDPOINTS,
            title="Chat archive",
            told="What the archive knows of a workspace. `as_of` is the time of the newest archived record: what came later is not in it.",
            away="The archive's database does not answer, or too many exports are under way.",
            readers=lambda noun: ", ".join(role for role in ROLES if MAY_READ[noun][role] != "none"),
        )
    )
