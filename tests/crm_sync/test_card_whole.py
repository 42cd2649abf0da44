"""The card with nothing left out: the archive's API and ours on sockets, the embedded CRM, and agents' requests carried out meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from requests.structures import CaseInsensitiveDict
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from schemas.events import Layouts, Visitor
from schemas.notices import NoticeCrmConfigured
from services.crm_sync.cards.api import REQUESTS_MAX, CardApi
from services.crm_sync.cards.archive import Archive, archive_client
from services.crm_sync.cards.card import Cards
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.job import Crm
from services.crm_sync.store import Store
from services.crm_sync.sync import Sync
from services.crm_sync.waiting import Waiting
from services.runtime.effects import Downstreams
from services.runtime.health import Health, Pages
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.openapi import PREFIX
from services.transcript.api.routes import Api
from services.transcript.archive import database
from tests.crm_sync.material import enveloped, lead_request, settings
from tests.crm_sync.ports import KnownSettings
from tests.crm_sync.scene import NOW_MS, QUICK
from tests.transcript import company
from tests.transcript.company import SECRET, app_of, bearer, of, opened

LIVE = "sales-waiting"
EMAIL = "hanako@example.com"
EXAMPLES = 8


@dataclass
class Whole:
    """What an agent's console and the router see of it."""

    http: httpx.AsyncClient
    crm: EmbeddedCrm
    sync: Sync
    known: dict[str, NoticeCrmConfigured]
    archive: Pages

    async def card(self, agent_id: str, *, language: str = "") -> dict[str, Any]:
        headers = of(agent_id) | {"accept-language": language}
        response = await self.http.get("/v1/acme/crm/card", params={"chat": LIVE}, headers=headers)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def asks(self, number: int, **changes: Any) -> None:
        """Let an agent's request come from the router."""
        visitor = Visitor("visitor", "花子", EMAIL)
        request = lead_request(chat_id=LIVE, request_id=f"r{number}", visitor=visitor, **changes)
        await self.sync.notice(enveloped(request))


def pages(metrics: Metrics, routes: Sequence[BaseRoute]) -> Pages:
    return Pages(host="127.0.0.1", port=0, health=Health(metrics), metrics=metrics, routes=routes)


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[Whole]:
    metrics = Metrics()
    known = {"acme": settings(owner_id="ken", region="JP")}
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(opened(f"sqlite:///{folder}/archive.db"))
        api = Api(archive.engine, secret=SECRET, now_ms=lambda: company.NOW_MS)
        archive_pages = await stack.enter_async_context(pages(Metrics(), api.routes()))
        crm = await EmbeddedCrm.open(f"sqlite:///{folder}/crm.db", now_ms=lambda: NOW_MS)
        stack.push_async_callback(crm.close)
        ledger = await stack.enter_async_context(Ledger(f"sqlite:///{folder}/ledger.db", group="effects"))
        store = await Store.open(f"sqlite:///{folder}/ledger.db")
        stack.push_async_callback(store.close)
        crms = {"embedded": Crm(crm, Downstreams("embedded", kind="crm", limits=QUICK, metrics=metrics))}

        async def nothing_waits(_: Any) -> None:
            return None

        async def write(_workspace_id: str, _value: bytes) -> None:
            return None

        sync = Sync(
            settings=KnownSettings(known),
            turns=store,
            ledger=ledger,
            waiting=Waiting(ledger),
            crms=crms,
            transcript_at=nothing_waits,
            write=write,
            metrics=metrics,
            now_ms=lambda: NOW_MS,
        )
        cards = Cards(settings=KnownSettings(known), crms=crms, metrics=metrics)
        stack.push_async_callback(cards.close)
        asking = await stack.enter_async_context(archive_client())
        address = f"http://127.0.0.1:{archive_pages.port}"
        ours = CardApi(cards, Archive(asking, url=address, callers_max=REQUESTS_MAX, metrics=metrics))
        served = await stack.enter_async_context(pages(metrics, ours.routes()))
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}")
        yield Whole(await stack.enter_async_context(http), crm, sync, known, archive_pages)


