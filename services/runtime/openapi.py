"""Endpoints of an API that is only read from, and the OpenAPI 3.1 document that is made from them.

The one rule: nothing is described here a second time. Paths, parameters and answers are read off the endpoints, so the document
can't say anything else than what is served.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from schemas.types import Id
from services.runtime.problems import PROBLEM_TYPE, Problem

PREFIX = "/v1"
"""What the paths of every API begin with."""
DOCUMENT_PATH = "/openapi.json"
VERSION = "1.0.0"
_REF = "#/components/schemas/{model}"
_REFUSALS: Mapping[int, str] = {
    400: "A parameter is missing, unknown or not what was expected; `errors` says which.",
    401: "There is no token, or not a valid one.",
    403: "Who the token is for may not read this, or the token is another workspace's.",
    404: "It is not there, or not for who asks.",
}

Noun = TypeVar("Noun", bound=str)


class Asked(BaseModel):
    """The parameters of a request, of path and query together; an endpoint's own derive from it. Unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Id = Field(description="the workspace; it must be the token's")


@dataclass(frozen=True)
class Endpoint(Generic[Noun]):
    """One path: the noun that is read there, which decides who may, and the function that answers.

    The function's annotations declare the parameters, which come last, and the answer; its docstring says what it gives.
    `files`: the media types of an answer that is a file, and no JSON.
    """

    path: str
    noun: Noun
    answer: Callable[..., Awaitable[Any]]
    files: tuple[str, ...] = ()

    @cached_property
    def asked(self) -> type[Asked]:
        """The model of the parameters."""
        (*_, last) = inspect.signature(self.answer).parameters
        found: type[Asked] = get_type_hints(self.answer, include_extras=True)[last]
        return found

    @cached_property
    def reply(self) -> TypeAdapter[Any]:
        """The type of the answer."""
        return TypeAdapter(get_type_hints(self.answer, include_extras=True)["return"])

    @property
    def said(self) -> str:
        """What it gives, in words."""
        return inspect.getdoc(self.answer) or ""


def document(
    endpoints: Sequence[Endpoint[Noun]], *, title: str, told: str, away: str, readers: Callable[[Noun], str]
) -> dict[str, Any]:
    """The document. `told`: what the API is; `away`: what a 503 means; `readers`: whom a noun is for."""
    answers: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (each.path, "serialization", each.reply) for each in endpoints if not each.files
    ]
    answers.append(("problem", "serialization", TypeAdapter(Problem)))
    references, schemas = TypeAdapter.json_schemas(answers, ref_template=_REF)
    refused = {
        str(status): {
            "description": why,
            "content": {PROBLEM_TYPE: {"schema": references["problem", "serialization"]}},
        }
        for status, why in {**_REFUSALS, 503: away}.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": VERSION,
            "description": told,
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
        "paths": {
            PREFIX + each.path: {
                "get": {
                    "operationId": each.answer.__name__,
                    "summary": each.said.partition("\n")[0],
                    "description": f"{each.said}\n\nFor: {readers(each.noun)}.",
                    "parameters": _parameters(each),
                    "responses": {
                        "200": {
                            "description": each.said.partition("\n")[0],
                            "content": {name: {"schema": {"type": "string"}} for name in each.files}
                            or {"application/json": {"schema": references[each.path, "serialization"]}},
                        },
                        **refused,
                    },
                }
            }
            for each in endpoints
        },
    }


def _parameters(endpoint: Endpoint[Any]) -> list[dict[str, Any]]:
    described = endpoint.asked.model_json_schema(mode="validation")
    required = described.get("required", ())
    found = []
    for name, schema in described["properties"].items():
        in_path = f"{{{name}}}" in endpoint.path
        plain = {
            key: value for key, value in schema.items() if key not in ("title", "description", "default")
        }
        if "anyOf" in plain:
            # An absent parameter is null to us, but nobody can write null into an address.
            (option,) = [option for option in plain.pop("anyOf") if option != {"type": "null"}]
            plain |= option
        if schema.get("default") is not None:
            plain["default"] = schema["default"]
        found.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": name in required,
                "description": schema.get("description", ""),
                "schema": plain,
            }
        )
    return found
