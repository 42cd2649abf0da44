"""The read API: who sees what, row by row of the matrix; tokens; and that no workspace reads of another."""

from itertools import product
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import httpx
import pytest
from pydantic import ValidationError

from services.runtime.openapi import PREFIX
from services.transcript.api.access import MAY_READ, ROLES, ApiSettings, Noun, Role
from services.transcript.api.routes import ENDPOINTS
from tests.transcript.company import (
    ENDED,
    LIVING,
    ODD,
    SEEN,
    STAFF,
    bearer,
    chat_path,
    ids,
    items,
    of,
)


@pytest.mark.parametrize("agent_id", SEEN)
async def test_the_list_of_chats_and_each_chat_show_the_same(
    client: httpx.AsyncClient, agent_id: str
) -> None:
    ended, living = SEEN[agent_id]
    assert await ids(client, "chats", of(agent_id)) == ended
    for chat_id in ENDED | LIVING:
        for tab in ("", "/messages", "/recent"):
            response = await client.get(f"/v1/acme/{chat_path(chat_id)}{tab}", headers=of(agent_id))
            assert response.status_code == (200 if chat_id in ended | living else 404), (chat_id, tab)


@pytest.mark.parametrize(
    ("agent_id", "missed", "queues", "watched", "canned"),
    [
        ("ann", {"sales-missed", "support-missed", "sales-robot"}, {"sales"}, None, {"c0", "c1", "c3"}),
        ("bob", {"support-missed"}, {"support", "lab"}, None, {"c0", "c2", "c3"}),
        (
            "sue",
            {"sales-missed", "support-missed", "sales-robot"},
            {"sales", "support", "lab"},
            {"support-bob-now"},
            {"c0", "c1", "c3"},
        ),
        (
            "sid",
            {"sales-missed", "support-missed", "sales-robot"},
            {"sales", "support", "lab"},
            set(),
            {"c0", "c2", "c3"},
        ),
        (
            "ada",
            {"sales-missed", "support-missed", "sales-robot"},
            {"sales", "support", "lab"},
            set(),
            {"c0", "c1", "c2", "c3"},
        ),
    ],
)
async def test_who_sees_the_inbox_queues_monitored_chats_and_canned_messages(
    client: httpx.AsyncClient,
    agent_id: str,
    missed: set[str],
    queues: set[str],
    watched: set[str] | None,
    canned: set[str],
) -> None:
    who = of(agent_id)
    assert await ids(client, "missed", who) == missed
    assert await ids(client, "missed?department_id=support", who) == missed & {"support-missed"}
    assert await ids(client, "missed?department_id=sales", who) == missed - {"support-missed"}
    for chat_id in ("sales-missed", "support-missed", "sales-robot", "sales-ann"):
        response = await client.get(f"/v1/acme/missed/{chat_id}", headers=who)
        assert response.status_code == (200 if chat_id in missed else 404)
    for department_id in ("sales", "support", "lab"):
        response = await client.get(f"/v1/acme/departments/{department_id}/queue", headers=who)
        assert response.status_code == (200 if department_id in queues else 403)
        available = await client.get(f"/v1/acme/departments/{department_id}/agents", headers=who)
        assert available.status_code == 200, "a transfer may go to any department"
    if watched is None:
        assert (await client.get("/v1/acme/monitored", headers=who)).status_code == 403
    else:
        assert await ids(client, "monitored", who) == watched
    assert {each["canned_message_id"] for each in await items(client, "canned-messages", who)} == canned


@pytest.mark.parametrize("agent_id", ["sid", "ada"])
async def test_supervisors_read_notes_of_chats_they_may_not_watch(
    client: httpx.AsyncClient, agent_id: str
) -> None:
    """Who may: notes are every supervisor's. Of the chat itself the monitoring matrix decides."""
    assert len(await items(client, f"{chat_path('sales-sue')}/notes", of(agent_id))) == 6


