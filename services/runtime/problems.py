"""What an API answers when it can't give what was asked for: problem details (RFC 9457), as JSON.

The one rule: a problem names the field, the kind of value given and what was expected, and never the value itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, Literal

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
"""Sent with every answer of an API: nothing is kept, framed or guessed at."""


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


class Refused(Exception):
    """Who asks may not read this. `status` is the HTTP status, `told` a sentence for the caller."""

    def __init__(self, status: Literal[401, 403], told: str) -> None:
        super().__init__(told)
        self.status = status
        self.told = told


class NotFound(Exception):
    """There is no such thing for who asks: it is not there, or they may not know of it, and which one is not told."""


class NotNow(Exception):
    """What the answer comes from is away. `told` is a sentence for the caller, `retry_after_s` when to ask again."""

    def __init__(self, told: str, *, retry_after_s: float) -> None:
        super().__init__(told)
        self.told = told
        self.retry_after_s = retry_after_s


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


def of_exception(error: Refused | BadRequest | NotFound | NotNow) -> Response:
    """The problem an endpoint raised as a response."""
    match error:
        case Refused():
            # RFC 9110, section 11.6.1: a 401 says how to do better.
            headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            return answer(error.status, error.told, headers=headers)
        case BadRequest():
            return answer(400, str(error), errors=error.errors)
        case NotFound():
            return answer(404, "there is no such thing, or not for who asks")
        case NotNow():
            return answer(503, error.told, headers={"Retry-After": str(max(1, ceil(error.retry_after_s)))})


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
