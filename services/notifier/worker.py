"""The notifier's process: reads notices, transcripts and CRM outcomes, sends mails, writes what became of them.

The one rule: this is the composition root; everything is built here, inside the loop, and nothing at import.
"""

import asyncio
import hmac
from contextlib import AsyncExitStack
from dataclasses import replace
from hashlib import sha256
from operator import attrgetter

from schemas import codec, topics
from services.notifier.core import Rules
from services.notifier.digest import DIGESTS, Digests, due_codec
from services.notifier.mailer import Mailer
from services.notifier.message import Scribe
from services.notifier.servers import Outlets, Servers
from services.notifier.settings import NotifierSettings
from services.notifier.smtp import MAIL_LIMITS
from services.runtime.faust_app import EffectsApp
from services.runtime.health import Health, Pages
from services.runtime.ledger import Ledger
from services.runtime.links import links
from services.runtime.metrics import Metrics
from services.runtime.process import main_of
from services.runtime.reloading import Reloads
from services.runtime.tracing import exporting
from services.runtime.wall_clock import now_ms

READ = (
    (topics.NOTICES, codec.notices),
    (topics.TRANSCRIPTS, codec.transcripts),
    (topics.ACTIVITIES, codec.activities),
)
OF_SERVERS = (
    "smtp_host",
    "smtp_port",
    "smtp_tls",
    "smtp_user",
    "smtp_password_file",
    "smtp_servers_file",
    "smtp_connections_max",
    "circuit_open_ms",
)
"""The settings that say which servers there are and how they are treated."""


def rules_of(settings: NotifierSettings) -> Rules:
    """Return what composing mails depends on."""
    secret = settings.secret
    link = links(base_url=settings.public_url, secret=secret, lifetime_s=settings.link_lifetime_s)
    salt = hmac.new(secret.encode(), b"chat-routing.recipients", sha256).digest()
    return Rules(salt=salt, link=link, default_language=settings.mail_language)


def outlets_of(settings: NotifierSettings, reloads: Reloads, *, metrics: Metrics) -> Outlets:
    """Return the ways to the SMTP servers. Others are taken while it runs, but none that change how mails look."""

    def read(found: NotifierSettings) -> Servers:
        found = found.model_copy(update={"mail_from": settings.mail_from})
        limits = replace(
            MAIL_LIMITS,
            calls_max=found.smtp_connections_max,
            callers_max=(len(READ) + 1) * settings.mail_concurrency,
            open_ms=found.circuit_open_ms,
        )
        return Servers(default=found.server(), own=found.servers(), limits=limits)

    outlets = Outlets(read(settings), metrics=metrics)
    reloads.on(*OF_SERVERS, read=read, apply=outlets.take)
    return outlets


async def run(settings: NotifierSettings, stop: asyncio.Event) -> None:
    """Runs the notifier until `stop` is set. Raises WorkerFailed when it can't go on."""
    metrics, reloads = Metrics(), Reloads(settings)
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
        pages = Pages(
            host=settings.http_host,
            port=settings.http_port,
            health=health,
            metrics=metrics,
            metrics_token=settings.metrics_secret,
        )
        await stack.enter_async_context(pages)
        outlets = stack.enter_context(outlets_of(settings, reloads, metrics=metrics))
        app.follow(reloads)
        reloads.on("link_secret", "link_secret_file", read=attrgetter("secret"))
        reloads.listen(metrics, pages)
        digests = Digests(ledger)
        mailer = Mailer(
            rules=rules_of(settings),
            scribe=Scribe(default_from=settings.mail_from),
            ledger=ledger,
            digests=digests,
            outlet_of=outlets.of,
            write=app.write,
            metrics=metrics,
            now_ms=now_ms,
        )
        for topic, kinds in READ:
            app.on(topic, kinds, mailer.handle, concurrency=settings.mail_concurrency)
        app.on_parked(DIGESTS, due_codec, mailer.handle_digest)
        async with digests.closing():
            await app.run(stop)


def main() -> None:
    """Runs the worker with settings from the environment; never returns normally."""
    main_of(NotifierSettings, run)


if __name__ == "__main__":
    main()
