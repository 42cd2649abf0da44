"""The local Zoho CRM refuses what Zoho's documentation says it refuses: without this the connector's tests would prove nothing."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.crm_sync.vendors.zoho_crm_org import Malformed, Org
from tests.crm_sync.vendors.zoho_crm_server import TOKEN_LASTS_S, TOKENS_MAX
from tests.crm_sync.vendors.zoho_crm_world import API, KEN, USERS, Zoho, zoho

pytestmark = pytest.mark.crm

V8 = "/crm/v8"
LEAD = {"Last_Name": "Hanako", "Company": "Shop"}
QUERY = "select id from Leads where Email in ('h@example.com') limit 25"
MANY = ", ".join(["'h'"] * 101)
FORM = {
    "grant_type": "refresh_token",
    "client_id": "app",
    "client_secret": "app-secret",
    "refresh_token": "refresh-acme",
}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Zoho]:
    async with zoho(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(there: Zoho) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=there.serving.url) as opened:
        granted = (await opened.post("/oauth/v2/token", data=FORM)).json()
        opened.headers["Authorization"] = f"Zoho-oauthtoken {granted['access_token']}"
        yield opened


def record(**given: Any) -> dict[str, Any]:
    return {"data": [given]}


def composite(*parts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    numbered = [{"sub_request_id": str(number), **one} for number, one in enumerate(parts)]
    return {"__composite_requests": numbered, **more}


ASKED = {"method": "POST", "uri": f"{V8}/coql", "body": {"select_query": QUERY}}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/Leads", record(**LEAD), 201, "SUCCESS"),
        ("/Leads", record(**LEAD, Owner={"id": KEN}), 201, "SUCCESS"),
        ("/Leads", record(**LEAD, Owner={"id": "1"}), 400, '"api_name":"Owner"'),
        ("/Leads", record(**LEAD, Owner=KEN), 400, '"api_name":"Owner"'),
        ("/Leads", record(**LEAD, Chat_Reference="M"), 400, '"duplicate_record"'),
        ("/Leads", record(**LEAD, Email="nobody"), 400, '"api_name":"Email"'),
        ("/Leads", record(**LEAD, Phone=81), 400, '"expected_data_type":"string"'),
        ("/Leads", record(**LEAD, Nickname="H"), 400, '"api_name":"Nickname"'),
        ("/Leads", record(**LEAD, id="1"), 400, '"api_name":"id"'),
        ("/Leads", record(Last_Name="H" * 81, Company="C"), 400, '"maximum_length":80'),
        ("/Leads", record(Last_Name="Hanako"), 400, "MANDATORY_NOT_FOUND"),
        ("/Leads", LEAD, 400, '"api_name":"data"'),
        ("/Leads", {"data": [LEAD] * 101}, 400, "LIMIT_EXCEEDED"),
        ("/Leads", [LEAD], 400, '"expected_data_type":"jsonobject"'),
        ("/leads", record(**LEAD), 404, "INVALID_URL_PATTERN"),
        ("/Leads/{lead}/Notes", record(Note_Title="t"), 201, "SUCCESS"),
        ("/Leads/{lead}/Notes", record(Note_Content="x" * 65_535), 201, "SUCCESS"),
        ("/Leads/{lead}/Notes", record(Note_Content="x" * 65_536), 400, '"maximum_length":65535'),
        ("/Leads/{lead}/Notes", record(Note_Title="x" * 121), 400, '"maximum_length":120'),
        ("/Leads/{lead}/Notes", record(Note_Title=""), 400, "EXPECTED_FIELD_MISSING"),
        ("/Leads/{lead}/Notes", record(Note_Title="t", Subject="s"), 400, '"api_name":"Subject"'),
        ("/Leads/{lead}/Notes", record(Note_Title="t", Parent_Id={"id": "1"}), 400, '"api_name":"Parent_Id"'),
        ("/Leads/1/Notes", record(Note_Title="t"), 400, '"resource_path_index":1'),
        ("/coql", {"select_query": QUERY}, 204, ""),
        ("/coql", {"query": QUERY}, 400, "MANDATORY_NOT_FOUND"),
        ("/coql", {"select_query": "select id from Leads"}, 400, "SYNTAX_ERROR"),
        ("/coql", {"select_query": "select Nickname from Leads where id = '1'"}, 400, '"column_name":"Nickname"'),
        ("/__composite_requests", composite(ASKED), 200, '"status_code":204'),
        ("/__composite_requests", composite(*[ASKED] * 6), 400, '"maximum_length":5'),
        ("/__composite_requests", composite(ASKED | {"uri": "/coql"}), 400, '"api_name":"uri"'),
        ("/__composite_requests", composite(ASKED | {"sub_request_id": "1"}, ASKED), 400, "DUPLICATE_DATA"),
        ("/__composite_requests", composite(ASKED | {"path": "/coql"}), 400, "INVALID_DATA"),
        ("/__composite_requests", composite(ASKED, requests=[]), 400, "INVALID_DATA"),
        ("/__composite_requests", composite(ASKED | {"uri": f"{V8}/Cases"}), 207, '"status_code":404'),
    ],
)  # fmt: skip
async def test_what_is_taken_and_what_is_refused(
    there: Zoho, client: httpx.AsyncClient, path: str, body: Any, status: int, said: str
) -> None:
    there.acme.add("Leads", Last_Name="Other", Chat_Reference="M")
    lead = there.acme.add("Leads", Last_Name="Hanako")["id"]
    sent = orjson.dumps(body)
    headers = {"Content-Type": "application/json"}
    answer = await client.post(f"{V8}{path.format(lead=lead)}", content=sent, headers=headers)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Leads/{lead}", 200),
        ("/Leads/{lead}?fields=Owner", 200),
        (f"/Leads/{{lead}}?fields={','.join(['Email'] * 51)}", 400),
        ("/Leads/{lead}?columns=Owner", 400),
        ("/Leads/1", 400),
        ("/Leads/{lead}/Notes?fields=Note_Content&per_page=200&sort_by=Created_Time", 204),
        ("/Leads/{lead}/Notes", 400),
        ("/Leads/{lead}/Notes?fields=Note_Content&per_page=201", 400),
        ("/Leads/{lead}/Notes?fields=Note_Content&limit=1", 400),
        ("/settings/fields?module=Leads", 200),
        ("/settings/fields", 400),
    ],
)
async def test_what_is_found(there: Zoho, client: httpx.AsyncClient, path: str, status: int) -> None:
    lead = there.acme.add("Leads", Last_Name="Hanako")["id"]
    assert (await client.get(f"{V8}{path.format(lead=lead)}")).status_code == status


async def test_a_composite_request_finds_no_more_than_25_each(there: Zoho, client: httpx.AsyncClient) -> None:
    for _ in range(26):
        there.acme.add("Leads", Last_Name="Hanako", Email="h@example.com")
    for limit, status in ((25, 200), (26, 207)):
        asked = ASKED | {"body": {"select_query": QUERY.replace("25", str(limit))}}
        assert (await client.post(f"{V8}/__composite_requests", json=composite(asked))).status_code == status


async def test_who_is_let_in(there: Zoho, client: httpx.AsyncClient) -> None:
    token = client.headers["Authorization"].partition(" ")[2]
    for login in ("", "Zoho-oauthtoken wrong", f"Bearer {token}"):
        answer = await client.post(f"{V8}/Leads", json=record(**LEAD), headers={"Authorization": login})
        assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")
    assert (await client.post(f"{V8}/Leads", content="Last_Name=H")).status_code == 415
    headers = {"Content-Type": "application/json"}
    assert (await client.post(f"{V8}/Leads", content="Last_Name=H", headers=headers)).status_code == 400
    there.now_s[0] += TOKEN_LASTS_S
    assert (await client.post(f"{V8}/Leads", json=record(**LEAD))).status_code == 401


async def test_ten_tokens_in_ten_minutes(there: Zoho, client: httpx.AsyncClient) -> None:
    given = [await client.post("/oauth/v2/token", data=FORM) for _ in range(TOKENS_MAX)]
    assert [one.status_code for one in given] == [200] * (TOKENS_MAX - 1) + [400]
    there.now_s[0] += 600
    assert "access_token" in (await client.post("/oauth/v2/token", data=FORM)).json()
    refused = await client.post("/oauth/v2/token", data=FORM | {"refresh_token": "revoked"})
    assert (refused.status_code, refused.json()) == (200, {"error": "invalid_code"})


@pytest.mark.parametrize(
    "query",
    [
        "select Email from Leads",
        "select Email from Elsewhere where Email = 'h'",
        "select Nothing from Leads where Email = 'h'",
        "select Email from Leads where Account_Name.Tier = 'h'",
        "select Email from Contacts where Account_Name.Nothing = 'h'",
        "select Email from Leads where Email = 'o'hara'",
        "select Email from Leads where Email = h",
        "select Email from Leads where Email = 'a' or Email = 'b' or Email = 'c'",
        "select Email from Leads where Email = 'h' limit 0",
        "select Email from Leads where Email = 'h' limit 2001",
        "select Email from Leads where Email = 'h' and",
        "select Email from Leads where Email = 'h' -- comment",
        f"select Email from Leads where Email in ({MANY})",
    ],
)
def test_the_local_organization_takes_queries_only(query: str) -> None:
    with pytest.raises(Malformed):
        Org(API, USERS).query(query)
