"""What the API answers when it can't give what was asked for: problem details (RFC 9457), as JSON.

The one rule: a problem names the field, the kind of value given and what was expected, and never the value itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }
)
"""Sent with every answer of the API: nothing is kept, framed or guessed at."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with a request: the field, the kind of what was given, and what was expected."""

    field: str
    kind: str
    expected: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem details; `errors` where fields are wrong."""

    title: str
    status: int
    detail: str
    errors: tuple[Wrong, ...] = ()


class BadRequest(Exception):
    """The request can't be understood. `errors` say why."""

    def __init__(self, *errors: Wrong) -> None:
        super().__init__("; ".join(f"{each.field}: {each.kind} given; {each.expected}" for each in errors))
        self.errors = errors


class NotFound(Exception):
    """There is no such thing for who asks: it is not there, or they may not know of it, and which one is not told."""


def answer(
    status: int, detail: str, *, errors: tuple[Wrong, ...] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The problem as a response."""
    problem = Problem(HTTPStatus(status).phrase, status, detail, errors)
    return Response(
        orjson.dumps(problem),
        status_code=status,
        headers={**HEADERS, **(headers or {})},
        media_type=PROBLEM_TYPE,
    )


def of_parameters(error: ValidationError) -> BadRequest:
    """What pydantic says of a request's parameters, without the values."""
    return BadRequest(
        *(_wrong(problem) for problem in error.errors(include_url=False, include_context=False))
    )


def _wrong(problem: Any) -> Wrong:
    field = ".".join(map(str, problem["loc"])) or "the parameters"
    match problem["type"]:
        case "missing":
            return Wrong(field, "nothing", "this parameter is required")
        case "extra_forbidden":
            return Wrong(field, "an unknown parameter", "one of those in the OpenAPI document was expected")
        case _:
            expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return Wrong(field, kind_of(problem["input"]), expected)


def kind_of(value: Any) -> str:
    """What a parameter's text looks like."""
    text = str(value)
    if not text:
        return "an empty text"
    return (
        "a number"
        if text.removeprefix("-").replace(".", "", 1).isdecimal()
        else f"a text of {len(text)} characters"
    )
