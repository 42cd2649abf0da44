from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from services.crm_sync.connectors.embedded import EmbeddedCrm
from services.crm_sync.connectors.records import Staff
from services.crm_sync.feed import FeedPages
from tests.crm_sync.connector_contract import ACME, activity

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TOKEN = "a long enough password ü"


@pytest.fixture
async def crm(database_url: str) -> AsyncIterator[EmbeddedCrm]:
    opened = await EmbeddedCrm.open(database_url)
    yield opened
    await opened.close()


def client(
    crm: EmbeddedCrm, *, http_host: str = "127.0.0.1", token: str | None = None, asked: str = "127.0.0.1:9104"
) -> httpx.AsyncClient:
    app = Starlette(routes=FeedPages(crm, http_host=http_host, token=token).routes())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{asked}")


async def entry(crm: EmbeddedCrm, *, person: str = "Hanako", marker: str = "M", **changes: Any) -> None:
    added = await crm.add_person(
        kind="lead", name=person, email=None, owner_id="z", marker=f"p{marker}", workspace_id=ACME
    )
    await crm.add_activity(replace(activity(), **changes), to=added.record, marker=marker, workspace_id=ACME)


async def test_shows_the_feed(crm: EmbeddedCrm) -> None:
    await entry(crm)
    async with client(crm) as http:
        page = await http.get("/crm/acme/feed")
    assert page.status_code == 200
    assert "Chat with 山田 花子" in page.text
    assert "Lead: Hanako" in page.text
    assert 'href="https://chat.example.com/t/abc"' in page.text


async def test_nothing_a_visitor_writes_becomes_html(crm: EmbeddedCrm) -> None:
    await entry(
        crm,
        person=EVIL,
        title=EVIL,
        text=EVIL,
        link="javascript:alert(3)",
        ended_at=EVIL[:40],
        agents=(Staff(EVIL, EVIL, EVIL, EVIL),),
    )
    async with client(crm) as http:
        page = await http.get("/crm/acme/feed", params={"type": "chat"})
        filtered = await http.get("/crm/acme/feed", params={"user": EVIL})
    for shown in (page, filtered):
        assert "<script" not in shown.text
        assert "<img" not in shown.text
        assert "javascript:" not in shown.text
        assert "&lt;script&gt;" in shown.text
        policy = shown.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert shown.headers["cache-control"] == "no-store"
        assert shown.headers["x-content-type-options"] == "nosniff"


async def test_filters_and_languages(crm: EmbeddedCrm) -> None:
    await entry(crm, marker="1", title="first", agents=(Staff("ken", "Ken", "east", "sales"),))
    await entry(crm, marker="2", title="second", type="missed_chat")
    async with client(crm) as http:
        east = await http.get("/crm/acme/feed", params={"team": "east", "user": ""})
        missed = await http.get("/crm/acme/feed", params={"type": "missed_chat"})
        other = await http.get("/crm/other/feed", headers={"accept-language": "ja,en;q=0.5"})
    assert "first" in east.text
    assert "second" not in east.text
    assert '<option value="east" selected>' in east.text
    assert "second" in missed.text
    assert "first" not in missed.text
    assert "まだ何もありません。" in other.text


@pytest.mark.parametrize(
    ("http_host", "asked", "status"),
    [
        ("127.0.0.1", "127.0.0.1:9104", 200),
        ("127.0.0.1", "localhost:9104", 200),
        ("::1", "[::1]:9104", 200),
        ("127.0.0.1", "evil.example.com", 403),
        ("0.0.0.0", "127.0.0.1:9104", 403),
        ("10.0.0.5", "10.0.0.5:9104", 403),
    ],
)
async def test_without_a_password_only_loopback(
    crm: EmbeddedCrm, http_host: str, asked: str, status: int
) -> None:
    await entry(crm, title="secret")
    async with client(crm, http_host=http_host, asked=asked) as http:
        page = await http.get("/crm/acme/feed")
    assert page.status_code == status
    assert ("secret" in page.text) is (status == 200)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Basic " + b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
        ("basic " + b64encode(f":{TOKEN}".encode()).decode(), 200),
        ("Basic " + b64encode(b"anybody:wrong").decode(), 401),
        ("Basic " + b64encode(f"{TOKEN}:".encode()).decode(), 401),
        ("Basic ###", 401),
        ("Bearer x", 401),
        ("", 401),
    ],
)
async def test_with_a_password_everybody_needs_it(crm: EmbeddedCrm, authorization: str, status: int) -> None:
    await entry(crm, title="secret")
    async with client(crm, http_host="0.0.0.0", token=TOKEN) as http:
        page = await http.get("/crm/acme/feed", headers={"authorization": authorization})
    assert page.status_code == status
    assert ("secret" in page.text) is (status == 200)
    assert ("www-authenticate" in page.headers) is (status == 401)


async def test_database_away(tmp_path: Path) -> None:
    crm = await EmbeddedCrm.open(f"sqlite:///{tmp_path}/crm.db")
    async with client(crm) as http:
        await crm.close()
        (tmp_path / "crm.db").write_bytes(b"not a database at all" * 100)
        page = await http.get("/crm/acme/feed")
    assert page.status_code == 503
