"""The read API's lists: filters, pages, parameters, and what is told when something is wrong."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from services.runtime.database import open_async
from services.runtime.openapi import PREFIX
from services.runtime.problems import PROBLEM_TYPE
from services.transcript.api import chats
from services.transcript.api.routes import ENDPOINTS
from services.transcript.archive import standing, tables
from services.transcript.archive.database import Archive
from tests.router.scenes import MONDAY_9_MS
from tests.transcript.company import (
    ENDED,
    ODD,
    SEEN,
    app_of,
    bearer,
    client_of,
    company,
    ids,
    items,
    of,
    records,
)
from tests.transcript.sources import drain

# ---------------------------------------------------------------- lists


FILTERS = {
    "department_id=support": {"support-bob", "support-sid", "support-ada", "support-missed"},
    "department_id=sales": {"sales-ann", "sales-sue", "sales-missed", ODD},
    "agent_id=ann": {"sales-ann", ODD},
    "agent_id=bob": {"support-bob"},
    "agent_id=ada&department_id=support": {"support-ada"},
    "outcome=handled": ENDED - {"sales-missed", "support-missed"},
    "outcome=handled_by_bot": set(),
    "missed=true": {"sales-missed", "support-missed"},
    "missed=false": ENDED - {"sales-missed", "support-missed"},
    "missed_tag=unattended": {"sales-missed", "support-missed"},
    "missed_tag=bot_transfer_failed": set(),
    "missed=true&outcome=handled": set(),
    "missed=false&missed_tag=unattended": set(),
    "missed=false&outcome=handled&agent_id=bob": {"support-bob"},
    "tag=repair": {"support-bob", "support-sid", "support-ada"},
    "tag=repair&agent_id=sid": {"support-sid"},
    "tag=nothing": set(),
    "since=2026-11-23T09:00:05Z": {"support-ada", ODD, "sales-missed", "support-missed"},
    "until=2026-11-23T18:00:02%2B09:00": {"sales-ann"},
    "since=2026-11-23T09:00:02Z&until=2026-11-23T09:00:03Z": {"sales-sue"},
    "text=料金": ENDED - {"sales-missed", "support-missed"},
    "text=料金&department_id=support": {"support-bob", "support-sid", "support-ada"},
    "text=いくら": ENDED,
    "text=なし": set(),
}


@pytest.mark.parametrize("agent_id", SEEN)
@pytest.mark.parametrize(("filters", "found"), FILTERS.items())
async def test_filters(client: httpx.AsyncClient, filters: str, found: set[str], agent_id: str) -> None:
    """Each role finds what it sees of it, whichever way that is looked for."""
    seen, _ = SEEN[agent_id]
    assert await ids(client, f"chats?{filters}", of(agent_id)) == found & seen


@pytest.mark.parametrize("agent_id", SEEN)
@pytest.mark.parametrize("filters", [each for each in FILTERS if "tag=" in each or "text=" in each])
async def test_what_many_chats_have_is_found_like_what_few_have(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, filters: str, agent_id: str
) -> None:
    """Another way through the tables, for each role."""
    looked_up = await items(client, f"chats?{filters}", of(agent_id))
    monkeypatch.setattr(chats, "RARE_MAX", 0)
    assert await items(client, f"chats?{filters}", of(agent_id)) == looked_up


async def test_a_tag_that_more_chats_have_than_are_looked_up(archive: Archive) -> None:
    """Every page, with and without another filter; and what they have in common with a tag that few have."""
    many = chats.RARE_MAX + 100
    names = [f"c{number:05d}" for number in range(many + 100)]
    tagged = [("vip", name) for name in names[:many]] + [
        ("rare", name) for name in names[many - 2 : many + 2]
    ]
    async with archive.engine.begin() as connection:
        await connection.execute(
            tables.chats.insert(), [_chat(name, number) for number, name in enumerate(names)]
        )
        rows = [{"workspace_id": "acme", "tag": tag, "chat_id": name} for tag, name in tagged]
        await connection.execute(standing.tags.insert(), rows)
        await connection.execute(text("ANALYZE"))  # as PostgreSQL does by itself within a minute
    async with client_of(archive) as client:
        assert await walked(client, "chats?tag=vip&limit=200") == names[:many][::-1]
        assert await walked(client, "chats?tag=vip&department_id=d3&limit=200") == names[3:many:10][::-1]
        assert await walked(client, "chats?tag=rare") == names[many - 2 : many + 2][::-1]


def _chat(name: str, number: int) -> dict[str, Any]:
    department_id = f"d{number % 10}"
    return {
        "workspace_id": "acme",
        "chat_id": name,
        "revision": 1,
        "outcome": "handled",
        "started_at_ms": MONDAY_9_MS,
        "ended_at_ms": MONDAY_9_MS + number // 3,  # several end at one time
        "department_id": department_id,
        "department_name": department_id,
        "visitor_id": "v",
        "visitor": {"visitor_id": "v"},
        "agents": [],
    }


async def walked(client: httpx.AsyncClient, address: str) -> list[str]:
    """The chats of all pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (
            await client.get(
                httpx.URL(f"/v1/acme/{address}").copy_merge_params(cursor), headers=bearer("admin")
            )
        ).json()
        found += [each["chat_id"] for each in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("missed_tag=bot_transfer_failed", {"sales-robot"}),
        ("missed_tag=unattended", {"sales-missed", "support-missed"}),
        ("status=open", {"sales-missed", "sales-robot"}),
        ("status=assigned&agent_id=ann", {"support-missed"}),
        ("status=closed", set()),
        ("department_id=sales", {"sales-missed", "sales-robot"}),
    ],
)
async def test_filters_of_the_inbox(client: httpx.AsyncClient, filters: str, found: set[str]) -> None:
    assert await ids(client, f"missed?{filters}", of("ada")) == found