async def test_an_agents_token_a_live_chat_and_its_card(tmp_path: Path) -> None:
    async with everything(tmp_path) as whole:
        before = await whole.card("bob")
        assert (before["reason"], before["sections"]) == ("nobody_found", [])
        assert before["actions"]["create_lead"] == {"possible": True, "reason": None, "told": None}
        assert before["actions"]["notify_sales"] == {
            "possible": False,
            "reason": "nobody_found",
            "told": "Nobody in the CRM has this address.",
        }

        await whole.asks(1, kind="lead", value="Wants a quote")
        made = await whole.card("bob")
        assert (made["kind"], made["reason"]) == ("lead", None), "at once, though the card before is kept"
        assert made["actions"]["create_lead"]["reason"] == "already_a_customer"
        told = await whole.card("bob", language="ja-JP,ja;q=0.9,en;q=0.8")
        assert told["actions"]["create_lead"]["told"] == "このメールアドレスはすでにCRMに登録されています。"
        assert told["feed_limit"] == {
            "items_max": 500,
            "told": "フィードで一度に見られるのは最新の500件です（1ページの上限です。絞り込むと古いものも表示できます）。",
        }
        (lead,) = made["sections"]
        values = {one["field"]["name"]: one["value"] for one in lead["fields"]}
        assert (values["name"], values["email"], values["note"]) == ("花子", EMAIL, "Wants a quote")
        assert ("owner" in values, made["owner"], made["record"]) == (False, None, None)
        assert (await whole.card("ann"))["owner"]["id"] == "ken", "who may use the CRM sees whose it is"

        await whole.asks(2, kind="phone", value="03-1234-5678")
        (lead,) = (await whole.card("bob"))["sections"]
        assert "+81312345678" in [one["value"] for one in lead["fields"]]

        await whole.crm.add_field("lead", "plan", "料金プラン", workspace_id="acme")
        whole.known["acme"] = settings(layouts=Layouts(lead=("plan", "gone", "email")))
        for agent_id in ("ann", "bob", "sue", "ada"):
            card = await whole.card(agent_id)
            (lead,) = card["sections"]
            assert [one["field"]["label"] for one in lead["fields"]] == ["料金プラン", "E-mail"]
            assert card["unknown_fields"] == {"lead": ["gone"], "person": [], "company": []}
        fields = (await whole.http.get("/v1/acme/crm/fields", headers=bearer("admin"))).json()
        assert [one["label"] for one in fields["fields"]["lead"] if one["custom"]] == ["料金プラン"]
        assert (await whole.http.get("/v1/acme/crm/fields", headers=of("ann"))).status_code == 403

        await whole.archive.__aexit__()
        away = await whole.http.get("/v1/acme/crm/card", params={"chat": LIVE}, headers=of("ann"))
        assert (away.status_code, away.json()["detail"]) == (503, "the archive does not answer")
        assert int(away.headers["retry-after"]) >= 1


# ---------------------------------------------------------------- the document


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    folder: Path = tmp_path_factory.mktemp("document")
    url = f"sqlite:///{folder}/archive.db"

    async def fill() -> None:
        async with opened(url):
            pass
        crm = await EmbeddedCrm.open(f"sqlite:///{folder}/crm.db")
        await crm.add_person(kind="lead", name="花子", email=EMAIL, marker="seed", workspace_id="acme")
        await crm.close()

    asyncio.run(fill())
    archive, metrics = database.Archive.at(url), Metrics()
    crm = EmbeddedCrm(f"sqlite:///{folder}/crm.db")
    crms = {"embedded": Crm(crm, Downstreams("embedded", kind="crm", limits=QUICK, metrics=metrics))}
    cards = Cards(settings=KnownSettings({"acme": settings()}), crms=crms, metrics=metrics)
    asking = archive_client(transport=httpx.ASGITransport(app=app_of(archive)))
    api = CardApi(cards, Archive(asking, url="http://archive", callers_max=REQUESTS_MAX, metrics=metrics))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await cards.close()
        await crm.close()
        await archive.close()

    app = Starlette(routes=api.routes(), lifespan=lifespan)
    yield schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", app)
    shutdown_lifespans()


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("path", ["/{workspace}/crm/card", "/{workspace}/crm/fields"])
def test_what_is_answered_is_what_the_document_says(
    schema: BaseSchema, path: str, mode: GenerationMode
) -> None:
    @given_settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[PREFIX + path]["GET"].as_strategy(generation_mode=mode))
    def run(case: Case[Any]) -> None:
        headers = bearer("admin")
        for known in (None, "sales-ann", LIVE):
            case.path_parameters = {"workspace": "acme"}
            if known is not None and "chat" in (case.query or {}):
                case.query = {**case.query, "chat": known}
            case.headers = CaseInsensitiveDict(headers)  # instead of a token that was made up
            # What was wrong with the workspace or the chat is right now.
            unjudged: list[CheckFunction] = (
                [negative_data_rejection] if mode is GenerationMode.NEGATIVE else []
            )
            case.validate_response(case.call(), excluded_checks=unjudged, headers=headers)

    run()
