"""An agent's side of the cards: the archive's real read API, the API of the cards, and a CRM in memory behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette

from schemas.notices import NoticeCrmConfigured
from services.crm_sync.cards.answers import Answers, Known
from services.crm_sync.cards.api import REQUESTS_MAX, CardApi
from services.crm_sync.cards.archive import Archive, archive_client
from services.crm_sync.cards.card import Cards
from services.crm_sync.connectors.records import Capability
from services.crm_sync.job import Crm
from services.runtime.effects import Downstreams, Limits
from services.runtime.metrics import Metrics
from services.transcript.archive import database
from tests.crm_sync.cabinet import ALL, Cabinet
from tests.crm_sync.material import settings
from tests.crm_sync.ports import KnownSettings
from tests.transcript.company import app_of

NOW_MS = 1_795_000_000_000
EMAIL, RIVAL_EMAIL, LATER = "hanako@example.com", "hanako-RIVAL@example.com", "later@example.com"
CHAT = "sales-ann"
LIMIT_S = 10.0
QUICK = Limits(attempts_max=1, wait_initial_ms=1, failures_to_open=3, open_ms=60_000)


@dataclass(slots=True)
class Desk:
    """An agent's side, and all that stands behind it."""

    http: httpx.AsyncClient
    crm: Cabinet
    answers: Answers[Known]
    known: dict[str, NoticeCrmConfigured]
    cards: Cards
    metrics: Metrics
    clock_s: list[float]

    async def ask(self, who: dict[str, str], *, chat: str = CHAT, workspace: str = "acme") -> httpx.Response:
        return await self.http.get(f"/v1/{workspace}/crm/card", params={"chat": chat}, headers=who)

    async def card(self, who: dict[str, str], *, chat: str = CHAT, workspace: str = "acme") -> dict[str, Any]:
        response = await self.ask(who, chat=chat, workspace=workspace)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@asynccontextmanager
async def a_desk(
    archive: httpx.AsyncBaseTransport, capabilities: frozenset[Capability] = ALL
) -> AsyncIterator[Desk]:
    metrics, crm, clock_s = Metrics(), Cabinet(capabilities), [0.0]
    answers = Answers[Known](clock_s=lambda: clock_s[0])
    known = {"acme": settings(connector="cabinet"), "rival": settings(connector="cabinet")}
    cards = Cards(
        settings=KnownSettings(known),
        crms={
            "cabinet": Crm(
                crm.connector(),
                Downstreams("cabinet", kind="crm", limits=QUICK, metrics=metrics),
                known=answers,
            )
        },
        metrics=metrics,
        now_ms=lambda: NOW_MS,
        clock_s=lambda: clock_s[0],
    )
    async with archive_client(transport=archive) as asking:
        api = CardApi(cards, Archive(asking, url="http://archive", callers_max=REQUESTS_MAX, metrics=metrics))
        app = httpx.ASGITransport(app=Starlette(routes=api.routes()))
        async with httpx.AsyncClient(transport=app, base_url="http://crm") as http:
            yield Desk(http, crm, answers, known, cards, metrics, clock_s)
    await cards.close()


@asynccontextmanager
async def an_archive(url: str) -> AsyncIterator[httpx.AsyncBaseTransport]:
    archive = database.Archive.at(url)
    yield httpx.ASGITransport(app=app_of(archive))
    await archive.close()
