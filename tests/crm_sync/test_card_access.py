"""Who gets a card, and what they are told while the archive or the CRM is away."""

import asyncio
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas.events import Layouts
from services.runtime.effects import Limits, Refused, Transient, Unavailable
from services.transcript.api.access import Role
from tests.crm_sync.desk import (
    CHAT,
    EMAIL,
    LATER,
    QUICK,
    RIVAL_EMAIL,
    Desk,
    a_desk,
    an_archive,
)
from tests.crm_sync.material import settings
from tests.transcript.company import bearer, of

# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("header", "status", "told"),
    [
        ({}, 401, "a bearer token was expected"),
        ({"authorization": "Bearer nonsense"}, 401, "not one of this installation"),
        ({"authorization": "Bearer " + "x" * 4_000}, 401, "not one of this installation"),
        ({"authorization": "Bearer " + "x" * 10_000}, 401, "a bearer token was expected"),
        ({"authorization": "Bearer \x01"}, 401, "a bearer token was expected"),
        (bearer("admin", for_ms=0), 401, "expired"),
        (bearer("visitor"), 403, "may not read this"),
        (bearer("agent", "nobody"), 403, "not known"),
        (bearer("agent", "ann", workspace_id="rival"), 403, "another workspace"),
    ],
)
async def test_what_the_archive_refuses_is_refused_in_its_words(
    desk: Desk, header: dict[str, str], status: int, told: str
) -> None:
    for path in ("card?chat=sales-ann", "fields"):
        response = await desk.http.get(f"/v1/acme/crm/{path}", headers=header)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert told in response.json()["detail"]
        assert ("www-authenticate" in response.headers) is (status == 401)
    assert not desk.crm.calls


async def test_a_token_of_other_letters_is_none(desk: Desk) -> None:
    header = [(b"authorization", "Bearer 花子".encode())]
    response = await desk.http.get("/v1/acme/crm/card?chat=sales-ann", headers=header)
    assert response.status_code == 401


async def test_a_chat_nobody_knows(desk: Desk) -> None:
    for chat in ("nowhere", "..", ".", "../../acme/caller", "sales-ann/../sales-ann"):
        assert (await desk.ask(of("ann"), chat=chat)).status_code == 404
    for workspace in ("..", ".", "%2E%2E", "acme%2Fchats"):
        path = f"/v1/{workspace}/crm/card?chat=.."
        assert (await desk.http.get(path, headers=of("ann"))).status_code in (403, 404)
    assert not desk.crm.calls


CALLERS: list[tuple[Role, str | None]] = [
    ("visitor", None),
    ("agent", "ann"),
    ("supervisor", "sue"),
    ("admin", "ada"),
    ("admin", None),
]


@given_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    caller=st.sampled_from(CALLERS),
    mine=st.sampled_from(["acme", "rival"]),
    asked=st.one_of(st.sampled_from(["acme", "rival", "acme/rival", ".."]), st.text(min_size=1, max_size=20)),
    chat=st.one_of(
        st.sampled_from([CHAT, "support-bob-now", "sales-ann-RIVAL/ #?%2F\n"]), st.text(max_size=20)
    ),
)
def test_no_token_gets_anything_of_another_workspace(
    archive_url: str, caller: tuple[Role, str | None], mine: str, asked: str, chat: str
) -> None:
    async def ask() -> None:
        async with an_archive(archive_url) as archive, a_desk(archive) as desk:
            for email, workspace in (
                (EMAIL, "acme"),
                (LATER, "acme"),
                (RIVAL_EMAIL, "rival"),
                (EMAIL, "rival"),
            ):
                desk.crm.add(email, workspace_id=workspace)
            role, agent_id = caller
            who = bearer(role, agent_id, workspace_id=mine)
            for path, params in (("card", {"chat": chat}), ("fields", {})):
                address = f"/v1/{quote(asked, safe='')}/crm/{path}"
                response = await desk.http.get(address, params=params, headers=who)
                if asked != mine:
                    assert response.status_code in (400, 403, 404)
                    assert not desk.crm.calls
                if response.status_code == 200:
                    other = {"acme": "rival-lead", "rival": "acme-lead"}[mine]
                    assert other not in response.text

    asyncio.run(ask())


