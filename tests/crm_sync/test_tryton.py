"""What each of Tryton's answers means, against a server that says it; `make test-crm` has the connector talk to a real Tryton."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.interface import LOGIN_REFUSED, OutcomeUnknown
from services.crm_sync.connectors.tryton.connector import TrytonCrm
from services.crm_sync.connectors.tryton.rpc import LOGIN_PAUSE_S, NotTaken, TrytonAccount, TrytonRpc
from services.runtime.effects import EffectFailure, Refused, Transient, Unavailable
from tests.crm_sync.vendors.serving import Serving


@dataclass
class Desk:
    """A server that speaks as Tryton does: its sessions, and what it says next to anything but logins."""

    sessions: set[str] = field(default_factory=set)
    says: Response | None = None
    login_says: Response | None = None
    asked: list[Any] = field(default_factory=list)
    company: int | None = 1

    async def handle(self, request: Request) -> Response:
        asked = await request.json()
        self.asked.append(asked)
        if asked["method"] == "common.db.login":
            if self.login_says is not None:
                return self.login_says
            key = f"key{len(self.asked)}"
            self.sessions.add(key)
            return JSONResponse({"id": 1, "result": [7, key, None]})
        kind, _, token = request.headers["authorization"].partition(" ")
        user, user_id, key = b64decode(token).decode().split(":")
        assert (kind, user, user_id) == ("Session", "chat", "7")
        if key not in self.sessions:
            return Response(status_code=401)
        if asked["method"].endswith("get_preferences"):
            told: dict[str, Any] = {
                "company": self.company,
                "companies": [1],
                "language": "en",
                "locale": {},
                "employee": None,
            }
            return JSONResponse({"id": 1, "result": told})
        return self.says or JSONResponse({"id": 1, "result": [5]})

    def methods(self) -> list[str]:
        return [one["method"] for one in self.asked]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def rpc(desk: Desk, clock: Clock) -> AsyncIterator[TrytonRpc]:
    app = Starlette(routes=[Route("/acme/rpc/", desk.handle, methods=["POST"])])
    async with Serving(app, writes=lambda *_: False).open() as serving:
        made = TrytonRpc(TrytonAccount(serving.url, "acme", "chat", SecretStr("word")), now_s=clock)
        yield made
        await made.close()


async def test_one_login_and_one_look_at_the_preferences_serve_all(rpc: TrytonRpc, desk: Desk) -> None:
    await asyncio.gather(*(rpc.create("ir.note", {}) for _ in range(8)))
    assert desk.methods().count("common.db.login") == 1
    assert desk.methods().count("model.res.user.get_preferences") == 1
    assert desk.asked[0]["params"] == ["chat", {"password": "word"}]
    assert desk.asked[-1] == {
        "id": 1,
        "method": "model.ir.note.create",
        "params": [[{}], {"company": 1, "companies": [1], "language": "en"}],
    }


async def test_a_session_that_ended_is_renewed_once_for_all(rpc: TrytonRpc, desk: Desk) -> None:
    await rpc.create("ir.note", {})
    desk.sessions.clear()
    assert await asyncio.gather(*(rpc.create("ir.note", {}) for _ in range(8))) == [5] * 8
    assert desk.methods().count("common.db.login") == 2


def business(*error: Any) -> Response:
    return JSONResponse({"id": 1, "error": list(error)})


UNDERSTOOD = [
    (business("UserError", ["A value of Hanako's", "", None]), NotTaken, NotTaken, "not_taken"),
    (business("UserWarning", ["name", "Hanako", ""]), NotTaken, NotTaken, "not_taken"),
    (business("ConcurrencyException", "Hanako"), Transient, Transient, "changed_meanwhile"),
    (business("'hanako'", ""), Transient, OutcomeUnknown, "server_failed"),
    (Response(status_code=403), Refused, Refused, "access_denied"),
    (Response(status_code=404), Unavailable, Unavailable, "database_unknown"),
    (Response(status_code=413), Refused, Refused, "refused_413"),
    (Response(status_code=503), Unavailable, OutcomeUnknown, "server_error"),
    (Response("<p>Hello</p>"), Unavailable, OutcomeUnknown, "answer_not_understood"),
]


@pytest.mark.parametrize(("says", "reading", "writing", "code"), UNDERSTOOD)
async def test_what_an_answer_means(
    rpc: TrytonRpc,
    desk: Desk,
    says: Response,
    reading: type[EffectFailure],
    writing: type[EffectFailure],
    code: str,
) -> None:
    await rpc.context()
    desk.says = says
    with pytest.raises(EffectFailure) as read:
        await rpc.search("party.party", [], ["id"], records_max=1)
    with pytest.raises(EffectFailure) as written:
        await rpc.create("ir.note", {})
    assert (type(read.value), read.value.code) == (reading, code)
    assert (type(written.value), written.value.code) == (writing, code)


@pytest.mark.parametrize(
    "says",
    [
        Response(status_code=401),
        Response(status_code=429),
        business("LoginException", ["code", "Code?", "char"]),
    ],
)
async def test_a_refused_login_is_not_tried_again_at_once(
    rpc: TrytonRpc, desk: Desk, clock: Clock, says: Response
) -> None:
    desk.login_says = says
    for _ in range(3):
        with pytest.raises(Unavailable, match=rf"\A{LOGIN_REFUSED}\Z"):
            await rpc.create("ir.note", {})
    assert len(desk.asked) == 1
    desk.login_says = None
    clock.now_s += LOGIN_PAUSE_S
    assert await rpc.create("ir.note", {}) == 5


async def test_who_may_work_in_no_company_is_told_so(rpc: TrytonRpc, desk: Desk) -> None:
    desk.company = None
    with pytest.raises(Unavailable, match=r"\Auser_without_company\Z"):
        await rpc.create("ir.note", {})


async def test_a_workspace_without_an_account_is_refused() -> None:
    crm = TrytonCrm({})
    with pytest.raises(Refused, match=r"\Ano_account\Z"):
        await crm.find_people("h@example.com", workspace_id="acme")
    await crm.close()


@pytest.mark.parametrize(
    ("kind", "number"), [("lead", "１"), ("lead", "-1"), ("ticket", "1"), ("contact", "")]
)
async def test_what_is_no_record_of_tryton_is_gone(kind: str, number: str) -> None:
    account = TrytonAccount("http://127.0.0.1:1", "acme", "chat", SecretStr("word"))
    crm = TrytonCrm({"acme": account})
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await crm.set_phone("+81312345678", of=CrmRecord(kind, number), workspace_id="acme")
    await crm.close()
