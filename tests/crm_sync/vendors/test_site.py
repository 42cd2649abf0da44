"""The frame of all vendor connectors: what each failure means, and that nothing is sent twice, elsewhere or in the clear."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.vendor.logins import Fixed, Token
from services.crm_sync.connectors.vendor.site import (
    ANSWER_BYTES_MAX,
    NOTHING,
    PAUSE_S,
    Failed,
    Site,
    refused_field,
)
from services.runtime.effects import EffectFailure, Refused, Unavailable
from tests.crm_sync.connector_world import Loss
from tests.crm_sync.vendors.serving import Serving

NUMBERS = TypeAdapter(dict[str, int])


@dataclass
class Vendor:
    """What the next answer is, and what came."""

    answer: Response = field(default_factory=lambda: JSONResponse({"one": 1}))
    tokens: list[str] = field(default_factory=list)
    acted: int = 0

    async def handle(self, request: Request) -> Response:
        self.tokens.append(request.headers["authorization"])
        assert request.headers["user-agent"] == "chat-routing"
        assert request.headers["host"] == request.url.netloc
        self.acted += 1
        return self.answer


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def serving(vendor: Vendor) -> AsyncIterator[Serving]:
    app = Starlette(routes=[Route("/{path:path}", vendor.handle, methods=["GET", "POST"])])
    async with Serving(app, writes=lambda method, _: method == "POST").open() as opened:
        yield opened


@pytest.fixture
async def site(serving: Serving) -> AsyncIterator[Site]:
    opened = Site(f"{serving.url}/api", login=Fixed("t0ken"), private_addresses=True)
    yield opened
    await opened.close()


async def test_asks_with_its_token_and_reads_the_type(site: Site, vendor: Vendor, serving: Serving) -> None:
    assert await site.read("GET", "/v2/things", NUMBERS, params={"a": "b"}) == {"one": 1}
    assert vendor.tokens == ["Bearer t0ken"]
    assert serving.asked == [("GET", "/api/v2/things")]


def _status(status: int, **headers: str) -> Response:
    return JSONResponse(
        {"error": "hanako@example.com"}, status, {k.replace("_", "-"): v for k, v in headers.items()}
    )


LATER = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "read", "write", "code", "pause_s"),
    [
        (_status(301, location="https://evil.example/"), Unavailable, Unavailable, "redirected", None),
        (RedirectResponse("/elsewhere"), Unavailable, Unavailable, "redirected", None),
        (_status(400), Refused, Refused, "refused_400", None),
        (_status(401), Unavailable, Unavailable, "login_refused", None),
        (_status(403), Unavailable, Unavailable, "login_refused", None),
        (_status(404), Refused, Refused, "record_gone", None),
        (_status(410), Refused, Refused, "record_gone", None),
        (_status(422), Refused, Refused, "refused_422", None),
        (_status(429), Unavailable, Unavailable, "rate_limited", PAUSE_S),
        (_status(429, retry_after="17"), Unavailable, Unavailable, "rate_limited", 17),
        (_status(429, retry_after="soon"), Unavailable, Unavailable, "rate_limited", PAUSE_S),
        (_status(429, retry_after=LATER), Unavailable, Unavailable, "rate_limited", 3_600),
        (
            _status(429, retry_after="Sat, 21 Nov 2020 09:00:00 GMT"),
            Unavailable,
            Unavailable,
            "rate_limited",
            0,
        ),
        (_status(500), Unavailable, OutcomeUnknown, "server_error", None),
        (_status(503, retry_after="3"), Unavailable, OutcomeUnknown, "server_error", 3),
        (Response("<html>"), Unavailable, OutcomeUnknown, "answer_not_understood", None),
        (Response(""), Unavailable, OutcomeUnknown, "answer_not_understood", None),
        (JSONResponse({"one": "x"}), Unavailable, OutcomeUnknown, "answer_not_understood", None),
    ],
)
async def test_what_an_answer_means(
    site: Site,
    vendor: Vendor,
    answer: Response,
    read: type[EffectFailure],
    write: type[EffectFailure],
    code: str,
    pause_s: float | None,
) -> None:
    vendor.answer = answer
    for asked, kind in ((site.read("GET", "/x", NUMBERS), read), (site.write("POST", "/x", NUMBERS), write)):
        with pytest.raises(EffectFailure) as failed:
            await asked
        assert type(failed.value) is kind
        assert failed.value.code == code
        said = getattr(failed.value, "retry_after_s", None)
        assert said == (
            None if pause_s is None else pytest.approx(pause_s, abs=1_800 if pause_s == 3_600 else 0)
        )
    assert vendor.acted == 2, "nothing is sent a second time, and no redirect is followed"


async def test_an_answer_without_a_body_is_nothing(site: Site, vendor: Vendor) -> None:
    vendor.answer = Response(status_code=204)
    await site.write("POST", "/x", NOTHING)


async def test_an_answer_without_end_is_cut_off(site: Site, vendor: Vendor) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 * ANSWER_BYTES_MAX // 65_536):
            yield b" " * 65_536

    vendor.answer = StreamingResponse(endless())
    with pytest.raises(OutcomeUnknown, match=r"\Aanswer_too_long\Z"):
        await site.write("POST", "/x", NUMBERS)


@pytest.mark.parametrize(
    ("how", "acted", "code"),
    [
        ("before", 0, "answer_lost"),
        ("after", 1, "answer_lost"),
        ("half", 1, "answer_lost"),
        ("gateway", 1, "server_error"),
    ],
)
async def test_a_lost_answer(
    site: Site, vendor: Vendor, serving: Serving, how: Loss, acted: int, code: str
) -> None:
    serving.loss = how
    with pytest.raises(OutcomeUnknown, match=rf"\A{code}\Z"):
        await site.write("POST", "/x", NUMBERS)
    assert vendor.acted == acted
    assert await site.write("POST", "/x", NUMBERS) == {"one": 1}


async def test_a_vendor_that_is_not_there(serving: Serving) -> None:
    async with Serving(Starlette(), writes=lambda *_: False).open() as other:
        url = other.url
    site = Site(url, login=Fixed("t"), private_addresses=True)
    with pytest.raises(Unavailable, match=r"\Aunreachable\Z"):
        await site.write("POST", "/x", NUMBERS)
    await site.close()


async def test_a_vendor_may_judge_otherwise(serving: Serving, vendor: Vendor) -> None:
    def judge(failed: Failed) -> EffectFailure | None:
        said = failed.read(TypeAdapter(dict[str, str]))
        return None if said is None else refused_field(said["error"])

    site = Site(serving.url, login=Fixed("t"), judge=judge, private_addresses=True)
    vendor.answer = JSONResponse({"error": "Phone_Number"}, 422)
    with pytest.raises(Refused, match=r"\Afield_phone_number_invalid\Z"):
        await site.write("POST", "/x", NUMBERS)
    vendor.answer = Response("?", 422)
    with pytest.raises(Refused, match=r"\Arefused_422\Z"):
        await site.write("POST", "/x", NUMBERS)
    await site.close()


@pytest.mark.parametrize(
    ("name", "problem", "code"),
    [
        ("email", "blank", "field_email_blank"),
        ("/data/custom_fields/Größe", "invalid", "field_data_custom_fields_gr_e_invalid"),
        ("x" * 100, "invalid", "field_" + "x" * 58),
    ],
)
def test_the_code_of_a_field(name: str, problem: str, code: str) -> None:
    assert refused_field(name, problem).code == code


class Rolling:
    """A login whose tokens are numbered."""

    def __init__(self, last: int) -> None:
        self._last = last
        self.now = 1

    async def token(self, *, turned_away: str | None = None) -> Token | None:
        if turned_away == str(self.now):
            self.now += 1
        return Token(str(self.now)) if self.now <= self._last else None


@pytest.mark.parametrize(("good", "last", "tried"), [(1, 9, "1"), (2, 9, "12"), (3, 9, "12"), (3, 1, "1")])
async def test_a_token_is_renewed_once_for_a_request(good: int, last: int, tried: str) -> None:
    tokens = ""

    async def handle(request: Request) -> Response:
        nonlocal tokens
        token = request.headers["authorization"].removeprefix("Zoho-oauthtoken ")
        tokens += token
        return JSONResponse({"one": 1}, 200 if token == str(good) else 401)

    app = Starlette(routes=[Route("/x", handle, methods=["POST"])])
    async with Serving(app, writes=lambda *_: True).open() as strict:
        site = Site(strict.url, login=Rolling(last), scheme="Zoho-oauthtoken", private_addresses=True)
        if str(good) in tried:
            assert await site.write("POST", "/x", NUMBERS) == {"one": 1}
        else:
            with pytest.raises(Unavailable, match=r"\Alogin_refused\Z"):
                await site.write("POST", "/x", NUMBERS)
        await site.close()
    assert tokens == tried


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example.com",
        "api.example.com",
        "https://",
        "https://user:pw@api.example.com",
        "https://a.example/?x",
    ],
)
def test_an_address_that_cannot_be_one(url: str) -> None:
    with pytest.raises(ValueError, match=r"\Aurl: "):
        Site(url, login=Fixed("t"))


async def test_what_was_looked_up_is_what_is_asked(serving: Serving, vendor: Vendor) -> None:
    # The name would lead elsewhere a moment later; it is looked up once for each request, and judged each time.
    answers = iter([["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]])

    async def resolve(host: str, port: int) -> Sequence[str]:
        assert host == "crm.example.com"
        return next(answers)

    port = serving.url.rpartition(":")[2]
    site = Site(f"http://crm.example.com:{port}", login=Fixed("t"), private_addresses=True, resolve=resolve)
    assert await site.read("GET", "/x", NUMBERS) == {"one": 1}
    with pytest.raises(Unavailable, match=r"\Aaddress_forbidden\Z"):
        await site.read("GET", "/x", NUMBERS)
    assert vendor.acted == 1
    await site.close()


async def test_many_at_a_time(site: Site, vendor: Vendor) -> None:
    await asyncio.gather(*(site.write("POST", "/x", NUMBERS) for _ in range(50)))
    assert vendor.acted == 50
