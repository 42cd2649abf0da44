"""The OpenAPI 3.1 document of the read API, made from the declarations that serve it.

The one rule: nothing is described here a second time. Paths, parameters and answers are read off the endpoints, so the document
can't say anything else than what is served.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from services.transcript.api.access import MAY_READ, ROLES, Noun
from services.transcript.api.problems import PROBLEM_TYPE, Problem
from services.transcript.api.reader import Asked, Reader

DOCUMENT_PATH = "/openapi.json"
VERSION = "1.0.0"
_REF = "#/components/schemas/{model}"
_REFUSALS = {
    400: "A parameter is missing, unknown or not what was expected; `errors` says which.",
    401: "There is no token, or not a valid one.",
    403: "The token's role may not read this, or the token is another workspace's.",
    404: "It is not there, or not for who asks.",
    503: "The archive's database does not answer.",
}


@dataclass(frozen=True)
class Endpoint:
    """One path: the noun that is read there, which decides who may, and the function that answers.

    The function's annotations declare the parameters and the answer; its docstring says what it gives.
    """

    path: str
    noun: Noun
    answer: Callable[[Reader, Any], Awaitable[Any]]

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


def document(endpoints: Sequence[Endpoint], *, prefix: str) -> dict[str, Any]:
    """The document. `prefix`: what every path begins with."""
    answers: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (each.path, "serialization", each.reply) for each in endpoints
    ]
    answers.append(("problem", "serialization", TypeAdapter(Problem)))
    references, schemas = TypeAdapter.json_schemas(answers, ref_template=_REF)
    refused = {
        str(status): {
            "description": told,
            "content": {PROBLEM_TYPE: {"schema": references["problem", "serialization"]}},
        }
        for status, told in _REFUSALS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Chat archive",
            "version": VERSION,
            "description": "What the archive knows of a workspace. `as_of` is the time of the newest archived record: what came later is not in it.",
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
        "paths": {
            prefix + each.path: {
                "get": {
                    "operationId": each.answer.__name__,
                    "summary": each.said.partition("\n")[0],
                    "description": f"{each.said}\n\nFor: {_roles(each.noun)}.",
                    "parameters": _parameters(each),
                    "responses": {
                        "200": {
                            "description": each.said.partition("\n")[0],
                            "content": {
                                "application/json": {"schema": references[each.path, "serialization"]}
                            },
                        },
                        **refused,
                    },
                }
            }
            for each in endpoints
        },
    }


def _roles(noun: Noun) -> str:
    return ", ".join(role for role in ROLES if MAY_READ[noun][role] != "none")


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
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