async def test_nothing_of_a_person_and_no_token_is_logged(desk: Desk) -> None:
    desk.crm.add(EMAIL, workspace_id="acme")
    desk.known["acme"] = settings(connector="cabinet", layouts=Layouts(lead=("secret name",)))
    with capture_logs() as logs:
        assert (await desk.ask(of("ann"))).status_code == 200
        desk.answers.forget(EMAIL, workspace_id="acme")
        desk.crm.trouble = Unavailable("http_503")
        assert (await desk.ask(of("ann"))).status_code == 503
        await desk.ask({"authorization": "Bearer nonsense"})
    assert [one["event"] for one in logs] == ["card_fields_unknown", "downstream_unavailable"]
    told = repr(logs)
    for private in (of("ann")["authorization"].partition(" ")[2], EMAIL, CHAT, "花子", "secret name"):
        assert private not in told


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("trouble", [Unavailable("http_503"), Transient("http_409")])
async def test_while_the_crm_is_away_who_asks_is_told_when_to_come_again(
    desk: Desk, trouble: Exception
) -> None:
    desk.crm.trouble = trouble
    response = await desk.ask(of("ann"))
    assert (response.status_code, response.json()["detail"]) == (503, "the CRM does not answer")
    assert int(response.headers["retry-after"]) >= 1
    desk.crm.trouble = None
    assert (await desk.card(of("ann")))["reason"] == "nobody_found"


async def test_a_crm_that_stays_away_is_left_alone(desk: Desk) -> None:
    desk.crm.trouble = Unavailable("http_503")
    for _ in range(QUICK.failures_to_open + 3):
        assert (await desk.ask(of("ann"))).status_code == 503
    assert len(desk.crm.calls) == QUICK.failures_to_open
    assert int((await desk.ask(of("ann"))).headers["retry-after"]) > 1
    desk.crm.trouble = None
    assert (await desk.ask(of("ann"))).status_code == 503
    rival = bearer("agent", "ann", workspace_id="rival")
    assert (await desk.card(rival, workspace="rival"))["reason"] == "nobody_found", "its account is another"


async def test_what_the_crm_refuses_is_the_reason(desk: Desk) -> None:
    desk.crm.trouble = Refused("access_denied")
    card = await desk.card(of("ann"))
    assert (card["reason"], card["sections"]) == ("access_denied", [])
    assert {one["reason"] for one in card["actions"].values()} == {"access_denied"}


class Broken(httpx.AsyncBaseTransport):
    """An archive that answers the same whatever it is asked."""

    def __init__(self, answer: httpx.Response | Exception) -> None:
        self._answer = answer
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await request.aread()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


YES = {"visitor_id": "v", "email": EMAIL, "outcome": None, "ended_at": None}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut off"),
        httpx.Response(500),
        httpx.Response(503, headers={"Retry-After": "60"}),
        httpx.Response(429),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        httpx.Response(204),
        httpx.Response(431),
        httpx.Response(200),
        httpx.Response(200, json={}),
        httpx.Response(200, json=YES),
        httpx.Response(200, json=YES | {"caller": {"crm": "everything"}}),
        httpx.Response(200, json=[YES]),
        httpx.Response(200, text="<html>"),
        httpx.Response(403, text="<html>"),
    ],
)
async def test_only_the_archives_yes_opens_a_card(answer: httpx.Response | Exception) -> None:
    archive = Broken(answer)
    async with a_desk(archive) as desk:
        desk.crm.add(EMAIL, workspace_id="acme")
        for path in ("card?chat=sales-ann", "fields"):
            response = await desk.http.get(f"/v1/acme/crm/{path}", headers=of("ann"))
            assert (response.status_code, response.json()["detail"]) == (503, "the archive does not answer")
            assert int(response.headers["retry-after"]) >= 1
        assert archive.asked == 2
        assert not desk.crm.calls


@pytest.mark.parametrize("status", [200, 302, 400, 429, 431])
async def test_nobody_can_make_the_archive_count_as_away_by_what_they_ask_for(status: int) -> None:
    archive = Broken(httpx.Response(status))
    async with a_desk(archive) as desk:
        for _ in range(20):
            assert (await desk.ask(of("ann"))).status_code == 503
        assert archive.asked == 20


async def test_an_archive_that_is_away_is_left_alone() -> None:
    archive = Broken(httpx.ConnectError("refused"))
    async with a_desk(archive) as desk:
        for _ in range(20):
            assert (await desk.ask(of("ann"))).status_code == 503
        assert archive.asked == Limits().failures_to_open
