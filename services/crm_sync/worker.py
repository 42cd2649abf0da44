"""The process of crm_sync: reads transcripts and notices, asks the CRM, writes what became of it.

The one rule: this is the composition root; everything is built here, inside the loop, and nothing at import.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial

from starlette.routing import BaseRoute

from schemas import codec, topics
from services.crm_sync.accounts import Accounts, of_kind
from services.crm_sync.admission import Admission, room_in
from services.crm_sync.cards.answers import QUESTIONS_MAX
from services.crm_sync.cards.api import REQUESTS_MAX, CardApi
from services.crm_sync.cards.archive import Archive, archive_client
from services.crm_sync.cards.card import Cards
from services.crm_sync.configuration import Configuration
from services.crm_sync.connectors.embedded.connector import NAME as EMBEDDED
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.hubspot.api import HubspotAccount
from services.crm_sync.connectors.hubspot.connector import CONNECTOR as HUBSPOT
from services.crm_sync.connectors.hubspot.connector import HubspotCrm
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.connectors.requests import counted
from services.crm_sync.connectors.salesforce.api import SalesforceAccount
from services.crm_sync.connectors.salesforce.connector import CONNECTOR as SALESFORCE
from services.crm_sync.connectors.salesforce.connector import SalesforceCrm
from services.crm_sync.connectors.tryton.connector import NAME as TRYTON
from services.crm_sync.connectors.tryton.connector import TrytonCrm
from services.crm_sync.connectors.tryton.rpc import TrytonAccount
from services.crm_sync.connectors.vendor.opened import Closing
from services.crm_sync.connectors.vendor.tokens import Tokens
from services.crm_sync.connectors.zendesk_sell.api import SellAccount
from services.crm_sync.connectors.zendesk_sell.connector import NAME as SELL
from services.crm_sync.connectors.zendesk_sell.connector import SellCrm
from services.crm_sync.connectors.zoho_crm.api import ZohoCrmAccount
from services.crm_sync.connectors.zoho_crm.connector import CONNECTOR as ZOHO_CRM
from services.crm_sync.connectors.zoho_crm.connector import ZohoCrm
from services.crm_sync.connectors.zoho_desk import DeskAccount, ZohoDesk, with_desk
from services.crm_sync.exchange import Connectors, Exchange
from services.crm_sync.job import Crm
from services.crm_sync.pace import Pace
from services.crm_sync.pages import CrmPages
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.store import Store
from services.crm_sync.sync import Sync
from services.crm_sync.transcripts import Transcripts
from services.crm_sync.waiting import Waiting
from services.runtime.effects import Downstreams, Limits
from services.runtime.failures import WorkerFailed
from services.runtime.faust_app import EffectsApp
from services.runtime.health import Health, Pages
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.process import main_of
from services.runtime.reloading import Reloads
from services.runtime.tracing import exporting


async def run(settings: CrmSyncSettings, stop: asyncio.Event) -> None:
    """Run crm_sync until `stop` is set. Raises WorkerFailed when it can't go on."""
    async with AsyncExitStack() as stack:
        reloads = Reloads(settings)
        connectors = await opened_connectors(settings, stack, reloads=reloads)
        crm = await EmbeddedCrm.open(settings.crm_url)
        stack.push_async_callback(crm.close)
        await serve(settings, stop, crm=crm, connectors={EMBEDDED: crm, **connectors}, reloads=reloads)


async def opened_connectors(
    settings: CrmSyncSettings, stack: AsyncExitStack, *, reloads: Reloads | None = None
) -> dict[str, Connector]:
    """Return the connectors to CRMs elsewhere by their names; they close with the stack. Raises WorkerFailed."""
    accounts = settings.accounts()
    tokens = await Tokens.open(settings.ledger_url)
    stack.push_async_callback(tokens.close)
    exchange = Exchange(_made(accounts, kept=tokens))
    stack.push_async_callback(exchange.close)

    def read(found: CrmSyncSettings) -> Accounts:
        others = found.accounts()
        if bool(of_kind(others, DeskAccount)) != bool(of_kind(accounts, DeskAccount)):
            raise WorkerFailed(
                "CHAT_CRM_ACCOUNTS_FILE: the first account at Zoho Desk, and none any more, need a restart."
            )
        return others

    if reloads is not None:
        reloads.on(
            "crm_accounts_file", read=read, apply=lambda others: exchange.take(_made(others, kept=tokens))
        )
    return exchange.connectors()


def _made(accounts: Accounts, *, kept: Tokens) -> Connectors:
    """The connectors to these accounts."""
    connectors: dict[str, Connector] = {
        TRYTON: TrytonCrm(of_kind(accounts, TrytonAccount)),
        SELL: SellCrm(of_kind(accounts, SellAccount), kept=kept),
        HUBSPOT: HubspotCrm(of_kind(accounts, HubspotAccount)),
        SALESFORCE: SalesforceCrm(of_kind(accounts, SalesforceAccount), kept=kept),
        ZOHO_CRM: ZohoCrm(of_kind(accounts, ZohoCrmAccount), kept=kept),
    }
    parts: list[Closing] = [*connectors.values()]
    desks = of_kind(accounts, DeskAccount)
    if desks:
        desk = ZohoDesk(desks, kept=kept)
        parts.append(desk)
        without = [one for one in connectors.values() if "ticket" not in one.declared.capabilities]
        connectors |= {both.declared.name: both for both in (with_desk(one, desk) for one in without)}
    return Connectors(connectors, parts)


