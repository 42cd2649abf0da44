"""The local HubSpot refuses what HubSpot's documentation says it refuses: without this the connector's tests would prove nothing."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from services.crm_sync.connectors.hubspot.api import Desk, HubspotAccount
from tests.crm_sync.connector_world import ACME
from tests.crm_sync.vendors.hubspot_world import KEN, TOKENS, Hubspot, hubspot

pytestmark = pytest.mark.crm

OBJECTS, PROPERTIES = "/crm/objects/2026-03", "/crm/properties/2026-03"
NOTE = {"hs_timestamp": "2026-11-21T09:00:00.000Z", "hs_note_body": "hi"}
TICKET = {"subject": "s", "hs_pipeline_stage": "1"}
OWN = {"name": "chat_new", "label": "New", "groupName": "own", "type": "string", "fieldType": "text"}
VIEW = {"name": "New", "objectTypeId": "0-5", "processingType": "DYNAMIC"}


@pytest.fixture
async def there() -> AsyncIterator[Hubspot]:
    async with hubspot() as opened:
        yield opened


@pytest.fixture
async def client(there: Hubspot) -> AsyncIterator[httpx.AsyncClient]:
    login = {"Authorization": f"Bearer {TOKENS[ACME]}"}
    async with httpx.AsyncClient(base_url=there.serving.url, headers=login) as opened:
        yield opened


def note(to: str, number: int = 202, category: str = "HUBSPOT_DEFINED") -> dict[str, Any]:
    link = {"associationCategory": category, "associationTypeId": number}
    return {"properties": NOTE, "associations": [{"to": {"id": to}, "types": [link]}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (f"{OBJECTS}/notes", {"properties": NOTE}, 201, "hs_object_id"),
        (f"{OBJECTS}/notes", note("{hanako}"), 201, "hs_object_id"),
        (f"{OBJECTS}/notes", note("{hanako}", number=214), 400, "associations are not valid"),
        (f"{OBJECTS}/notes", note("{hanako}", category="USER_DEFINED"), 400, "associations are not valid"),
        (f"{OBJECTS}/notes", note("{gone}"), 400, "associations are not valid"),
        (f"{OBJECTS}/notes", note("12"), 400, "associations are not valid"),
        (f"{OBJECTS}/notes", {"properties": {"hs_note_body": "hi"}}, 400, "hs_timestamp"),
        (f"{OBJECTS}/notes", {"properties": NOTE | {"hs_timestamp": "today"}}, 400, "INVALID_DATE"),
        (f"{OBJECTS}/notes", {"properties": NOTE | {"hs_note_body": "x" * 65_536}}, 201, "hs_object_id"),
        (f"{OBJECTS}/notes", {"properties": NOTE | {"hs_note_body": "x" * 65_537}}, 400, "INVALID_LENGTH"),
        (f"{OBJECTS}/notes", {"properties": NOTE | {"unheard_of": "x"}}, 400, "PROPERTY_DOESNT_EXIST"),
        (f"{OBJECTS}/notes", {"properties": NOTE | {"chat_marker": "M"}}, 400, "already has that value."),
        (f"{OBJECTS}/notes", {"properties": {"hs_timestamp": 1}}, 400, "Invalid input JSON"),
        (f"{OBJECTS}/notes", NOTE, 400, "Invalid input JSON"),
        ("/crm/v3/objects/notes", {"properties": NOTE}, 404, "OBJECT_NOT_FOUND"),
        (f"{OBJECTS}/contacts", {"properties": {"email": "H@example.com"}}, 409, "Existing ID: "),
        (f"{OBJECTS}/contacts", {"properties": {"email": "nobody"}}, 400, "INVALID_EMAIL"),
        (f"{OBJECTS}/contacts", {"properties": {"lifecyclestage": "Lead"}}, 400, "INVALID_OPTION"),
        (f"{OBJECTS}/contacts", {"properties": {"hubspot_owner_id": "ken"}}, 400, "INVALID_OWNER_ID"),
        (f"{OBJECTS}/contacts", {"properties": {"createdate": "2026-11-21"}}, 400, "READ_ONLY_VALUE"),
        (f"{OBJECTS}/tickets", {"properties": TICKET}, 201, "hs_object_id"),
        (f"{OBJECTS}/tickets", {"properties": {"subject": "s"}}, 400, "hs_pipeline_stage"),
        (f"{OBJECTS}/tickets", {"properties": TICKET | {"hs_pipeline_stage": "New"}}, 400, "INVALID_OPTION"),
        (f"{OBJECTS}/deals/batch/read", {"inputs": [{"id": "1"}] * 101, "properties": []}, 400, "inputs"),
        (f"{PROPERTIES}/notes", OWN, 201, "chat_new"),
        (f"{PROPERTIES}/notes", OWN | {"name": "chat_type"}, 409, "already exists"),
        (f"{PROPERTIES}/notes", OWN | {"name": "Chat new"}, 400, "name"),
        (f"{PROPERTIES}/notes", OWN | {"groupName": "none"}, 400, "groupName"),
        (f"{PROPERTIES}/notes", OWN | {"fieldType": "select"}, 400, "fieldType"),
        (f"{PROPERTIES}/notes/groups", {"name": "own", "label": "Own"}, 409, "already exists"),
        ("/crm/lists/2026-03", VIEW | {"filterBranch": {"filterBranchType": "AND", "filterBranches": [], "filters": []}}, 400, "not valid"),
    ],
)  # fmt: skip
async def test_what_is_taken_and_what_is_refused(
    there: Hubspot, client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    hanako = there.acme.add("contacts", {"email": "h@example.com"})
    gone = there.acme.add("contacts", {})
    gone.archived = True
    there.acme.add("notes", {"chat_marker": "M"})
    sent = orjson.dumps(body).decode().replace("{hanako}", hanako.id).replace("{gone}", gone.id)
    answer = await client.post(path, content=sent, headers={"Content-Type": "application/json"})
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    if status >= 400:
        assert answer.json()["status"] == "error"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{OBJECTS}/contacts/{{hanako}}?properties=email&associations=deals", 200),
        (f"{OBJECTS}/contacts/h@example.com?idProperty=email", 200),
        (f"{OBJECTS}/contacts/h@example.com", 404),
        (f"{OBJECTS}/contacts/M?idProperty=chat_marker", 404),
        (f"{OBJECTS}/contacts/x?idProperty=firstname", 400),
        (f"{OBJECTS}/contacts/{{hanako}}?fields=email", 400),
        (f"/crm/owners/2026-03/{KEN}", 200),
        ("/crm/owners/2026-03/1", 404),
        (f"{OBJECTS}/leads/1", 404),
    ],
)
async def test_what_is_found(there: Hubspot, client: httpx.AsyncClient, path: str, status: int) -> None:
    hanako = there.acme.add("contacts", {"email": "h@example.com"})
    assert (await client.get(path.format(hanako=hanako.id))).status_code == status


async def test_who_is_let_in(there: Hubspot, client: httpx.AsyncClient) -> None:
    path = f"{OBJECTS}/notes"
    for login in ("", "Bearer wrong", f"Basic {TOKENS[ACME]}"):
        answer = await client.post(path, json={"properties": NOTE}, headers={"Authorization": login})
        assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")
    answer = await client.post(path, content="hs_timestamp=1")
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("version", "path"),
    [("2026-03", "/crm/objects/2026-03/contacts/a%40b%2F.."), ("v3", "/crm/v3/objects/contacts/a%40b%2F..")],
)
async def test_the_version_is_a_part_of_the_path(version: str, path: str) -> None:
    desk = Desk(HubspotAccount(SecretStr("pat-na1"), api_version=version))
    assert desk.path("objects", "contacts", "a@b/..") == path
    await desk.site.close()
