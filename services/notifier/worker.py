"""The notifier's process: reads notices, transcripts and CRM outcomes, sends mails, writes what became of them.

The one rule: this is the composition root; everything is built here, inside the loop, and nothing at import.
"""

import asyncio
import hmac
from contextlib import AsyncExitStack
from dataclasses import replace
from hashlib import sha256

from schemas import codec, topics
from services.notifier.core import Rules
from services.notifier.digest import DIGESTS, Digests, due_codec
from services.notifier.mailer import Mailer
from services.notifier.message import Scribe
from services.notifier.servers import opened
from services.notifier.settings import NotifierSettings
from services.notifier.smtp import MAIL_LIMITS
from services.runtime.faust_app import EffectsApp
from services.runtime.health import Health, Pages
from services.runtime.ledger import Ledger
from services.runtime.links import links
from services.runtime.metrics import Metrics
from services.runtime.process import main_of
from services.runtime.wall_clock import now_ms

READ = (
    (topics.NOTICES, codec.notices),
    (topics.TRANSCRIPTS, codec.transcripts),
    (topics.ACTIVITIES, codec.activities),
)


def rules_of(settings: NotifierSettings) -> Rules:
    """Return what composing mails depends on."""
    secret = settings.secret
    link = links(base_url=settings.public_url, secret=secret, lifetime_s=settings.link_lifetime_s)
    salt = hmac.new(secret.encode(), b"chat-routing.recipients", sha256).digest()
    return Rules(salt=salt, link=link, default_language=settings.mail_language)


async def run(settings: NotifierSettings, stop: asyncio.Event) -> None:
    """Runs the notifier until `stop` is set. Raises WorkerFailed when it can't go on."""
    metrics = Metrics()
    limits = replace(
        MAIL_LIMITS,
        calls_max=settings.smtp_connections_max,
        callers_max=(len(READ) + 1) * settings.mail_concurrency,
        open_ms=settings.circuit_open_ms,
    )
    outlets = opened(settings.server(), settings.servers(), limits=limits, metrics=metrics)
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
        pages = Pages(host=settings.http_host, port=settings.http_port, health=health, metrics=metrics)
        await stack.enter_async_context(pages)
        digests = Digests(ledger)
        mailer = Mailer(
            rules=rules_of(settings),
            scribe=Scribe(default_from=settings.mail_from),
            ledger=ledger,
            digests=digests,
            outlet_of=(await stack.enter_async_context(outlets)).of,
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