async def serve(
    settings: CrmSyncSettings,
    stop: asyncio.Event,
    *,
    crm: EmbeddedCrm,
    connectors: Mapping[str, Connector],
    reloads: Reloads | None = None,
) -> None:
    """Run crm_sync with these connectors by their names, and the embedded CRM's pages."""
    metrics, reloads = Metrics(), reloads or Reloads(settings)
    token = _feed_token(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(exporting(settings, metrics))
        ledger = await stack.enter_async_context(
            Ledger(
                settings.ledger_url,
                group=settings.group,
                owner=settings.instance_id,
                lease_ms=settings.session_timeout_ms,
            )
        )
        app = EffectsApp(settings, metrics, ledger)
        health = Health(metrics)
        health.ready_when(app.unready)
        store = await Store.open(settings.ledger_url)
        stack.push_async_callback(store.close)
        configuration = Configuration(settings, store)
        stack.push_async_callback(configuration.stop)
        await configuration.start()

        # The slots of both topics, as many records again that go on beside them, and questions for cards.
        limits = Limits(
            callers_max=4 * settings.crm_concurrency + QUESTIONS_MAX, open_ms=settings.circuit_open_ms
        )
        crms = _crms(connectors, app=app, ledger=ledger, limits=limits, metrics=metrics)
        cards = Cards(settings=configuration, crms=crms, metrics=metrics)
        stack.push_async_callback(cards.close)
        feed = CrmPages(crm, http_host=settings.http_host, token=token)
        pages = Pages(
            host=settings.http_host,
            port=settings.http_port,
            health=health,
            metrics=metrics,
            metrics_token=settings.metrics_secret,
            routes=[*feed.routes(), *await _card_routes(settings, stack, cards=cards, metrics=metrics)],
        )
        await stack.enter_async_context(pages)
        app.follow(reloads)
        show_to = partial(setattr, feed, "token")
        reloads.on("crm_feed_token", "crm_feed_token_file", read=_feed_token, apply=show_to)
        reloads.listen(metrics, pages)

        async def write(workspace_id: str, value: bytes) -> None:
            await app.write(topics.ACTIVITIES, workspace_id=workspace_id, value=value)

        sync = Sync(
            settings=configuration,
            turns=store,
            ledger=ledger,
            waiting=Waiting(ledger),
            crms=crms,
            transcript_at=Transcripts(settings).at,
            write=write,
            metrics=metrics,
            tickets=settings.crm_tickets,
        )
        app.on_placed(
            topics.TRANSCRIPTS, codec.transcripts, sync.transcript, concurrency=settings.crm_concurrency
        )
        app.on(topics.NOTICES, codec.notices, sync.notice, concurrency=settings.crm_concurrency)
        await _together(app, configuration, stop)


async def _card_routes(
    settings: CrmSyncSettings, stack: AsyncExitStack, *, cards: Cards, metrics: Metrics
) -> list[BaseRoute]:
    """Cards are served where there is an archive to ask who may see them."""
    if settings.archive_api_url is None:
        return []
    http = await stack.enter_async_context(archive_client())
    archive = Archive(http, url=settings.archive_api_url, callers_max=REQUESTS_MAX, metrics=metrics)
    return CardApi(cards, archive).routes()


def _crms(
    connectors: Mapping[str, Connector], *, app: EffectsApp, ledger: Ledger, limits: Limits, metrics: Metrics
) -> Mapping[str, Crm]:
    """The connectors with what keeps their limits. The parking brings what waits for one only as far as that lets it in."""
    crms: dict[str, Crm] = {}
    admissions: dict[str, Admission] = {}
    for name, connector in connectors.items():
        per_s_max, pace = connector.declared.limits.requests_per_s_max, None
        if per_s_max is not None:
            pace = Pace(ledger, name=name, per_s_max=per_s_max, metrics=metrics)
            admissions[name] = Admission(name, per_s_max=per_s_max, waits=app.waits)
        downstreams = Downstreams(name, kind="crm", limits=limits, metrics=metrics)
        crms[name] = Crm(
            counted(connector, pace=pace, metrics=metrics), downstreams, admission=admissions.get(name)
        )
    app.bound(lambda queue: room_in(admissions, queue))
    return crms


async def _together(app: EffectsApp, configuration: Configuration, stop: asyncio.Event) -> None:
    """Run both until `stop` is set; if the settings can't be followed any more, the app ends too, and the failure is raised."""
    following = asyncio.create_task(configuration.run())
    following.add_done_callback(lambda _: stop.set())
    try:
        await app.run(stop)
        if following.done():
            following.result()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _feed_token(settings: CrmSyncSettings) -> str | None:
    try:
        return settings.feed_token()
    except (OSError, ValueError) as error:
        raise WorkerFailed(
            "CHAT_CRM_FEED_TOKEN_FILE must name a readable file with at least 16 characters, or be left out."
        ) from error


def main() -> None:
    """Run the worker with settings from the environment; never returns normally."""
    main_of(CrmSyncSettings, run)


if __name__ == "__main__":
    main()
