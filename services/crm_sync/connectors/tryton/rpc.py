"""One account of a Tryton server: its session, its requests, and what their failures mean.

    POST <url>/<database>/rpc/   {"id", "method", "params": […, context]}
    Authorization: Session base64(user:id:key)

The one rule: Tryton answers with HTTP 200 whatever it thinks of a request. What it turns down itself has not happened; what fails in
it in another way may have, where it writes.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn

import httpx
from pydantic import SecretStr, TypeAdapter

from services.crm_sync.connectors.interface import LOGIN_REFUSED, OutcomeUnknown
from services.crm_sync.connectors.requests import SendingTransport
from services.crm_sync.connectors.vendor.logins import Token
from services.crm_sync.connectors.vendor.reach import Reach
from services.crm_sync.connectors.vendor.site import (
    TIME_LIMITS,
    USER_AGENT,
    Failed,
    Site,
    exchanged,
    judged,
)
from services.runtime.effects import EffectFailure, Refused, Transient, Unavailable

LOGIN_PAUSE_S = 75.0
"""Between two logins that were refused. Tryton takes no more after 5 within 5 minutes, and counts those it did not look at as well."""
CONTEXT = ("company", "companies", "company_filter", "employee", "language")
"""What of the user's preferences goes with each request: Tryton's record rules and defaults ask for them."""


@dataclass(frozen=True, slots=True)
class TrytonAccount:
    """Where a Tryton is and who logs in there. The user needs the group "Sale Opportunity", and no more."""

    url: str
    database: str
    user: str
    password: SecretStr

    @property
    def path(self) -> str:
        """Where requests go to."""
        return f"/{self.database}/rpc/"


class NotTaken(Refused):
    """Tryton does not take this: a field, a missing record, a rule. What it says quotes values, so it is not passed on."""

    def __init__(self) -> None:
        super().__init__("not_taken")


@dataclass(frozen=True, slots=True)
class _Answer:
    result: Any = None
    error: tuple[Any, ...] | None = None


_ANSWER = TypeAdapter(_Answer)


class TrytonRpc:
    """Requests under one account. All callers share one session; `now_s` is any clock that only goes forward."""

    def __init__(self, account: TrytonAccount, *, now_s: Callable[[], float] = monotonic) -> None:
        self._path = account.path
        # A Tryton is mostly one's own, and its address comes from whoever runs this.
        self._site = Site(
            account.url,
            login=_Login(account, now_s=now_s),
            scheme="Session",
            judge=_judge,
            private_addresses=True,
        )
        self.alone = asyncio.Lock()
        """For what Tryton can't do twice at the same moment."""
        self._context: dict[str, Any] | None = None
        self._asking_context = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._site.close()

    async def search(
        self, model: str, domain: Sequence[Any], fields: Sequence[str], *, records_max: int
    ) -> list[dict[str, Any]]:
        """Return these fields of the records that fit, the newest first."""
        params = [domain, 0, records_max, [["id", "DESC"]], list(fields), await self.context()]
        found: list[dict[str, Any]] = await self._read(f"model.{model}.search_read", params)
        return found

    async def create(self, model: str, values: dict[str, Any]) -> int:
        """Return the id of the new record."""
        (new,) = await self._write(f"model.{model}.create", [[values], await self.context()])
        return int(new)

    async def change(self, model: str, number: int, values: dict[str, Any]) -> None:
        """Give a record other values."""
        await self._write(f"model.{model}.write", [[number], values, await self.context()])

    async def context(self) -> dict[str, Any]:
        """Return the user's own context, which is asked for once."""
        async with self._asking_context:
            if self._context is None:
                told = await self._read("model.res.user.get_preferences", [True, {}])
                context = {name: told[name] for name in CONTEXT if told.get(name) is not None}
                if "company" not in context:
                    raise Unavailable("user_without_company")
                self._context = context
            return self._context

    async def _read(self, method: str, params: Sequence[Any]) -> Any:
        asked = _asked(method, params)
        return _result(await self._site.read("POST", self._path, _ANSWER, json=asked), writes=False)

    async def _write(self, method: str, params: Sequence[Any]) -> Any:
        asked = _asked(method, params)
        return _result(await self._site.write("POST", self._path, _ANSWER, json=asked), writes=True)


class _Login:
    """The session all callers share: one of them logs in, the others wait for it."""

    def __init__(self, account: TrytonAccount, *, now_s: Callable[[], float]) -> None:
        self._account = account
        self._now_s = now_s
        self._session: Token | None = None
        self._logging_in = asyncio.Lock()
        self._not_before_s = float("-inf")

    async def token(self, *, turned_away: str | None = None) -> Token | None:
        """Return the session, or a new one instead of the one that was turned away. Raises Unavailable."""
        async with self._logging_in:
            if self._session is None or self._session.access == turned_away:
                self._session = None
                self._session = await self._new_session()
            return self._session

    async def _new_session(self) -> Token:
        if self._now_s() < self._not_before_s:
            raise Unavailable(LOGIN_REFUSED)
        got = await self._log_in()
        if isinstance(got, Failed) and not _turns_login_away(got):
            raise _judge(got) or judged(got)
        session = None if isinstance(got, Failed) else _session(got)
        if session is None:
            self._not_before_s = self._now_s() + LOGIN_PAUSE_S
            raise Unavailable(LOGIN_REFUSED)
        return Token(b64encode(f"{self._account.user}:{session}".encode()).decode())

    async def _log_in(self) -> bytes | Failed:
        account = self._account
        reach = Reach(private_addresses=True)
        async with httpx.AsyncClient(transport=SendingTransport(reach), timeout=TIME_LIMITS) as client:
            request = client.build_request(
                "POST",
                f"{account.url}{account.path}",
                json=_asked(
                    "common.db.login", [account.user, {"password": account.password.get_secret_value()}]
                ),
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            )
            return await exchanged(client, request, writes=False)


def _turns_login_away(failed: Failed) -> bool:
    """Whether Tryton refuses this login, or any after too many such; a gateway that limits rates says until when."""
    return failed.status == httpx.codes.UNAUTHORIZED or (
        failed.status == httpx.codes.TOO_MANY_REQUESTS and failed.pause_s is None
    )


def _session(got: bytes) -> str | None:
    """Return the user's number and the key; None where Tryton wants more than a password."""
    try:
        user_id, key, _ = _ANSWER.validate_json(got).result
    except (TypeError, ValueError):
        return None
    return f"{user_id}:{key}"


def _asked(method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": params}


def _result(answer: _Answer, *, writes: bool) -> Any:
    return answer.result if answer.error is None else _fail(answer.error, writes=writes)


def _fail(error: tuple[Any, ...], *, writes: bool) -> NoReturn:
    match error:
        case ("UserError" | "UserWarning" | "LoginException", *_):
            raise NotTaken
        case ("ConcurrencyException", *_):
            raise Transient("changed_meanwhile")
        case _:
            # An exception of the server, about this request. What it does after its transaction may fail as well.
            raise (OutcomeUnknown if writes else Transient)("server_failed")


def _judge(failed: Failed) -> EffectFailure | None:
    match failed.status:
        case httpx.codes.FORBIDDEN:
            return Refused("access_denied")
        case httpx.codes.NOT_FOUND:
            # An address or a database that is not there will be put right, and nothing is lost meanwhile.
            return Unavailable("database_unknown")
        case _:
            return None
