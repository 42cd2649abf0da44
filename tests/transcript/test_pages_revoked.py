"""Revoked links: which ones open nothing any more, what their readers are told, and the commands that say so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from typer.testing import CliRunner

from schemas.envelope import from_ms
from services.local.cli import app
from services.local.errors import LocalError
from services.runtime.links import TranscriptLink, transcript_link
from services.transcript.archive.database import Archive
from services.transcript.pages.revocation import Revocation, revoke
from services.transcript.pages.routes import Pages
from services.transcript.pages.wording import WORDS
from tests.transcript.sources import drain, everything
from tests.transcript.world import START_MS, World

SECRET = "0123456789abcdef-test"
MADE_MS = START_MS + 1_000
NOW_MS = START_MS + 3_600_000
LINKS = [("acme", "c1", 1), ("acme", "c1", 2), ("acme", "c2", 1), ("other", "c1", 1)]
"""All are made at the same time."""


def address(workspace: str, chat: str, revision: int, *, expires_ms: int = NOW_MS + 1) -> str:
    return transcript_link(
        "http://pages", SECRET, TranscriptLink(workspace, chat, revision, MADE_MS, expires_ms)
    )


@pytest.fixture
async def archive(database_url: str) -> AsyncIterator[Archive]:
    world = World()
    for chat, workspace in (("c1", "acme"), ("c2", "acme"), ("c1", "other")):
        world.request(chat, workspace=workspace)
        world.end(chat, workspace=workspace)
    world.reopen("c1", at=world.say("c1"), revision=2)
    world.end("c1", revision=2)
    opened = await Archive.open(database_url)
    await drain(opened, everything(world))
    yield opened
    await opened.close()


@pytest.fixture
async def client(archive: Archive) -> AsyncIterator[httpx.AsyncClient]:
    pages = Pages(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS)
    transport = httpx.ASGITransport(app=Starlette(routes=pages.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://pages") as opened:
        yield opened


async def statuses(client: httpx.AsyncClient) -> list[int]:
    return [(await client.get(address(*link))).status_code for link in LINKS]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["link", *arguments], env={"COLUMNS": "120"})
    if isinstance(result.exception, LocalError):
        raise result.exception
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    ("revoked", "expected"),
    [
        (Revocation(workspace_id="acme", chat_id="c1", revision=1), [410, 200, 200, 200]),
        (Revocation(workspace_id="acme", chat_id="c1", revision=3), [200, 200, 200, 200]),
        (Revocation(workspace_id="acme", chat_id="c1"), [410, 410, 200, 200]),
        (Revocation(workspace_id="acme", made_before_ms=MADE_MS + 1), [410, 410, 410, 200]),
        (Revocation(workspace_id="acme", made_before_ms=MADE_MS), [200, 200, 200, 200]),
        (Revocation(workspace_id="acme", chat_id="c1", made_before_ms=MADE_MS + 1), [410, 410, 200, 200]),
        (Revocation(workspace_id="acme", chat_id="c1", made_before_ms=MADE_MS), [200, 200, 200, 200]),
        (Revocation(workspace_id="acme", chat_id="c2", revision=1), [200, 200, 410, 200]),
        (Revocation(workspace_id="elsewhere", chat_id="c1"), [200, 200, 200, 200]),
    ],
)
async def test_which_links_open_nothing_any_more(
    archive: Archive, client: httpx.AsyncClient, revoked: Revocation, expected: list[int]
) -> None:
    assert await statuses(client) == [200, 200, 200, 200]
    assert await revoke(archive.engine, revoked, at_ms=NOW_MS)
    assert await statuses(client) == expected


@pytest.mark.parametrize(
    ("asked", "language"), [("ja,en;q=0.5", "ja"), ("en-GB,en", "en"), ("fr,ja-JP;q=0.8,en", "ja")]
)
async def test_the_reader_is_told_in_their_language(
    archive: Archive, client: httpx.AsyncClient, asked: str, language: str
) -> None:
    await revoke(archive.engine, Revocation(workspace_id="acme", chat_id="c1"), at_ms=NOW_MS)
    response = await client.get(address("acme", "c1", 1), headers={"accept-language": asked})
    assert f'<html lang="{language}">' in response.text
    words = WORDS["ja" if language == "ja" else "en"]
    assert words["revoked_title"] in response.text
    assert words["revoked_text"] in response.text
    assert "hanako" not in response.text
    expired = await client.get(
        address("acme", "c1", 1, expires_ms=NOW_MS), headers={"accept-language": asked}
    )
    assert words["expired_title"].replace("'", "&#39;") in expired.text


async def test_a_revocation_is_only_ever_widened(archive: Archive, client: httpx.AsyncClient) -> None:
    def before(at_ms: int) -> Revocation:
        return Revocation(workspace_id="acme", made_before_ms=at_ms)

    steps = ((MADE_MS, True), (MADE_MS, False), (MADE_MS - 1, False), (MADE_MS + 1, True), (MADE_MS, False))
    for at_ms, changed in steps:
        assert await revoke(archive.engine, before(at_ms), at_ms=NOW_MS) is changed
    assert await statuses(client) == [410, 410, 410, 200]
    assert await revoke(archive.engine, Revocation(workspace_id="acme"), at_ms=NOW_MS), (
        "whenever they were made"
    )
    assert not await revoke(archive.engine, before(NOW_MS), at_ms=NOW_MS)


def listed(url: str) -> list[tuple[str | None, int | None, str | None]]:
    lines = run("list", "--workspace", "acme", "--archive", url, "--json").splitlines()
    return [(each["chat"], each["revision"], each["made_before"]) for each in map(orjson.loads, lines)]


def prepared(url: str) -> str:
    async def fill() -> None:
        world = World()
        world.request("c1")
        world.end("c1")
        opened = await Archive.open(url)
        await drain(opened, everything(world))
        await opened.close()

    asyncio.run(fill())
    return url


def test_the_commands(database_url: str) -> None:
    url = prepared(database_url)
    chat = ("--workspace", "acme", "--archive", url, "--chat", "c1")
    before = ("--workspace", "acme", "--archive", url, "--made-before", from_ms(MADE_MS))
    assert "No links are revoked" in run("list", "--workspace", "acme", "--archive", url)
    assert run("revoke", *chat) == "Revoked.\n"
    assert "nothing is done" in run("revoke", *chat)
    assert run("revoke", *chat, "--revision", "1") == "Revoked.\n"
    assert run("revoke", *before) == "Revoked.\n"
    assert set(listed(url)) == {("c1", None, None), ("c1", 1, None), (None, None, from_ms(MADE_MS))}
    table = run("list", "--workspace", "acme", "--archive", url)
    assert "c1" in table
    assert from_ms(MADE_MS) in table
    assert "Taken back" in run("restore", *chat)
    assert "No such revocation" in run("restore", *chat)
    assert "Taken back" in run("restore", "--workspace", "acme", "--archive", url)
    assert listed(url) == [("c1", 1, None)]
    assert "No links are revoked" in run("list", "--workspace", "other", "--archive", url)


def test_a_chat_the_archive_does_not_know_is_revoked_with_a_word_of_warning(database_url: str) -> None:
    url = prepared(database_url)
    for said in (("--chat", "c9"), ("--chat", "c1", "--revision", "2")):
        assert "look at the ids" in run("revoke", "--workspace", "acme", "--archive", url, *said)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["revoke", "--workspace", "acme"], "say which links"),
        (["revoke", "--workspace", "acme", "--chat", ""], "say which links"),
        (
            ["revoke", "--workspace", "acme", "--made-before", "2026-11-21T09:00:00"],
            "2026-11-21T09:00:00Z was expected",
        ),
        (
            ["revoke", "--workspace", "acme", "--made-before", "2026-11-21T09:00:00Z", "--revision", "1"],
            "say of which chat",
        ),
        (["revoke", "--workspace", "acme", "--chat", "c1", "--revision", "0"], "greater than or equal to 1"),
        (["revoke", "--chat", "c1"], "--workspace"),
        (["restore", "--workspace", "acme", "--revision", "1"], "say of which chat"),
    ],
)
def test_what_is_not_said_well_is_asked_for(arguments: list[str], told: str, tmp_path: Path) -> None:
    assert told in " ".join(
        run(*arguments, "--archive", f"sqlite:///{tmp_path}/none").replace("│", " ").split()
    )


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///{folder}/none.db", "There is no archive"),
        ("mysql://host/db", "must be sqlite"),
        ("x", "must be sqlite"),
    ],
)
def test_an_archive_that_is_not_there_is_not_made(url: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=told):
        run("list", "--workspace", "acme", "--archive", url.format(folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_archive_of_the_environment_is_the_one_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = prepared(f"sqlite:///{tmp_path}/archive.db")
    monkeypatch.setenv("CHAT_ARCHIVE_URL", url)
    assert run("revoke", "--workspace", "acme", "--chat", "c1") == "Revoked.\n"
    assert listed(url) == [("c1", None, None)]
