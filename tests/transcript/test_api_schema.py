"""The read API against its own OpenAPI document: whatever schemathesis makes of it is answered as the document says."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from requests.structures import CaseInsensitiveDict
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.applications import Starlette

from services.runtime.openapi import PREFIX
from services.transcript.api.routes import ENDPOINTS, Api
from services.transcript.archive.database import Archive
from tests.transcript.company import NOW_MS, SECRET, bearer, opened

EXAMPLES = 8
EXAMPLES_AT_LENGTH = {"short": 40, "long": 4_000}.get(os.environ.get("ARCHIVE", ""), 400)
"""By what the run is called."""
JUDGED_BY_CONTENT = {"cursor", "text"}
"""What no schema can tell: whether a text is a cursor, or can be searched for."""
KNOWN = {"department_id": "sales", "chat_id": "sales-ann"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    file: Path = tmp_path_factory.mktemp("archive") / "archive.sqlite3"
    url = f"sqlite:///{file}"

    async def fill() -> None:
        async with opened(url):
            pass

    asyncio.run(fill())
    archive = Archive.at(url)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await archive.close()

    api = Api(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS)
    app = Starlette(routes=api.routes(), lifespan=lifespan)
    yield schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", app)
    shutdown_lifespans()


def check(schema: BaseSchema, path: str, mode: GenerationMode, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[PREFIX + path]["GET"].as_strategy(generation_mode=mode))
    def run(case: Case[Any]) -> None:
        answered(case, mode)

    run()


def answered(case: Case[Any], mode: GenerationMode) -> None:
    headers = bearer("admin", "ada")
    for known in ({}, KNOWN):
        named = case.path_parameters or {}
        case.path_parameters = {
            **named,
            "workspace": "acme",
            **{name: value for name, value in known.items() if name in named},
        }
        case.headers = CaseInsensitiveDict(headers)  # instead of a token that was made up
        response = case.call()
        # The client goes up for each "..", and here out of the API.
        assume(urlsplit(str(response.request.url)).path.startswith(f"{PREFIX}/"))
        wrong = response.json().get("errors", ()) if response.status_code == 400 else ()
        judged = {each["field"] for each in wrong} & JUDGED_BY_CONTENT
        unjudged: list[CheckFunction] = [positive_data_acceptance] if judged else []
        if mode is GenerationMode.NEGATIVE:
            unjudged.append(negative_data_rejection)  # parts of a path that were wrong are right now
        case.validate_response(response, excluded_checks=unjudged, headers=headers)


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("path", [each.path for each in ENDPOINTS])
def test_what_is_answered_is_what_the_document_says(
    schema: BaseSchema, path: str, mode: GenerationMode
) -> None:
    check(schema, path, mode, EXAMPLES)


@pytest.mark.archive
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("path", [each.path for each in ENDPOINTS])
def test_the_same_at_length(schema: BaseSchema, path: str, mode: GenerationMode) -> None:
    check(schema, path, mode, EXAMPLES_AT_LENGTH)
