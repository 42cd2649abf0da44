"""What Zoho CRM's errors mean, alone and within a composite request, and queries with hostile texts."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.zoho_crm.api import among, quoted
from services.runtime.effects import EffectFailure, Refused, Unavailable
from tests.crm_sync.connector_world import ACME, NOTE, OTHER, activity
from tests.crm_sync.vendors.zoho_crm_world import Zoho, zoho


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Zoho]:
    async with zoho(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("text", ["o'hara", "''", "'", "' or Email in ('", 'a"b', "漢字", "%_", "\\"])
async def test_whatever_is_quoted_stays_one_text(there: Zoho, text: str) -> None:
    there.acme.add("Leads", Last_Name="Hanako", Email=text)
    there.acme.add("Leads", Last_Name="Other", Email="other")
    rows = there.acme.query(f"select Email from Leads where Email in ({quoted(text)})")
    assert [one["Email"] for one in rows] == [text]


def test_criteria_are_put_into_pairs() -> None:
    assert among(["A"], ["x", "y"]) == "A in ('x', 'y')"
    assert among(["A", "B", "C"], ["x"]) == "((A in ('x') or B in ('x')) or C in ('x'))"


REFUSED = {"code": "INVALID_DATA", "status": "error", "message": "hanako@example.com"}


@pytest.mark.parametrize(
    ("status", "headers", "error", "failure", "code", "retry_after_s"),
    [
        (200, {}, {"data": [REFUSED | {"details": {"api_name": "Note_Content"}}]}, Refused, "field_note_content_invalid_data", None),
        (207, {}, {"data": [REFUSED | {"details": {"resource_path_index": 1}}]}, Refused, "record_gone", None),
        (400, {}, {"data": [REFUSED | {"details": {"api_name": "id"}}]}, Refused, "record_gone", None),
        (400, {}, {"data": [REFUSED | {"details": {"api_name": "Parent_Id"}}]}, Refused, "record_gone", None),
        (400, {}, {"data": [REFUSED | {"details": {"api_name": "id", "json_path": "$.data[0].Owner.id"}}]}, Refused, "field_id_invalid_data", None),
        (400, {}, REFUSED | {"details": {}}, Refused, "invalid_data", None),
        (400, {}, REFUSED | {"code": "AUTHORIZATION_FAILED"}, Unavailable, "login_refused", None),
        (400, {}, {}, Refused, "refused_400", None),
        (403, {}, REFUSED | {"code": "NO_PERMISSION"}, Unavailable, "login_refused", None),
        (404, {}, REFUSED | {"code": "INVALID_URL_PATTERN"}, Unavailable, "path_unknown", None),
        (429, {"retry-after": "9"}, REFUSED | {"code": "TOO_MANY_REQUESTS"}, Unavailable, "rate_limited", 9),
        (429, {}, REFUSED | {"details": {"retry_after": 60}}, Unavailable, "rate_limited", 60),
        (500, {}, REFUSED | {"code": "INTERNAL_ERROR"}, OutcomeUnknown, "server_error", None),
        (201, {}, {"data": []}, OutcomeUnknown, "answer_not_understood", None),
    ],
)  # fmt: skip
async def test_errors(
    there: Zoho,
    status: int,
    headers: dict[str, str],
    error: dict[str, object],
    failure: type[EffectFailure],
    code: str,
    retry_after_s: float | None,
) -> None:
    hanako = await there.world().add("Hanako")
    await there.crm.find_marker("none", workspace_id=ACME)
    there.serving.turned_away = (status, headers, orjson.dumps(error))
    with pytest.raises(EffectFailure) as raised:
        await there.crm.add_activity(activity(), to=hanako, marker="A", workspace_id=ACME)
    assert type(raised.value) is failure
    assert (raised.value.code, getattr(raised.value, "retry_after_s", None)) == (code, retry_after_s)


async def test_a_refusal_while_reading_is_no_record_that_is_gone(there: Zoho) -> None:
    hanako = await there.world().add("Hanako")
    await there.crm.find_marker("none", workspace_id=ACME)
    there.serving.turned_away = (400, {}, orjson.dumps(REFUSED))
    with pytest.raises(Refused, match=r"\Ainvalid_data\Z"):
        await there.crm.add_note(NOTE, to=hanako, marker="N", workspace_id=ACME)


NOTHING = {"status": "success", "details": {"response": {"status_code": 204, "headers": {}, "body": None}}}


def answered(status: int, body: object) -> dict[str, object]:
    return {
        "status": "success",
        "details": {"response": {"status_code": status, "headers": {}, "body": body}},
    }


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (answered(400, {"code": "INVALID_QUERY", "details": {"column_name": "Email"}}), "setup_needed"),
        (answered(401, {"code": "OAUTH_SCOPE_MISMATCH", "details": {}}), "login_refused"),
        (answered(429, {"code": "TOO_MANY_REQUESTS", "details": {}}), "rate_limited"),
        (answered(500, {"code": "INTERNAL_ERROR", "details": {}}), "server_error"),
        (answered(200, {"data": [{"name": "no id"}]}), "answer_not_understood"),
        ({"status": "error", "code": "REQUEST_TIMEOUT", "details": {}}, "timeout"),
        ({"status": "error", "details": {}}, "answer_not_understood"),
    ],
)
async def test_an_error_within_a_composite_request(there: Zoho, part: dict[str, object], code: str) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    body = orjson.dumps({"__composite_requests": [NOTHING, part, NOTHING]})
    there.serving.turned_away = (207, {}, body)
    with pytest.raises(Unavailable, match=rf"\A{code}\Z"):
        await there.crm.find_people("h@example.com", workspace_id=ACME)


@pytest.mark.parametrize(
    "body", [{"code": "REQUEST_TIMEOUT"}, {"__composite_requests": [{"code": "REQUEST_TIMEOUT"}]}]
)
async def test_a_composite_request_that_fails_as_a_whole(there: Zoho, body: dict[str, object]) -> None:
    await there.crm.find_people("h@example.com", workspace_id=ACME)
    there.serving.turned_away = (400, {}, orjson.dumps(body))
    with pytest.raises(Unavailable, match=r"\Atimeout\Z"):
        await there.crm.find_people("h@example.com", workspace_id=ACME)


async def test_an_answer_that_lacks_a_part(there: Zoho) -> None:
    await there.crm.find_people("h@example.com", workspace_id=OTHER)
    there.serving.turned_away = (200, {}, orjson.dumps({"__composite_requests": [NOTHING]}))
    with pytest.raises(Unavailable, match=r"\Aanswer_not_understood\Z"):
        await there.crm.find_people("h@example.com", workspace_id=OTHER)
