"""`chat-routing archive export` as a person uses it."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from services.local.cli import app
from services.local.errors import LocalError
from services.transcript.archive.database import Archive
from services.transcript.pages import export as exporting
from tests.transcript.sources import drain, everything
from tests.transcript.test_export import from_csv
from tests.transcript.world import START_MS, World

HOUR_MS = 3_600_000


@pytest.fixture
def url(database_url: str) -> str:
    """An archive of three chats that end an hour apart; one of them is missed."""

    async def fill() -> None:
        world = World()
        world.now_ms = START_MS
        for name in ("one", "two", "three"):
            world.now_ms += HOUR_MS
            world.request(name)
            world.say(name, f"said in {name}")
            if name == "two":
                world.miss(name)
            else:
                world.say(name, "whisper", kind="agent", internal=True)
                world.end(name)
        world.tag("one", "vip")
        archive = await Archive.open(database_url)
        await drain(archive, everything(world))
        await archive.close()

    asyncio.run(fill())
    return database_url


def export(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["archive", "export", "--workspace", "acme", "--archive", url, *arguments])


def chats(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [orjson.loads(line)["chat_id"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["one", "two", "three"]),
        (("--chat", "two"), ["two"]),
        (("--chat", "none"), []),
        (("--outcome", "handled"), ["one", "three"]),
        (("--missed", "unattended"), ["two"]),
        (("--missed", "bot_transfer_failed"), []),
        (("--visitor", "v1", "--department", "sales"), ["one", "two", "three"]),
        (("--visitor", "v2"), []),
        (("--since", "2026-11-21T11:00:00Z"), ["two", "three"]),
        (("--until", "2026-11-21T20:00:00+09:00"), ["one"]),
        (("--agent", "a1"), ["one", "three"]),
        (("--agent", "a2"), []),
        (("--tag", "vip"), ["one"]),
        (("--text", "said ｔｈｒｅｅ"), ["three"]),
        (("--text", "whisper"), []),
        (("--text", "whisper", "--internal"), ["one", "three"]),
        (("--since", "2026-11-21T11:00:00Z", "--outcome", "handled"), ["three"]),
    ],
)
def test_what_is_chosen(url: str, arguments: tuple[str, ...], expected: list[str]) -> None:
    assert START_MS == 1_795_251_600_000, "2026-11-21T09:00:00Z"
    assert chats(export(url, *arguments)) == expected


def test_a_text_that_cannot_be_searched_for_is_said(url: str) -> None:
    result = export(url, "--text", "a")
    assert result.exit_code == 2
    assert "two characters" in result.output


def test_a_file_is_whole_its_owners_alone_and_opens_in_a_spreadsheet(url: str, tmp_path: Path) -> None:
    out = tmp_path / "chats.csv"
    assert export(url, "--format", "csv", "-o", str(out)).exit_code == 0
    assert list(tmp_path.iterdir()) == [out]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [row["entry_text"] for row in from_csv(out.read_bytes().decode())] == [
        "said in one",
        "said in two",
        "said in three",
    ]
    assert export(url, "--format", "csv", "--internal", "-o", str(out)).exit_code == 0
    assert "whisper" in out.read_text("utf-8")


def test_what_breaks_off_leaves_the_old_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exporting.export

    async def torn(*arguments: Any, **named: Any) -> Any:
        async for piece in whole(*arguments, **named):
            yield piece
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.local.commands.archive_export.export", torn)
    out = tmp_path / "chats.jsonl"
    out.write_text("the old one", encoding="utf-8")
    result = export(url, "-o", str(out))
    assert isinstance(result.exception, LocalError)
    assert "No space left" in str(result.exception)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_text("utf-8") == "the old one"


def test_an_archive_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = export(f"sqlite:///{tmp_path}/absent.db")
    assert isinstance(result.exception, LocalError)
    assert not list(tmp_path.iterdir())