@pytest.mark.parametrize("agent_id", SEEN)
async def test_all_of_the_staff_see_whom_any_chat_is_with(client: httpx.AsyncClient, agent_id: str) -> None:
    """Who may: the CRM's card is everybody's, and it is found by the visitor's address."""
    for chat_id in ENDED | LIVING:
        told = (await client.get(f"/v1/acme/{chat_path(chat_id)}/visitor", headers=of(agent_id))).json()
        later = chat_id == "support-bob-now"
        assert {name: told[name] for name in ("chat_id", "visitor_id", "name", "email")} == {
            "chat_id": chat_id,
            "visitor_id": "visitor",
            "name": "花子",
            "email": "later@example.com" if later else "hanako@example.com",
        }
        assert (told["ended_at"] is None) is (chat_id in LIVING)
        if chat_id in ENDED:
            assert told["outcome"] == ("missed" if chat_id.endswith("-missed") else "handled")
        assert told["caller"] == {
            "agent_id": agent_id,
            "role": STAFF[agent_id][0],
            "crm": "user" if agent_id == "ann" else "none",
        }
    unknown = await client.get("/v1/acme/chats/nowhere/visitor", headers=of(agent_id))
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("header", "rights"),
    [
        (of("ann"), {"agent_id": "ann", "role": "agent", "crm": "user"}),
        (bearer("admin", "ann"), {"agent_id": "ann", "role": "agent", "crm": "user"}),
        (of("sue"), {"agent_id": "sue", "role": "supervisor", "crm": "none"}),
        (bearer("admin"), {"agent_id": None, "role": "admin", "crm": "admin"}),
    ],
)
async def test_who_asks_is_told_their_rights(
    client: httpx.AsyncClient, header: dict[str, str], rights: dict[str, str | None]
) -> None:
    told = (await client.get("/v1/acme/caller", headers=header)).json()
    assert told["workspace"] == {"id": "acme", "name": "Acme"}
    assert told["caller"] == rights


async def test_a_participant_who_only_watches_is_told_to_nobody(client: httpx.AsyncClient) -> None:
    for agent_id in ("bob", "sue", "ada"):
        response = await client.get("/v1/acme/chats/support-bob-now", headers=of(agent_id))
        assert response.json()["participants"] == ['o"%']


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_each_role_reads_what_the_table_says(
    client: httpx.AsyncClient, role: Role, endpoint: Any
) -> None:
    agent_id = {"visitor": None, "agent": "ann", "supervisor": "sue", "admin": "ada"}[role]
    address = PREFIX + endpoint.path.format(workspace="acme", department_id="sales", chat_id="sales-missed")
    text = {"text": "#"} if "suggestions" in endpoint.path else {}
    response = await client.get(address, params=text, headers=bearer(role, agent_id))
    assert response.status_code == (403 if MAY_READ[endpoint.noun][role] == "none" else 200)


def test_the_table_names_every_noun_and_role() -> None:
    assert set(MAY_READ) == set(get_args(Noun))
    assert all(set(extents) == set(ROLES) for extents in MAY_READ.values())


async def test_a_visitor_sees_enabled_public_departments_only(client: httpx.AsyncClient) -> None:
    found = await items(client, "departments", bearer("visitor"))
    assert [each["department_id"] for each in found] == ["acme", "sales", "support"]
    everything = await items(client, "departments", of("ann"))
    assert [each["department_id"] for each in everything] == ["acme", "gone", "lab", "sales", "support"]


async def test_whispers_are_for_staff(client: httpx.AsyncClient) -> None:
    said = await items(client, "chats/sales-ann/messages", of("ann"))
    assert [(each["text"], each["internal"]) for each in said] == [
        ("料金は千円です", False),
        ("WHISPER", True),
    ]
    assert await ids(client, "chats?text=whisper", of("ann")) == {"sales-ann", "sales-sue", ODD}


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({}, "expected"),
        ({"authorization": "Basic YTpi"}, "expected"),
        ({"authorization": "Bearer "}, "expected"),
        ({"authorization": "Bearer nonsense"}, "not one of this installation"),
        ({"authorization": "Bearer " + "x" * 10_000}, "not one of this installation"),
        ({"authorization": bearer("admin")["authorization"][:-2]}, "not one of this installation"),
        (bearer("admin", for_ms=0), "expired"),
    ],
)
async def test_without_a_good_token_nothing_is_told(
    client: httpx.AsyncClient, header: dict[str, str], told: str
) -> None:
    response = await client.get("/v1/acme/departments", headers=header)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert told in response.json()["detail"]


