"""Exports through the read API: the chats of the list and no other, as a file, a few at a time, and never half of one as if it were whole."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy.exc import OperationalError
from starlette.types import ASGIApp, Message
from structlog.testing import capture_logs

from services.runtime.problems import PROBLEM_TYPE, NotNow
from services.transcript.api import downloads
from services.transcript.api.downloads import (
    DOWNLOADS_MAX,
    DOWNLOADS_OF_WORKSPACE_MAX,
    Download,
    Downloads,
)
from services.transcript.archive.database import Archive
from tests.transcript.company import ENDED, ODD, SEEN, app_of, bearer, chat_path, ids, of
from tests.transcript.test_api_lists import FILTERS
from tests.transcript.test_export import from_csv

LIMIT_S = 10


async def exported(client: httpx.AsyncClient, path: str, who: dict[str, str]) -> list[Any]:
    response = await client.get(f"/v1/acme/{path}", headers=who)
    assert response.status_code == 200, response.text
    return [orjson.loads(line) for line in response.content.splitlines()]


def chats(found: list[Any]) -> set[str]:
    return {chat["chat_id"] for chat in found}


# ---------------------------------------------------------------- what is in it


@pytest.mark.parametrize("agent_id", SEEN)
async def test_it_holds_what_the_list_shows(client: httpx.AsyncClient, agent_id: str) -> None:
    """For each role: by itself, with what is internal, and of each chat."""
    seen, _ = SEEN[agent_id]
    for internal in ("", "?internal=true"):
        assert chats(await exported(client, f"chats/export{internal}", of(agent_id))) == seen
    for chat_id in ENDED:
        for internal in ("", "?internal=true"):
            address = f"/v1/acme/{chat_path(chat_id)}/export{internal}"
            response = await client.get(address, headers=of(agent_id))
            assert response.status_code == (200 if chat_id in seen else 404), (chat_id, internal)
            if chat_id in seen:
                (only,) = response.content.splitlines()
                assert orjson.loads(only)["chat_id"] == chat_id


@pytest.mark.parametrize("agent_id", ["ada", "ann"])
@pytest.mark.parametrize("filters", FILTERS)
async def test_the_filters_are_those_of_the_list(
    client: httpx.AsyncClient, filters: str, agent_id: str
) -> None:
    listed = await ids(client, f"chats?{filters}", of(agent_id))
    assert chats(await exported(client, f"chats/export?{filters}", of(agent_id))) == listed


async def test_a_chat_that_lives_and_one_that_is_unknown_have_none(client: httpx.AsyncClient) -> None:
    for path in ("support-bob-now/export", "unknown/export", "%65xport/export"):
        response = await client.get(f"/v1/acme/chats/{path}", headers=of("ada"))
        assert response.status_code == 404
    named = await client.get("/v1/acme/chats/%65xport", headers=of("ada"))
    assert named.status_code == 404, "a chat may have this id"


async def test_whispers_and_notes_only_where_they_are_asked_for(client: httpx.AsyncClient) -> None:
    for form in ("jsonl", "csv", "html"):
        for path in ("chats/export", "chats/sales-ann/export"):
            address = f"/v1/acme/{path}?format={form}"
            without = (await client.get(address, headers=of("ann"))).text
            together = (await client.get(f"{address}&internal=true", headers=of("ann"))).text
            for word in ("WHISPER", "noted in sales-ann"):
                assert word not in without
                assert word in together
    assert await exported(client, "chats/export?text=whisper", of("ann")) == [], "a hit would tell of one"
    hits = chats(await exported(client, "chats/export?text=whisper&internal=true", of("ann")))
    assert hits == {"sales-ann", "sales-sue", ODD}


@pytest.mark.parametrize(
    ("path", "media_type", "name"),
    [
        ("chats/export", "application/jsonl", "acme-chats.jsonl"),
        ("chats/export?format=csv", "text/csv", "acme-chats.csv"),
        ("chats/sales-ann/export?format=html", "text/html", "acme-sales-ann.html"),
        (f"{chat_path(ODD)}/export", "application/jsonl", "acme-sales-ann_____2F_.jsonl"),
    ],
)
async def test_it_is_a_file_to_be_saved(
    client: httpx.AsyncClient, path: str, media_type: str, name: str
) -> None:
    response = await client.get(f"/v1/acme/{path}", headers=of("ada"))
    assert response.headers["content-type"].partition(";")[0] == media_type
    disposition = response.headers["content-disposition"]
    assert disposition.startswith(f"attachment; filename=\"{name}\"; filename*=UTF-8''acme-")
    assert disposition.isascii()
    assert (response.headers["cache-control"], response.headers["x-content-type-options"]) == (
        "no-store",
        "nosniff",
    )
    only_head = await client.head(f"/v1/acme/{path}", headers=of("ada"))
    assert (only_head.status_code, only_head.content) == (200, b"")
    assert only_head.headers["content-disposition"] == disposition


async def test_the_sheet_is_that_of_the_command(client: httpx.AsyncClient) -> None:
    text = (await client.get("/v1/acme/chats/export?format=csv", headers=of("ada"))).text
    assert {row["chat_id"] for row in from_csv(text)} == ENDED


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("chats/export?format=xlsx", "format"),
        ("chats/export?internal=1", "internal"),
        ("chats/export?limit=5", "limit"),
        ("chats/export?text=a", "text"),
        ("chats/sales-ann/export?revision=1", "revision"),
    ],
)
async def test_what_can_not_be_understood_is_named(
    client: httpx.AsyncClient, address: str, field: str
) -> None:
    response = await client.get(f"/v1/acme/{address}", headers=of("ada"))
    assert response.status_code == 400
    assert [wrong["field"] for wrong in response.json()["errors"]] == [field]


# ---------------------------------------------------------------- a few at a time


class Reader:
    """Somebody who reads an export as far as they are let."""

    def __init__(self, app: ASGIApp, *, workspace_id: str = "acme") -> None:
        self._app = app
        self._workspace_id = workspace_id
        self.messages: list[Message] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        header = bearer("admin", workspace_id=self._workspace_id)["authorization"]
        path = f"/v1/{self._workspace_id}/chats/export"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", header.encode())],
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.begun.set()
            await self.go_on.wait()

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def whole(self) -> bool:
        return not self.messages[-1].get("more_body")


async def begun(app: ASGIApp, workspace_id: str = "acme") -> Reader:
    reader = Reader(app, workspace_id=workspace_id)
    await asyncio.wait_for(reader.begun.wait(), LIMIT_S)
    return reader


async def ended(*readers: Reader) -> None:
    await asyncio.wait_for(asyncio.gather(*(reader.task for reader in readers)), LIMIT_S)


async def test_one_workspace_does_not_take_all_places(company_url: str) -> None:
    archive = Archive.at(company_url)
    app = app_of(archive)
    under_way = [await begun(app) for _ in range(DOWNLOADS_OF_WORKSPACE_MAX)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api") as client:
        refused = await client.get("/v1/acme/chats/export", headers=of("ada"))
        assert (refused.status_code, refused.headers["content-type"]) == (503, PROBLEM_TYPE)
        assert refused.headers["retry-after"] == "30"
        assert "exports of the workspace" in refused.json()["detail"]
        assert (await client.get("/v1/acme/chats", headers=of("ada"))).status_code == 200
        rival = await client.get("/v1/rival/chats/export", headers=bearer("admin", workspace_id="rival"))
        assert rival.status_code == 200
        first, *others = under_way
        first.go_on.set()
        await ended(first)
        assert first.whole
        assert (await client.get("/v1/acme/chats/export", headers=of("ada"))).status_code == 200
        for other in others:
            other.gone.set()  # their browser was closed
        await ended(*others)
        again = [await begun(app) for _ in range(DOWNLOADS_OF_WORKSPACE_MAX)]
    for reader in again:
        reader.go_on.set()
    await ended(*again)
    assert all(reader.whole for reader in again)
    await archive.close()


async def nothing() -> AsyncGenerator[bytes, None]:
    yield b""


def test_there_is_an_end_to_places() -> None:
    places, file = Downloads(), Download("x", "text/csv", nothing())
    for number in range(DOWNLOADS_MAX):
        places.answer(file, workspace_id=f"w{number}", head=False)
    with pytest.raises(NotNow, match="as many exports"):
        places.answer(file, workspace_id="another", head=False)


async def test_who_reads_nothing_gives_their_place_back(
    company_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SEND_WAIT_MAX_S", 0.05)
    archive = Archive.at(company_url)
    app = app_of(archive)
    for _ in range(DOWNLOADS_MAX + 1):
        reader = Reader(app)
        await ended(reader)
        assert reader.status == 200
        assert not reader.whole
    await archive.close()


async def test_a_database_that_fails_midway_leaves_no_file_that_looks_whole() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"secret of a visitor"
        raise OperationalError("SELECT secret", {}, ValueError())

    places = Downloads()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    for _ in range(DOWNLOADS_OF_WORKSPACE_MAX + 1):
        response = places.answer(Download("x", "text/csv", failing()), workspace_id="acme", head=False)
        with capture_logs() as logs:
            await asyncio.wait_for(response({"type": "http"}, receive, send), LIMIT_S)
        (line,) = logs
        assert line["event"] == "download_broken"
        assert "secret" not in repr(line)
    assert all(message["more_body"] for message in sent if "body" in message)
