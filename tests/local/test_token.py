"""`chat-routing token`: what it prints opens the API for whom it says, and nothing is printed for what makes no sense."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.local.cli import app
from services.local.errors import LocalError
from services.runtime.wall_clock import now_ms
from services.transcript.api.access import TOKEN_LIFETIME_S_MAX, read_token

SECRET = "0123456789abcdef-token"


def printed(*arguments: str, **environment: str | None) -> str:
    result = CliRunner().invoke(app, ["token", *arguments], env=environment)
    if isinstance(result.exception, LocalError):
        raise result.exception
    return result.stdout.strip()


@pytest.mark.parametrize("kept", ["variable", "file", "folder"])
def test_a_token_says_whose_it_is_and_until_when(tmp_path: Path, kept: str) -> None:
    (tmp_path / "api_secret").write_text(SECRET, encoding="ascii")
    folder = ("--data", str(tmp_path)) if kept == "folder" else ()
    text = printed(
        *("--workspace", "acme", "--role", "agent", "--agent", "hanako", "--lifetime-s", "60", *folder),
        CHAT_API_SECRET=SECRET if kept == "variable" else None,
        CHAT_API_SECRET_FILE=str(tmp_path / "api_secret") if kept == "file" else None,
    )
    token = read_token(f"Bearer {text}", secret=SECRET, now_ms=now_ms())
    assert (token.workspace, token.role, token.agent) == ("acme", "agent", "hanako")
    assert 0 < token.expires_at_ms - now_ms() <= 60_000
    assert SECRET not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--role", "agent"), "names them"),
        (("--role", "supervisor"), "names them"),
        (("--role", "visitor", "--agent", "hanako"), "names no agent"),
        (("--role", "admin", "--agent", "x" * 129), "at most 128"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(LocalError, match=told):
        printed("--workspace", "acme", *arguments, CHAT_API_SECRET=SECRET)


@pytest.mark.parametrize("secret", [None, "too short"])
def test_without_a_secret_it_says_where_it_looked(tmp_path: Path, secret: str | None) -> None:
    if secret is not None:
        (tmp_path / "api_secret").write_text(secret, encoding="ascii")
    with pytest.raises(LocalError, match=r"CHAT_API_SECRET_FILE or .*api_secret"):
        printed("--workspace", "acme", "--role", "admin", "--data", str(tmp_path))


def test_no_token_works_for_longer_than_it_may() -> None:
    result = CliRunner().invoke(
        app,
        ["token", "--workspace", "acme", "--role", "admin", "--lifetime-s", str(TOKEN_LIFETIME_S_MAX + 1)],
        env={"CHAT_API_SECRET": SECRET},
    )
    assert result.exit_code == 2
