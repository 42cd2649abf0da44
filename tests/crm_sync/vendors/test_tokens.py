"""Renewed tokens: one renewal for all workers, kept sealed, and none lost to a worker that died."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl

import pytest
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.crm_sync.connectors.vendor.grants import Grant
from services.crm_sync.connectors.vendor.logins import RENEWED_EARLY_MS, Renewed, Token
from services.crm_sync.connectors.vendor.tokens import LEASE_MS, TokenRow, Tokens
from services.runtime.database import open_async
from services.runtime.effects import EffectFailure, Unavailable
from tests.crm_sync.vendors.serving import Serving

HOUR_MS = 3_600_000


@dataclass
class Clock:
    ms: int = 1_000_000_000_000

    def __call__(self) -> int:
        return self.ms


@dataclass
class Vendor:
    """Gives token after token, each good for an hour; a refresh token is good once."""

    given: int = 0
    asked_with: list[str | None] = field(default_factory=list)

    async def renew(self, last: Token | None) -> Token:
        self.asked_with.append(None if last is None else last.refresh)
        self.given += 1
        await asyncio.sleep(0)
        return Token(
            f"secret-{self.given}", 1_000_000_000_000 + self.given * HOUR_MS, f"refresh-{self.given}"
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workers(database_url: str, clock: Clock) -> AsyncIterator[list[Tokens]]:
    async with AsyncExitStack() as stack:
        opened = [await Tokens.open(database_url, now_ms=clock) for _ in range(3)]
        for one in opened:
            stack.push_async_callback(one.close)
        yield opened


def login(kept: Tokens, vendor: Vendor, clock: Clock, credentials: str = "id and secret") -> Renewed:
    return Renewed(credentials, renew=vendor.renew, kept=kept, now_ms=clock)


async def test_many_callers_of_many_workers_make_one_renewal(workers: list[Tokens], clock: Clock) -> None:
    vendor = Vendor()
    logins = [login(one, vendor, clock) for one in workers]
    for number in (1, 2):
        got = await asyncio.gather(*(one.token() for one in logins for _ in range(10)))
        assert {one.access for one in got if one is not None} == {f"secret-{number}"}
        assert len(got) == 30
        clock.ms += HOUR_MS - RENEWED_EARLY_MS
    assert vendor.asked_with == [None, "refresh-1"], "the new refresh token is the one to ask with"


async def test_a_token_that_was_turned_away_is_renewed_once(workers: list[Tokens], clock: Clock) -> None:
    vendor = Vendor()
    logins = [login(one, vendor, clock) for one in workers]
    await asyncio.gather(*(one.token() for one in logins))
    got = await asyncio.gather(*(one.token(turned_away="secret-1") for one in logins for _ in range(10)))
    assert {one.access for one in got if one is not None} == {"secret-2"}
    assert vendor.given == 2


async def test_a_new_process_goes_on_with_what_is_kept(workers: list[Tokens], clock: Clock) -> None:
    vendor = Vendor()
    await login(workers[0], vendor, clock).token()
    again = await login(workers[1], vendor, clock).token()
    assert again == Token("secret-1", 1_000_000_000_000 + HOUR_MS, "refresh-1")
    assert vendor.given == 1


async def test_what_is_kept_opens_with_the_credentials_alone(
    workers: list[Tokens], clock: Clock, database_url: str
) -> None:
    vendor = Vendor()
    await login(workers[0], vendor, clock).token()
    engine = open_async(database_url)
    async with engine.begin() as connection:
        ((name, sealed),) = (await connection.execute(select(TokenRow.credentials, TokenRow.sealed))).all()
    await engine.dispose()
    for secret in ("secret-1", "refresh-1", "id and secret"):
        assert secret not in f"{name} {sealed}"
    other = await login(workers[0], vendor, clock, credentials="id and another secret").token()
    assert other is not None
    assert other.access == "secret-2"


async def test_a_renewal_that_fails_is_tried_again_by_the_next(workers: list[Tokens], clock: Clock) -> None:
    async def revoked(last: Token | None) -> Token:
        raise Unavailable("login_refused")

    failing = Renewed("id and secret", renew=revoked, kept=workers[0], now_ms=clock)
    with pytest.raises(Unavailable, match="login_refused"):
        await failing.token()
    got = await login(workers[1], Vendor(), clock).token()
    assert got is not None
    assert got.access == "secret-1"


async def test_a_worker_that_died_renewing_is_waited_for_as_long_as_its_lease(
    workers: list[Tokens], clock: Clock
) -> None:
    begun = asyncio.Event()

    async def never(last: Token | None) -> Token:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    dying = asyncio.create_task(Renewed("id and secret", renew=never, kept=workers[0], now_ms=clock).token())
    await begun.wait()
    vendor = Vendor()
    waiting = asyncio.create_task(login(workers[1], vendor, clock).token())
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    clock.ms += LEASE_MS
    got = await waiting
    assert got is not None
    assert vendor.given == 1
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    # What the dead one puts back is of an older version, and changes nothing.
    assert await login(workers[2], vendor, clock).token() == got


# ---------------------------------------------------------------- the vendor's endpoint

FORM = {"grant_type": "refresh_token", "client_id": "me", "client_secret": "hush", "refresh_token": "first"}


@pytest.mark.parametrize(
    ("answer", "names_api", "expected"),
    [
        ({"access_token": "a", "expires_in": 3600}, None, Token("a", HOUR_MS, "first")),
        ({"access_token": "a", "refresh_token": "next"}, None, Token("a", None, "next")),
        (
            {"access_token": "a", "instance_url": "https://x.example"},
            "instance_url",
            Token("a", None, "first", "https://x.example"),
        ),
        (
            {"access_token": "a", "api_domain": "https://x.example"},
            "api_domain",
            Token("a", None, "first", "https://x.example"),
        ),
        ({"access_token": "a", "api_domain": "https://x.example"}, None, Token("a", None, "first")),
    ],
)
async def test_a_grant(
    answer: dict[str, object], names_api: Literal["instance_url", "api_domain"] | None, expected: Token
) -> None:
    forms = []

    async def handle(request: Request) -> Response:
        forms.append(dict(parse_qsl((await request.body()).decode())))
        return JSONResponse(answer)

    app = Starlette(routes=[Route("/oauth2/token", handle, methods=["POST"])])
    async with Serving(app, writes=lambda *_: False).open() as serving:
        grant = Grant(
            url=f"{serving.url}/oauth2/token",
            form=FORM,
            names_api=names_api,
            private_addresses=True,
            now_ms=lambda: 0,
        )
        assert await grant.token(None) == expected
        await grant.token(Token("old", refresh="second"))
    assert forms == [FORM, FORM | {"refresh_token": "second"}]


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, {"error": "invalid_grant"}, "login_refused"),
        (401, {"error": "invalid_client"}, "login_refused"),
        (200, {"error": "invalid_code"}, "login_refused"),
        (302, {}, "login_refused"),
        (429, {}, "rate_limited"),
        (503, {}, "server_error"),
    ],
)
async def test_a_grant_that_is_not_given(status: int, answer: dict[str, str], code: str) -> None:
    async def handle(request: Request) -> Response:
        return JSONResponse(answer, status, {"location": "https://evil.example"})

    app = Starlette(routes=[Route("/", handle, methods=["POST"])])
    async with Serving(app, writes=lambda *_: False).open() as serving:
        grant = Grant(url=serving.url, form=FORM, private_addresses=True)
        with pytest.raises(EffectFailure) as failed:
            await grant.token(None)
    assert isinstance(failed.value, Unavailable)
    assert failed.value.code == code


def test_credentials_differ_wherever_a_part_does() -> None:
    grants = [
        Grant(url="https://a.example", form=FORM),
        Grant(url="https://b.example", form=FORM),
        Grant(url="https://a.example", form=FORM | {"refresh_token": "other"}),
        Grant(url="https://a.example", form=FORM, basic=("me", "hush")),
    ]
    assert len({one.credentials for one in grants}) == len(grants)
