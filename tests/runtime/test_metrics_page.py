"""Who is shown /metrics: whoever is on this machine, or brings the token; nobody else."""

from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from services.runtime.health import Health, Pages
from services.runtime.metrics import Metrics
from services.runtime.settings import RuntimeSettings

TOKEN = "a-token-of-some-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("host", "token", "headers", "status"),
    [
        ("127.0.0.1", None, {}, 200),
        ("::1", None, {}, 200),
        ("localhost", None, {}, 200),
        ("0.0.0.0", None, {}, 403),
        ("0.0.0.0", None, BEARER, 403),
        ("::", None, {}, 403),
        ("10.1.2.3", None, {}, 403),
        ("worker.example.com", None, {}, 403),
        ("0.0.0.0", TOKEN, BEARER, 200),
        ("0.0.0.0", TOKEN, {}, 401),
        ("0.0.0.0", TOKEN, {"authorization": TOKEN}, 401),
        ("0.0.0.0", TOKEN, {"authorization": f"Basic {TOKEN}"}, 401),
        ("0.0.0.0", TOKEN, {"authorization": f"Bearer {TOKEN}x"}, 401),
        ("127.0.0.1", TOKEN, {}, 401),
        ("127.0.0.1", TOKEN, BEARER, 200),
    ],
)
async def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(
    host: str, token: str | None, headers: dict[str, str], status: int
) -> None:
    metrics = Metrics()
    pages = Pages(host=host, port=0, health=Health(metrics), metrics=metrics, metrics_token=token)
    transport = httpx.ASGITransport(pages.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        shown = await client.get("/metrics", headers=headers)
        assert shown.status_code == status
        assert ("# HELP chat_" in shown.text) == (status == 200)
        assert TOKEN not in shown.text
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/metrics/")).status_code == 404


def test_the_token_is_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    assert RuntimeSettings().metrics_secret is None
    assert RuntimeSettings(metrics_token=SecretStr(TOKEN)).metrics_secret == TOKEN
    assert RuntimeSettings(metrics_token_file=file).metrics_secret == TOKEN
    with pytest.raises(ValidationError, match="either CHAT_METRICS_TOKEN or"):
        RuntimeSettings(metrics_token=SecretStr(TOKEN), metrics_token_file=file)
    with pytest.raises(ValidationError, match="CHAT_METRICS_TOKEN_FILE can't be read"):
        RuntimeSettings(metrics_token_file=tmp_path / "nowhere")
    file.write_text("short", encoding="ascii")
    with pytest.raises(ValidationError, match="at least 16 characters"):
        RuntimeSettings(metrics_token_file=file)
