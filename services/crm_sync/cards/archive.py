"""Asks the archive's read API whom a chat is with and what who asks may do, with the token of who asks.

The one rule: the archive decides. Only its yes opens anything; its refusals are passed on in its words, and whatever else it answers
counts as away. The token is sent to it and nowhere else.
"""

from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from schemas.types import CrmRight, Outcome
from services.runtime.effects import Away, Downstream, Limits, Unavailable
from services.runtime.metrics import Metrics
from services.runtime.problems import NotFound, NotNow, Refused

CALL_MS_MAX = 5_000
"""The archive answers such a request by its keys, in milliseconds."""
CONNECTIONS_MAX = 16
RETRY_AFTER_S = 5.0
AWAY = "the archive does not answer"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Rights:
    """How far the rights of who asks go."""

    crm: CrmRight


@dataclass(frozen=True, slots=True)
class ChatVisitor:
    """Whom a chat is with, when and how it ended, if it has, and the rights of who asks."""

    visitor_id: str | None
    email: str | None
    outcome: Outcome | None
    ended_at: AwareDatetime | None
    caller: Rights


@dataclass(frozen=True, slots=True)
class WhoAsks:
    """Who asks."""

    caller: Rights


class _Problem(BaseModel):
    detail: str


_VISITOR = TypeAdapter(ChatVisitor)
_WHO_ASKS = TypeAdapter(WhoAsks)


class Archive:
    """The read API at `url`; `http` sends nothing by itself, such as a proxy's or another site's address. Close `http` after it."""

    def __init__(self, http: httpx.AsyncClient, *, url: str, callers_max: int, metrics: Metrics) -> None:
        self._http = http
        self._url = url
        limits = Limits(
            calls_max=CONNECTIONS_MAX, callers_max=callers_max, call_ms_max=CALL_MS_MAX, attempts_max=1
        )
        self._downstream = Downstream("archive", kind="archive", limits=limits, metrics=metrics)

    async def visitor(self, chat_id: str, *, workspace_id: str, authorization: str) -> ChatVisitor:
        """Return whom a chat is with. Raises Refused, NotFound and NotNow."""
        return await self._ask((workspace_id, "chats", chat_id, "visitor"), authorization, _VISITOR)

    async def who_asks(self, *, workspace_id: str, authorization: str) -> WhoAsks:
        """Return whom the token is for. Raises Refused and NotNow."""
        return await self._ask((workspace_id, "caller"), authorization, _WHO_ASKS)

    async def _ask(self, path: tuple[str, ...], authorization: str, told: TypeAdapter[Found]) -> Found:
        # Two dots would be a way up, and an id may be two dots.
        address = "/".join(quote(each, safe="").replace(".", "%2E") for each in path)

        async def get() -> httpx.Response:
            try:
                response = await self._http.get(
                    f"{self._url}/v1/{address}", headers={"Authorization": authorization}
                )
            except httpx.HTTPError as error:
                raise Unavailable("archive_unreachable") from error
            # Nobody may bring it about by what they ask for that the archive counts as away for all.
            if response.status_code >= 500:
                raise Unavailable(f"archive_{response.status_code}")
            return response

        try:
            return _found(await self._downstream.call(get), told)
        except Away as away:
            raise NotNow(AWAY, retry_after_s=away.retry_s) from None
        except ValidationError:
            raise NotNow(AWAY, retry_after_s=RETRY_AFTER_S) from None


def _found(response: httpx.Response, told: TypeAdapter[Found]) -> Found:
    match response.status_code:
        case 200:
            return told.validate_json(response.content)
        case 401 | 403 as status:
            raise Refused(status, _Problem.model_validate_json(response.content).detail)
        case 404:
            raise NotFound
        case _:
            raise NotNow(AWAY, retry_after_s=RETRY_AFTER_S)


def archive_client(**options: Any) -> httpx.AsyncClient:
    """Return a client that goes where it is told: by no proxy of the environment, and where no answer sends it."""
    return httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=CALL_MS_MAX / 1000,
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        **options,
    )
