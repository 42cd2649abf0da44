"""The read API: what the archive knows of a workspace, as JSON, for whoever has a token.

The one rule: default deny. Nothing is answered before the token is read, its workspace is the path's, its role may read the
noun, and the parameters are understood; only the OpenAPI document is everybody's.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import orjson
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from services.runtime.logs import explain, log
from services.transcript.api import canned, chat, chats, departments, inbox, monitored, notes
from services.transcript.api.access import MAY_READ, Refused, Token, read_token
from services.transcript.api.openapi import DOCUMENT_PATH, Endpoint, document
from services.transcript.api.problems import HEADERS, BadRequest, NotFound, Wrong, answer, of_parameters
from services.transcript.api.reader import Asked, open_reader
from services.transcript.archive import tagging

PREFIX = "/v1"
ENDPOINTS = (
    Endpoint("/{workspace}/departments", "departments", departments.departments),
    Endpoint(
        "/{workspace}/departments/{department_id}/agents", "available_agents", departments.available_agents
    ),
    Endpoint("/{workspace}/departments/{department_id}/queue", "queue", departments.queue),
    Endpoint("/{workspace}/chats", "chats", chats.chats),
    Endpoint("/{workspace}/chats/{chat_id}", "chats", chat.chat),
    Endpoint("/{workspace}/chats/{chat_id}/messages", "chats", chat.messages),
    Endpoint("/{workspace}/chats/{chat_id}/recent", "chats", chat.recent),
    Endpoint("/{workspace}/chats/{chat_id}/notes", "notes", notes.notes),
    Endpoint("/{workspace}/missed", "missed", inbox.missed),
    Endpoint("/{workspace}/missed/{chat_id}", "missed", inbox.missed_chat),
    Endpoint("/{workspace}/monitored", "monitored", monitored.monitored),
    Endpoint("/{workspace}/canned-messages", "canned", canned.canned_messages),
    Endpoint("/{workspace}/canned-messages/suggestions", "canned", canned.suggestions),
    Endpoint("/{workspace}/tags", "tags", tagging.tags),
)
"""All that is served, the OpenAPI document besides."""
RETRY_AFTER_S = 5
"""When to ask again while the database does not answer."""

_log = log(__name__)


class Api:
    """Serves one archive. `secret` signs the tokens; `now_ms` is the wall clock their expiry is checked against."""

    def __init__(self, engine: AsyncEngine, *, secret: str, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._secret = secret
        self._now_ms = now_ms

    def routes(self) -> list[BaseRoute]:
        """The routes to serve: all below `PREFIX`, where what is not served is refused in JSON too."""
        routes = [Route(DOCUMENT_PATH, self._show_document), *map(self._route, ENDPOINTS)]
        served = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
        served.router.redirect_slashes = False  # a redirect has no body: what is not served is refused
        return [_Encoded(PREFIX, app=served)]

    def _route(self, endpoint: Endpoint) -> Route:
        async def serve(request: Request) -> Response:
            return await self._serve(endpoint, request)

        return Route(endpoint.path, serve)

    async def _serve(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            token = self._admit(endpoint, request)
            asked = _asked(endpoint, request)
            async with self._engine.connect() as connection:
                reader = await open_reader(connection, token, noun=endpoint.noun)
                reply = await endpoint.answer(reader, asked)
        except Refused as refused:
            # RFC 9110, section 11.6.1: a 401 says how to do better.
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
            return answer(refused.status, refused.told, headers=headers)
        except BadRequest as bad:
            return answer(400, str(bad), errors=bad.errors)
        except NotFound:
            return answer(404, "there is no such thing, or not for who asks")
        except (SQLAlchemyError, OSError) as error:
            _log.warning("api_failed", endpoint=endpoint.path, error=explain(error))
            return answer(503, "the archive does not answer", headers={"Retry-After": str(RETRY_AFTER_S)})
        return Response(orjson.dumps(reply), headers=dict(HEADERS), media_type="application/json")

    def _admit(self, endpoint: Endpoint, request: Request) -> Token:
        """The token, if it is for the path's workspace and its role may read such things at all. Raises Refused."""
        token = read_token(request.headers.get("authorization"), secret=self._secret, now_ms=self._now_ms())
        if unquote(request.path_params["workspace"]) != token.workspace:
            raise Refused(403, "the token is for another workspace")
        if MAY_READ[endpoint.noun][token.role] == "none":
            raise Refused(403, f"the role {token.role} may not read this")
        return token

    async def _show_document(self, _request: Request) -> Response:
        return Response(_document(), headers=dict(HEADERS), media_type="application/json")


@cache
def _document() -> bytes:
    return orjson.dumps(document(ENDPOINTS, prefix=PREFIX))


class _Encoded(Mount):
    """Routes by the path as it was sent: an id may hold a slash, written %2F, which separates nothing, or the end of a line."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Mount`; what is below goes by the same path."""
        if scope["type"] != "http":
            return Match.NONE, {}
        as_sent = {"path": scope["raw_path"].decode("utf-8", "replace")}
        match, found = super().matches({**scope, **as_sent})
        return match, {**found, **as_sent}


def _asked(endpoint: Endpoint, request: Request) -> Asked:
    """The parameters of path and query. Raises BadRequest."""
    given = request.query_params.multi_items()
    in_path = {name: unquote(text) for name, text in request.path_params.items()}
    names = [name for name, _ in given]
    twice = sorted({name for name in names if names.count(name) > 1 or name in in_path})
    if twice:
        raise BadRequest(*(Wrong(name, "several values", "one was expected") for name in twice))
    values: Mapping[str, Any] = {**dict(given), **in_path}
    try:
        return endpoint.asked.model_validate(values)
    except ValidationError as error:
        raise of_parameters(error) from None


async def _refuse(_request: Request, error: Exception) -> Response:
    """Refuses an address nobody serves, and a method no address takes."""
    assert isinstance(error, HTTPException)
    told = "only GET is served here" if error.status_code == 405 else "nothing is served here"
    return answer(error.status_code, told, headers=error.headers)