LISTS = [each.path for each in ENDPOINTS if "limit" in each.asked.model_fields]


@pytest.mark.parametrize("agent_id", ["ann", "ada"])
@pytest.mark.parametrize("path", LISTS)
async def test_pages_give_each_item_once_and_in_order(
    client: httpx.AsyncClient, path: str, agent_id: str
) -> None:
    if path.endswith("/monitored"):
        agent_id = "sue"
    address = PREFIX + path.format(workspace="acme", department_id="sales", chat_id="sales-ann")
    whole = (await client.get(address, headers=of(agent_id))).json()
    assert whole["next"] is None
    assert whole["items"], "there is something to list"
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while len(seen) <= len(whole["items"]):
        page = (await client.get(address, params={"limit": 1, **cursor}, headers=of(agent_id))).json()
        assert len(page["items"]) <= 1
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == whole["items"]


async def test_what_is_archived_meanwhile_moves_nothing(database_url: str) -> None:
    scene = company()
    archive = await Archive.open(database_url)
    await drain(archive, records(scene, partition=0))
    async with client_of(archive) as client:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        number = 0
        while True:
            page = (
                await client.get("/v1/acme/chats", params={"limit": 2, **cursor}, headers=bearer("admin"))
            ).json()
            seen += [each["chat_id"] for each in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
            number += 1
            scene.at(100 + number)
            scene.ask(f"new-{number}", "sales")
            scene.leave(f"new-{number}")
            await drain(archive, records(scene, partition=0))
        newest = (await client.get("/v1/acme/chats", params={"limit": 1}, headers=bearer("admin"))).json()
    await archive.close()
    assert sorted(seen) == sorted(ENDED)
    assert newest["items"][0]["chat_id"] == f"new-{number}"
    assert newest["as_of"] == f"2026-11-23T09:01:{40 + number}.000Z"


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("address", "field", "kind", "expected"),
    [
        ("chats?limit=0", "limit", "a number", "greater than or equal to 1"),
        ("chats?limit=201", "limit", "a number", "less than or equal to 200"),
        ("chats?limit=many", "limit", "a text of 4 characters", "a whole number"),
        ("chats?limit=1.0", "limit", "a number", "a whole number"),
        ("chats?limit=", "limit", "an empty text", "a whole number"),
        ("chats?limit=1&limit=2", "limit", "several values", "one"),
        ("chats?missed=1", "missed", "a number", "true or false"),
        ("chats?outcome=lost", "outcome", "a text of 4 characters", "'handled'"),
        ("chats?since=yesterday", "since", "a text of 9 characters", "a time with its zone"),
        ("chats?since=2026-11-21T09:00:00", "since", "a text of 19 characters", "a time with its zone"),
        ("chats?since=2026-11-21T09:00:00+09:00", "since", "a text of 25 characters", "%2B"),
        ("chats?since=2026-02-30T09:00:00Z", "since", "a text of 20 characters", "day"),
        ("chats?since=1700000000", "since", "a number", "a time with its zone"),
        ("chats?tag=%00", "tag", "a text of 1 characters", "pattern"),
        ("chats?text=a", "text", "a text of 1 characters", "two characters"),
        ("chats?colour=red", "colour", "an unknown parameter", "OpenAPI"),
        ("chats?cursor=x", "cursor", "a text of 1 characters", "`next`"),
        ("chats?cursor=W10", "cursor", "a text of 3 characters", "`next`"),
        ("chats?cursor=WzFlOTksImEiLDFd", "cursor", "a text of 16 characters", "`next`"),
        ("chats?cursor=WzEsIlx1MDAwMCIsMV0", "cursor", "a text of 19 characters", "`next`"),
        ("chats?workspace=rival", "workspace", "several values", "one"),
        ("chats/x?revision=0", "revision", "a number", "greater than or equal to 1"),
        ("chats/x/notes?whose=mine", "whose", "a text of 4 characters", "'all'"),
        ("canned-messages/suggestions", "text", "nothing", "required"),
        ("canned-messages/suggestions?text=ab", "text", "a text of 2 characters", "pattern"),
        (f"chats/{'x' * 129}", "chat_id", "a text of 129 characters", "at most 128"),
    ],
)
async def test_what_can_not_be_understood_is_named(
    client: httpx.AsyncClient, address: str, field: str, kind: str, expected: str
) -> None:
    response = await client.get(f"/v1/acme/{address}", headers=of("ada"))
    assert response.status_code == 400
    assert response.headers["content-type"] == PROBLEM_TYPE
    (wrong,) = response.json()["errors"]
    assert (wrong["field"], wrong["kind"]) == (field, kind)
    assert expected in wrong["expected"]


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/v1/acme", 404),
        ("GET", "/v1/acme/nothing", 404),
        ("GET", "/v1/acme/chats/a/b", 404),
        ("POST", "/v1/acme/chats", 405),
        ("DELETE", "/v1/acme/chats/sales-ann", 405),
        ("GET", "/v1/acme/chats/unknown", 404),
        ("GET", "/v1/acme/departments/unknown/queue", 404),
        ("GET", "/v1/acme/departments/unknown/agents", 404),
    ],
)
async def test_what_is_not_there_is_told_in_json(
    client: httpx.AsyncClient, method: str, address: str, status: int
) -> None:
    response = await client.request(method, address, headers=bearer("admin"))
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_TYPE
    assert response.json()["status"] == status


