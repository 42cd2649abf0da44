"""Serves the endpoints of an API below `/v1`: paths as they were sent, parameters as they were declared, refusals as problem details.

The one rule: default deny. What is not declared is refused, in JSON too; whether who asks may read what is declared, the worker's own
`reply` decides, before it reads the parameters.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from services.runtime.openapi import DOCUMENT_PATH, PREFIX, Asked, Endpoint
from services.runtime.problems import (
    HEADERS,
    BadRequest,
    NotFound,
    NotNow,
    Refused,
    Wrong,
    answer,
    of_exception,
    of_parameters,
)

Noun = TypeVar("Noun", bound=str)
Reply = Callable[[Endpoint[Noun], Request], Awaitable[Any]]
"""Gives what an endpoint answers with, or the whole response where that is no JSON. Raises Refused, BadRequest, NotFound and NotNow."""


def api_routes(
    endpoints: Sequence[Endpoint[Noun]], reply: Reply[Noun], *, document: Callable[[], bytes]
) -> list[BaseRoute]:
    """The routes to serve. `document`: the OpenAPI document, which is everybody's."""

    async def show_document(_request: Request) -> Response:
        return _json(document())

    routes = [Route(DOCUMENT_PATH, show_document), *(_route(endpoint, reply) for endpoint in endpoints)]
    served = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    served.router.redirect_slashes = False  # a redirect has no body: what is not served is refused
    return [_Encoded(PREFIX, app=served)]


def workspace_of(request: Request) -> str:
    """The workspace a request's path names."""
    return unquote(request.path_params["workspace"])


def asked_of(endpoint: Endpoint[Any], request: Request) -> Asked:
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


def _route(endpoint: Endpoint[Noun], reply: Reply[Noun]) -> Route:
    async def serve(request: Request) -> Response:
        try:
            found = await reply(endpoint, request)
            return found if isinstance(found, Response) else _json(orjson.dumps(found))
        except (Refused, BadRequest, NotFound, NotNow) as error:
            return of_exception(error)

    return Route(endpoint.path, serve)


def _json(body: bytes) -> Response:
    return Response(body, headers=dict(HEADERS), media_type="application/json")


class _Encoded(Mount):
    """Routes by the path as it was sent: an id may hold a slash, written %2F, which separates nothing, or the end of a line."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Mount`; what is below goes by the same path."""
        if scope["type"] != "http":
            return Match.NONE, {}
        as_sent = {"path": scope["raw_path"].decode("utf-8", "replace")}
        match, found = super().matches({**scope, **as_sent})
        return match, {**found, **as_sent}


async def _refuse(_request: Request, error: Exception) -> Response:
    """Refuses an address nobody serves, and a method no address takes."""
    assert isinstance(error, HTTPException)
    told = "only GET is served here" if error.status_code == 405 else "nothing is served here"
    return answer(error.status_code, told, headers=error.headers)
