"""One account at a vendor, over HTTP: requests with the account's token, typed answers, and what a failure means.

    never reached        Unavailable   address_forbidden, unreachable
    answer lost, 5xx     Unavailable   of what only reads;  OutcomeUnknown of what writes
    401, 403             Unavailable   login_refused, once a token that can be renewed was renewed
    404, 410             Refused       record_gone
    429                  Unavailable   rate_limited, with the pause the vendor asks for
    other 4xx            Refused       refused_400 and so on, or what the vendor's `judge` makes of the answer

The one rule: nothing is sent a second time here, but after a 401, of which every vendor says that nothing happened. An answer is read
into the type that was asked for, and one that does not fit is a lost answer.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from services.crm_sync.connectors.interface import LOGIN_REFUSED, RECORD_GONE, OutcomeUnknown
from services.crm_sync.connectors.requests import SendingTransport
from services.crm_sync.connectors.vendor.logins import Login
from services.crm_sync.connectors.vendor.reach import AddressForbidden, Reach, Resolve
from services.crm_sync.connectors.vendor.tape import Taped
from services.runtime.effects import EffectFailure, Refused, Unavailable
from services.runtime.wall_clock import now_ms

Answer = TypeVar("Answer")
Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Params: TypeAlias = Mapping[str, str | int]

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""No page of records that is asked for comes near it."""
TIME_LIMITS = httpx.Timeout(connect=5, write=10, read=20, pool=10)
"""Together within a call's own limit, so that it is told where a request got stuck."""
PAUSE_S = 1.0
"""After a 429 that does not say how long."""
USER_AGENT = "chat-routing"
CODE_CHARS_MAX = 64
LOGINS_MAX = 2
"""Tokens tried for one request: the one in use, and the one it was renewed to."""
NOTHING: TypeAdapter[None] = TypeAdapter(None)
"""The answer of a request whose answer does not matter."""


class Failed:
    """An answer that is no success, as a vendor's `judge` sees it. `writes`: it answers what would have changed something."""

    def __init__(self, status: int, headers: httpx.Headers, body: bytes, *, writes: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.writes = writes

    def read(self, answer: TypeAdapter[Answer]) -> Answer | None:
        """Return the body as this type, or None where it is something else."""
        try:
            return answer.validate_json(self.body)
        except ValidationError:
            return None

    @property
    def pause_s(self) -> float | None:
        """How long the vendor wants to be left alone, where it says so: Retry-After, in seconds or as a date."""
        said = self.headers.get("retry-after", "")
        if re.fullmatch(r"\d{1,9}(\.\d+)?", said):
            return float(said)
        try:
            at = parsedate_to_datetime(said)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.fromtimestamp(now_ms() / 1000, UTC)).total_seconds())


Judge: TypeAlias = Callable[[Failed], EffectFailure | None]
"""What a vendor means by an answer that is no success; None leaves it to the table above."""


def judged(failed: Failed) -> EffectFailure:
    """Return what an answer means where the vendor says nothing special."""
    match failed.status:
        case 401 | 403:
            return Unavailable(LOGIN_REFUSED)
        case 404 | 410:
            return Refused(RECORD_GONE)
        case 429:
            pause_s = failed.pause_s
            return Unavailable("rate_limited", retry_after_s=PAUSE_S if pause_s is None else pause_s)
        case status if 400 <= status < 500:
            return Refused(f"refused_{status}")
        case status if status >= 500:
            kind = OutcomeUnknown if failed.writes else Unavailable
            return kind("server_error", retry_after_s=failed.pause_s)
    # A redirect: the base URL of the account is not right.
    return Unavailable("redirected")


def refused_field(field: str, problem: str = "invalid") -> Refused:
    """Return the refusal of a field, such as `field_phone_invalid`. Both are the vendor's names, never a value."""
    named = re.sub(r"[^a-z0-9]+", "_", f"field_{field}_{problem}".lower()).strip("_")
    return Refused(named[:CODE_CHARS_MAX])


class Site:
    """The account at `url`, which may have a path in front of all paths. Raises ValueError for a URL that can't be one."""

    def __init__(
        self,
        url: str,
        *,
        login: Login,
        scheme: str = "Bearer",
        headers: Mapping[str, str] | None = None,
        judge: Judge | None = None,
        private_addresses: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        base = httpx.URL(url)
        if base.scheme not in {"https", "http"} or not base.host or base.userinfo or base.query:
            raise ValueError("url: an address such as https://api.example.com is expected")
        self._login = login
        self._scheme = scheme
        self._judge = judge
        self._client = httpx.AsyncClient(
            base_url=base,
            transport=SendingTransport(Taped(Reach(private_addresses=private_addresses, resolve=resolve))),
            # Unpacked sizes can't be bounded before they are unpacked.
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
            | dict(headers or {}),
            timeout=TIME_LIMITS,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()

    async def read(
        self,
        method: Method,
        path: str,
        answer: TypeAdapter[Answer],
        *,
        params: Params | None = None,
        json: Any = None,
    ) -> Answer:
        """Return the answer to what changes nothing. Raises Unavailable and Refused."""
        return await self._asked(method, path, answer, params=params, json=json, writes=False)

    async def write(
        self,
        method: Method,
        path: str,
        answer: TypeAdapter[Answer],
        *,
        params: Params | None = None,
        json: Any = None,
    ) -> Answer:
        """Return the answer to what changes something. Raises Unavailable, Refused and OutcomeUnknown."""
        return await self._asked(method, path, answer, params=params, json=json, writes=True)

    async def _asked(
        self,
        method: Method,
        path: str,
        answer: TypeAdapter[Answer],
        *,
        params: Params | None,
        json: Any,
        writes: bool,
    ) -> Answer:
        token = await self._login.token()
        for _ in range(LOGINS_MAX):
            if token is None:
                break
            request = self._client.build_request(
                method,
                path if token.url is None else f"{token.url.rstrip('/')}/{path.lstrip('/')}",
                params=params,
                json=json,
                headers={"Authorization": f"{self._scheme} {token.access}"},
            )
            got = await exchanged(self._client, request, writes=writes)
            if isinstance(got, bytes):
                return _read(answer, got, writes=writes)
            if got.status != 401:
                raise (self._judge and self._judge(got)) or judged(got)
            token = await self._login.token(turned_away=token.access)
        raise Unavailable(LOGIN_REFUSED)


async def exchanged(client: httpx.AsyncClient, request: httpx.Request, *, writes: bool) -> bytes | Failed:
    """Send one request and return the body of a success, or what failed. Raises Unavailable and OutcomeUnknown."""
    lost = OutcomeUnknown if writes else Unavailable
    try:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise lost("answer_too_long")
        finally:
            await response.aclose()
    except AddressForbidden:
        raise Unavailable("address_forbidden") from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
        raise Unavailable("unreachable") from None
    except httpx.TransportError:
        raise lost("answer_lost") from None
    if response.is_success:
        return bytes(body)
    return Failed(response.status_code, response.headers, bytes(body), writes=writes)


def _read(answer: TypeAdapter[Answer], body: bytes, *, writes: bool) -> Answer:
    try:
        # No body at all stands for nothing: 204.
        return answer.validate_json(body or b"null")
    except ValidationError:
        raise (OutcomeUnknown if writes else Unavailable)("answer_not_understood") from None