async def test_a_token_gives_no_more_than_the_archive_knows_of_the_agent(client: httpx.AsyncClient) -> None:
    promoted = bearer("admin", "ann")
    assert await ids(client, "chats", promoted) == SEEN["ann"][0]
    assert (await client.get("/v1/acme/monitored", headers=promoted)).status_code == 403
    assert await ids(client, "chats", bearer("agent", "ada")) == SEEN["sid"][0] - {
        "sales-ann",
        "sales-missed",
        ODD,
    }, "a lesser token of an admin gives what it says"
    assert (await client.get("/v1/acme/chats", headers=bearer("admin", "nobody"))).status_code == 403


async def test_a_program_reads_as_admin_but_nobodys_monitors(client: httpx.AsyncClient) -> None:
    assert await ids(client, "chats", bearer("admin")) == ENDED
    assert (await client.get("/v1/acme/monitored", headers=bearer("admin"))).status_code == 403


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"api_secret": "x" * 16, "api_secret_file": "kept"}, "either"),
        ({"api_secret": "x" * 15}, "16 characters"),
        ({"api_secret_file": "kept"}, "16 characters"),
        ({"api_secret_file": "absent"}, "can't be read"),
    ],
)
def test_a_secret_that_is_none_is_told_of_at_the_start(
    tmp_path: Path, values: dict[str, str], told: str
) -> None:
    (tmp_path / "kept").write_text("short", encoding="ascii")
    if "api_secret_file" in values:
        values = values | {"api_secret_file": str(tmp_path / values["api_secret_file"])}
    with pytest.raises(ValidationError, match=told):
        ApiSettings.model_validate(values)


def test_without_a_secret_there_is_no_api() -> None:
    assert ApiSettings().token_secret is None


# ---------------------------------------------------------------- workspaces


CALLERS: list[tuple[Role, str | None]] = [
    ("visitor", None),
    ("agent", "ann"),
    ("supervisor", "sue"),
    ("admin", "ada"),
    ("admin", None),
]


def tells(answered: httpx.Response) -> bool:
    """Whether there is anything in an answer: a list's items, or chats of a file."""
    if "content-disposition" in answered.headers:
        return bool(answered.content)
    return bool(answered.json().get("items", True))


async def test_no_workspace_reads_anything_of_another(client: httpx.AsyncClient) -> None:
    """Over every path of the document, whatever is added to it: by the token, and by ids of the other's."""
    document = (await client.get("/v1/openapi.json")).json()
    for path, operation in document["paths"].items():
        needed = {each["name"] for each in operation["get"]["parameters"] if each["required"]} - {"workspace"}
        given = {"text": "#"} if "text" in needed else {}
        assert needed <= {"department_id", "chat_id", *given}, (
            f"{path}: say here which of its parameters name something"
        )
        told = set()
        for mine, other in (("acme", "rival"), ("rival", "acme")):
            for (role, agent_id), chat_id in product(CALLERS, ("sales-missed", "sales-ann")):
                named = {"department_id": "sales", "chat_id": chat_id}
                who = bearer(role, agent_id, workspace_id=mine)
                refused = await client.get(path.format(workspace=other, **named), params=given, headers=who)
                assert refused.status_code == 403, (path, role)
                answered = await client.get(path.format(workspace=mine, **named), params=given, headers=who)
                if answered.status_code == 200 and tells(answered):
                    told.add(mine)
                    assert ("-RIVAL" in answered.text) == (mine == "rival"), (path, role)
        assert told == {"acme", "rival"}, f"{path}: it told something, so it could have told the wrong thing"
        if "chat_id" in needed:
            only_theirs = quote("sales-ann-RIVAL/ #?%2F\n", safe="")
            address = path.format(workspace="acme", chat_id=only_theirs, department_id="sales")
            assert (await client.get(address, headers=bearer("admin"))).status_code == 404


@pytest.mark.parametrize(
    "address", ["/v1/", "/v1/acme", "/v1/acme/chats/", "/v1/acme/chats//", "/v1/acme/chat"]
)
async def test_what_is_not_served_is_refused_in_json(client: httpx.AsyncClient, address: str) -> None:
    refused = await client.get(address, headers=bearer("admin"))
    assert refused.status_code == 404, "a redirect would have no body"
    assert refused.headers["content-type"] == "application/problem+json"
