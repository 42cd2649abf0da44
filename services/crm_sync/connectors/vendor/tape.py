"""Exchanges with a vendor on file: recorded with an account once, and played back to the connector without one.

    with recording(folder): …    what is asked and answered meanwhile is written there, one file each
    with playing(folder): …      each request has to be the recorded one, and gets its answer

The one rule: nothing that the vendor said is written down unless it is known to be harmless. Texts the connector sent itself, numbers,
times and what stands under certain keys (`KEPT`) stay; every other text becomes `masked-1`, the same one each time. Logins are on no
tape: played back, everybody is let in.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson

EXCHANGES_MAX = 1_000
"""On one tape."""
_KEPT = (
    "type status category code errorCode errorType field fieldName resource resource_type http_status httpStatus scope "
    "token_type objectTypeId fieldType channel sobject"
)
KEPT = frozenset(_KEPT.split())
"""Keys whose texts come from a closed list of the vendor's."""
HEADERS = ("content-type", "retry-after")
_URL = "https://masked.example.com"
LET_IN = {"access_token": "masked", "expires_in": 3_600, "instance_url": _URL, "api_domain": _URL}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
"""A day alone may be a day of birth."""
_WHEN = re.compile(rf"{_MOMENT.pattern}|\d{{4}}-\d\d-\d\d")
_OF_SCHEMA = re.compile(r"/(properties|describe|settings/fields)(/|$)")
"""Paths whose answers tell of fields, and of nobody: their names stay, since what is asked next is made of them."""
_ID_KEY = re.compile(r".*([iI]d|ID|_ids)|id|logref")
_ID = re.compile(r"[0-9]{1,20}|[A-Za-z0-9]{15,18}")


class TapeDiffers(Exception):
    """The connector asks something else than what was recorded: the vendor's rules or the connector have changed."""


class _Tape(Protocol):
    async def exchange(self, request: httpx.Request, sender: httpx.AsyncBaseTransport, /) -> httpx.Response:
        """Answer a request."""


_running: ContextVar[_Tape | None] = ContextVar("crm_tape", default=None)


class Taped(httpx.AsyncBaseTransport):
    """Sends through `sender`; while a tape runs, it goes through that."""

    def __init__(self, sender: httpx.AsyncBaseTransport) -> None:
        self._sender = sender

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response, at once or once its head is there."""
        tape = _running.get()
        if tape is None:
            return await self._sender.handle_async_request(request)
        return await tape.exchange(request, self._sender)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sender.aclose()


@contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Write all exchanges of this task into an empty folder. Raises OSError, FileExistsError where something is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError("the folder for a recording has to be empty")
    with _runs(_Recorder(folder)):
        yield


@contextmanager
def playing(folder: Path) -> Iterator[None]:
    """Answer all requests of this task from the files. Raises TapeDiffers where one is not the recorded one, or one is left."""
    player = _Player(folder)
    with _runs(player):
        yield
    player.ended()


@contextmanager
def _runs(tape: _Tape) -> Iterator[None]:
    token = _running.set(tape)
    try:
        yield
    finally:
        _running.reset(token)


class _Mask:
    """What stays of texts, and what stands for the others."""

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._masked: dict[str, str] = {}

    def asked(self, value: Any) -> Any:
        """What the connector sends: its own, but for what it has from an answer."""
        match value:
            case str() if _WHEN.fullmatch(value):
                return "when"  # some things are done today
            case str():
                if value not in self._masked:
                    self._own.add(value.casefold())
                return self._masked.get(value, value)
            case list():
                return [self.asked(one) for one in value]
            case dict():
                return {name: self.asked(one) for name, one in value.items()}
            case _:
                return value

    def answered(self, value: Any, key: str = "", *, kept: frozenset[str] = KEPT) -> Any:
        """What the vendor says, without what may be anybody's."""
        match value:
            case str():
                return value if key in kept or self._is_harmless(value, key) else self._mask(value)
            case list():
                return [self.answered(one, key, kept=kept) for one in value]
            case dict():
                return {name: self.answered(one, name, kept=kept) for name, one in value.items()}
            case _:
                return value

    def _is_harmless(self, value: str, key: str) -> bool:
        if value.casefold() in self._own or not value:
            return True
        return bool(_MOMENT.fullmatch(value) or (_ID_KEY.fullmatch(key) and _ID.fullmatch(value)))

    def _mask(self, value: str) -> str:
        number = len(self._masked) + 1
        shape = _URL + "/{}" if value.startswith("https://") else "masked-{}"
        if "@" in value and "://" not in value:
            shape = "masked-{}@example.com"
        return self._masked.setdefault(value, shape.format(number))


def _asked(request: httpx.Request, mask: _Mask) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.url.path,
        "query": mask.asked(dict(request.url.params)),
        "body": mask.asked(orjson.loads(request.content)) if request.content else None,
    }


def _is_login(request: httpx.Request) -> bool:
    return "authorization" not in request.headers or "form" in request.headers.get("content-type", "")


class _Recorder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mask = _Mask()
        self._count = 0

    async def exchange(self, request: httpx.Request, sender: httpx.AsyncBaseTransport, /) -> httpx.Response:
        if _is_login(request):
            return await sender.handle_async_request(request)
        self._count += 1
        if self._count > EXCHANGES_MAX:
            raise ValueError(f"a tape holds {EXCHANGES_MAX} exchanges")
        asked = _asked(request, self._mask)
        response = await sender.handle_async_request(request)
        body = await response.aread()
        headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
        answer = {"status": response.status_code, "headers": headers, "body": self._told(body, request)}
        path = self._folder / f"{self._count:04}.json"
        path.write_bytes(
            orjson.dumps({"asked": asked, "answered": answer}, option=orjson.OPT_INDENT_2) + b"\n"
        )
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body))

    def _told(self, body: bytes, request: httpx.Request) -> Any:
        try:
            said = orjson.loads(body) if body else None
        except orjson.JSONDecodeError:
            return "masked"
        kept = KEPT | {"name", "api_name"} if _OF_SCHEMA.search(request.url.path) else KEPT
        return self._mask.answered(said, kept=kept)


class _Player:
    def __init__(self, folder: Path) -> None:
        self._left = sorted(folder.glob("[0-9]*.json"))
        self._mask = _Mask()

    async def exchange(self, request: httpx.Request, _sender: httpx.AsyncBaseTransport, /) -> httpx.Response:
        if _is_login(request):
            return httpx.Response(200, stream=httpx.ByteStream(orjson.dumps(LET_IN)))
        if not self._left:
            raise TapeDiffers(f"{request.method} {request.url.path} comes after the end of the tape")
        path = self._left.pop(0)
        recorded = orjson.loads(path.read_bytes())
        if _asked(request, self._mask) != recorded["asked"]:
            raise TapeDiffers(f"{path.name}: {request.method} {request.url.path} is not what was recorded")
        answer = recorded["answered"]
        body = b"" if answer["body"] is None else orjson.dumps(answer["body"])
        return httpx.Response(answer["status"], headers=answer["headers"], stream=httpx.ByteStream(body))

    def ended(self) -> None:
        """Say so when the connector asked less than was recorded."""
        if self._left:
            raise TapeDiffers(f"{len(self._left)} exchanges are left, the first is {self._left[0].name}")
