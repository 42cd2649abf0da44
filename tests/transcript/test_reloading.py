"""Another secret for the read API's tokens, while it is served."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from structlog.testing import capture_logs

from services.runtime.reloading import Reloads
from services.runtime.wall_clock import now_ms
from services.transcript.api.access import Token, make_token
from services.transcript.archive.database import Archive
from services.transcript.worker import TranscriptSettings, api_routes

OLD, NEW = "the first secret of the tests", "another secret of the tests"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAT_API_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("CHAT_LINK_SECRET", "the secret of the tests")
    (tmp_path / "secret").write_text(OLD)
    return tmp_path / "secret"


async def statuses(routes: list[BaseRoute]) -> dict[str, int]:
    """What each secret's tokens are answered with."""
    token = Token(workspace="acme", role="admin", expires_at_ms=now_ms() + 60_000)
    transport = httpx.ASGITransport(app=Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return {
            each: (
                await client.get(
                    "/v1/acme/chats", headers={"authorization": f"Bearer {make_token(token, secret=each)}"}
                )
            ).status_code
            for each in (OLD, NEW)
        }


def reload(reloads: Reloads, secret: Path, text: str = NEW) -> str:
    secret.write_text(text)
    with capture_logs() as told:
        reloads.reload()
    assert "secret of the tests" not in str(told)
    return str(told[0]["event"])


async def test_tokens_of_the_old_secret_are_refused_from_then_on(
    archive: Archive, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloads = Reloads(TranscriptSettings())
    routes: list[BaseRoute] = [*api_routes(TranscriptSettings(), archive, reloads)]
    assert await statuses(routes) == {OLD: 200, NEW: 401}
    assert reload(reloads, secret, "short") == "settings_not_reloaded"
    assert await statuses(routes) == {OLD: 200, NEW: 401}
    assert reload(reloads, secret) == "settings_reloaded"
    assert await statuses(routes) == {OLD: 401, NEW: 200}
    monkeypatch.delenv("CHAT_API_SECRET_FILE")
    assert reload(reloads, secret) == "settings_not_reloaded", "it is served"
    assert await statuses(routes) == {OLD: 401, NEW: 200}