async def test_answers_are_not_kept_and_not_guessed_at(client: httpx.AsyncClient) -> None:
    for address in ("/v1/openapi.json", "/v1/acme/chats", "/v1/acme/nothing", "/v1/acme/chats?limit=0"):
        headers = (await client.get(address, headers=of("ada"))).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_database_that_does_not_answer(tmp_path: Any) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder", encoding="utf-8")
    archive = Archive(open_async(f"sqlite:///{folder}/archive.sqlite3"))
    who = of("ada")
    with capture_logs() as logs:
        async with client_of(archive) as client:
            response = await client.get("/v1/acme/chats?text=secret", headers=who)
    await archive.close()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    (line,) = logs
    assert line["event"] == "api_failed"
    told = repr(line)
    assert who["authorization"].removeprefix("Bearer ") not in told
    assert "secret" not in told
    assert "acme" not in told


@pytest.mark.parametrize("name", ["花子".encode(), b"\xff"])
async def test_a_path_may_be_sent_as_it_is(company_url: str, name: bytes) -> None:
    """Not every client encodes what is no ASCII; what is no text at all names nothing."""
    archive = Archive.at(company_url)
    app = app_of(archive)

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "raw_path": b"/v1/acme/chats/" + name}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=raw), base_url="http://api") as client:
        response = await client.get("/v1/acme/chats/x", headers=of("ada"))
    await archive.close()
    assert response.status_code == 404
