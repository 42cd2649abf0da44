"""How a connector's requests are counted, paced and paused, and what the page says they cost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.crm_sync.connectors.embedded.connector import NAME, EmbeddedCrm
from services.crm_sync.connectors.interface import Connector, Undeclared
from services.crm_sync.connectors.records import Declaration, Found, Person
from services.crm_sync.connectors.requests import OPERATIONS, SendingTransport, counted, sending
from services.runtime.effects import Away, Refused, Unavailable
from services.runtime.metrics import Metrics
from tests.crm_sync.connector_world import World
from tests.crm_sync.embedded_world import EmbeddedOffice
from tests.crm_sync.material import LIMITS
from tests.crm_sync.requests_cases import requests_by_case, told


class Turns:
    """A pace that notes what it was asked."""

    def __init__(self, *, away: bool = False) -> None:
        self.asked: list[str] = []
        self.inside = 0
        self._away = away

    @asynccontextmanager
    async def turn(self, workspace_id: str) -> AsyncIterator[None]:
        if self._away:
            raise Away("crm", retry_s=1)
        self.asked.append(workspace_id)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def told_to_wait(self, workspace_id: str, *, wait_s: float) -> None:
        self.asked.append(f"{workspace_id} waits {wait_s:g} s")


class Asking(Undeclared, Connector):
    """Sends two requests over HTTP for a search, and one in its own way for a marker."""

    def __init__(self, answer: Any) -> None:
        self._http = httpx.AsyncClient(transport=SendingTransport(httpx.MockTransport(answer)))

    @property
    def declared(self) -> Declaration:
        return Declaration("asking", frozenset(), LIMITS)

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:  # noqa: ARG002
        for page in range(2):
            response = await self._http.get(f"http://crm.test/{page}")
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                raise Unavailable("http_429", retry_after_s=float(response.headers["Retry-After"]))
        return ()

    async def find_marker(self, marker: str, **_: Any) -> Found | None:  # noqa: ARG002
        async with sending():
            return None

    async def close(self) -> None:
        await self._http.aclose()


def counts(metrics: Metrics, connector: str) -> dict[str, float]:
    found = {
        name: metrics.value("crm_requests_total", connector=connector, operation=name) for name in OPERATIONS
    }
    return {name: value for name, value in found.items() if value is not None}


async def test_each_request_waits_for_its_turn_and_is_counted_under_the_method_that_needed_it() -> None:
    metrics, turns = Metrics(), Turns()

    async def answer(_request: httpx.Request) -> httpx.Response:
        assert turns.inside == 1
        return httpx.Response(200)

    crm = counted(Asking(answer), pace=turns, metrics=metrics)
    assert crm.declared.name == "asking"
    await asyncio.gather(
        crm.find_people("a@example.com", workspace_id="acme"), crm.find_marker("m", workspace_id="bell")
    )
    assert sorted(turns.asked) == ["acme", "acme", "bell"]
    assert counts(metrics, "asking") == {"find_people": 2, "find_marker": 1}
    with pytest.raises(Refused, match="not_supported"):
        await crm.set_phone("+81312345678", of=None, workspace_id="acme")  # type: ignore[arg-type]
    await crm.close()


async def test_without_a_worker_nobody_waits_and_without_a_pace_requests_are_counted() -> None:
    metrics = Metrics()
    crm = Asking(lambda _request: httpx.Response(200))
    await crm.find_people("a@example.com", workspace_id="acme")
    await counted(crm, pace=None, metrics=metrics).find_people("a@example.com", workspace_id="acme")
    assert counts(metrics, "asking") == {"find_people": 2}
    await crm.close()


async def test_a_pause_that_is_asked_for_is_the_accounts() -> None:
    turns = Turns()
    pausing = httpx.Response(429, headers={"Retry-After": "30"})
    crm = counted(Asking(lambda _request: pausing), pace=turns, metrics=Metrics())
    with pytest.raises(Unavailable, match="http_429"):
        await crm.find_people("a@example.com", workspace_id="acme")
    assert turns.asked == ["acme", "acme waits 30 s"]
    await crm.close()


async def test_what_has_no_turn_is_not_sent() -> None:
    metrics = Metrics()
    crm = counted(Asking(lambda _request: pytest.fail("sent")), pace=Turns(away=True), metrics=metrics)
    with pytest.raises(Away):
        await crm.find_people("a@example.com", workspace_id="acme")
    assert counts(metrics, "asking") == {}
    await crm.close()


async def test_the_page_says_what_the_embedded_crm_is_asked(tmp_path: Path) -> None:
    crm = await EmbeddedCrm.open(f"sqlite:///{tmp_path}/crm.db")
    try:
        world = World(crm, EmbeddedOffice(crm))
        assert await requests_by_case(world, tmp_path) == told(NAME)
    finally:
        await crm.close()
