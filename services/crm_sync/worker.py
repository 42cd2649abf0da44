"""The process of crm_sync: reads transcripts and notices, asks the CRM, writes what became of it.

The one rule: this is the composition root; everything is built here, inside the loop, and nothing at import.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

from schemas import codec, topics
from services.crm_sync.configuration import Configuration
from services.crm_sync.connectors.embedded import NAME as EMBEDDED
from services.crm_sync.connectors.embedded import EmbeddedCrm
from services.crm_sync.connectors.interface import Connector
from services.crm_sync.feed import FeedPages
from services.crm_sync.settings import CrmSyncSettings
from services.crm_sync.store import Store
from services.crm_sync.sync import Crm, Sync
from services.runtime.effects import Downstreams, Limits
from services.runtime.failures import WorkerFailed
from services.runtime.faust_app import EffectsApp
from services.runtime.health import Health, Pages
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.process import main_of


async def run(settings: CrmSyncSettings, stop: asyncio.Event) -> None:
    """Run crm_sync until `stop` is set. Raises WorkerFailed when it can't go on."""
    crm = await EmbeddedCrm.open(settings.crm_url)
    try:
        await serve(settings, stop, crm=crm, connectors={EMBEDDED: crm})
    finally:
        await crm.close()


async def serve(
    settings: CrmSyncSettings, stop: asyncio.Event, *, crm: EmbeddedCrm, connectors: Mapping[str, Connector]
) -> None:
    """Run crm_sync with these connectors by their names, and the embedded CRM's feed page."""
    metrics = Metrics()
    token = _feed_token(settings)
    async with AsyncExitStack() as stack:
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
        feed = FeedPages(crm, http_host=settings.http_host, token=token)
        pages = Pages(
            host=settings.http_host,
            port=settings.http_port,
            health=health,
            metrics=metrics,
            routes=feed.routes(),
        )
        await stack.enter_async_context(pages)
        store = await Store.open(settings.ledger_url)
        stack.push_async_callback(store.close)
        configuration = Configuration(settings.bootstrap, store)
        stack.push_async_callback(configuration.stop)
        await configuration.start()

        # The slots of both topics, and as many records again that go on beside them.
        limits = Limits(callers_max=4 * settings.crm_concurrency, open_ms=settings.circuit_open_ms)

        async def write(workspace_id: str, value: bytes) -> None:
            await app.write(topics.ACTIVITIES, workspace_id=workspace_id, value=value)

        sync = Sync(
            settings=configuration,
            turns=store,
            ledger=ledger,
            crms={
                name: Crm(connector, Downstreams(name, kind="crm", limits=limits, metrics=metrics))
                for name, connector in connectors.items()
            },
            write=write,
            metrics=metrics,
        )
        app.on(topics.TRANSCRIPTS, codec.transcripts, sync.transcript, concurrency=settings.crm_concurrency)
        app.on(topics.NOTICES, codec.notices, sync.notice, concurrency=settings.crm_concurrency)
        await _together(app, configuration, stop)


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
