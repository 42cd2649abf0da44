"""The transcript worker: assembler (exactly-once), archive and pages in one process.

The one rule: the archive may fall behind or fail without holding up a transcript; it reads the same topics at its own pace.
"""

import asyncio
from functools import partial
from operator import attrgetter

from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.routing import BaseRoute

from schemas.topics import EVENTS, ROUTING, TRANSCRIPT_STATE
from services.runtime.failures import WorkerFailed
from services.runtime.links import LinkSettings, links
from services.runtime.process import main_of
from services.runtime.reloading import Reloads
from services.runtime.runner import Context, Part, run_worker
from services.runtime.wall_clock import now_ms
from services.transcript.api.access import ApiSettings
from services.transcript.api.routes import Api
from services.transcript.archive.database import Archive
from services.transcript.archive.kafka_log import KafkaLog
from services.transcript.archive.projector import Projector
from services.transcript.archive.rows import TOPICS
from services.transcript.pages.routes import Pages
from services.transcript.processor import transcript_processors
from services.transcript.summary import Extractive, Method, Summarizer, method_named

PORT = 9103


class TranscriptSettings(LinkSettings, ApiSettings):
    """What the transcript worker can be told besides what every worker can."""

    group: str = Field(
        default="chat-transcript",
        min_length=1,
        description="consumer group, and stem of the transactional ids",
    )
    http_port: int = Field(
        default=PORT, ge=0, le=65_535, description="port of the pages, transcripts included (0: any free one)"
    )
    archive_url: str = Field(
        default="sqlite:///data/archive.sqlite3",
        min_length=1,
        description="the archive's database: sqlite:///FILE or postgresql://…",
    )
    summary_method: str = Field(
        default=Extractive.name,
        min_length=1,
        description="how chats are summed up: extractive (sentences of the chat), off, or MODULE:FUNCTION of a package that is installed "
        "beside this one and brings another method, a language model for instance",
    )


async def run(settings: TranscriptSettings, stop: asyncio.Event) -> None:
    """Runs the worker until `stop` is set. Raises WorkerFailed."""
    secret = settings.secret
    try:
        archive = Archive.at(settings.archive_url)
    except (SQLAlchemyError, ValueError) as error:
        raise WorkerFailed(
            "CHAT_ARCHIVE_URL can't be used: it must be sqlite:///FILE or postgresql://…"
        ) from error
    try:
        method = method_named(settings.summary_method)
    except ValueError as error:
        raise WorkerFailed(f"CHAT_SUMMARY_METHOD can't be used: {error}") from error

    async def project(context: Context) -> None:
        source = KafkaLog(settings, topics=TOPICS)
        async with source:
            projector = Projector(archive, source, metrics=context.metrics)
            await projector.run(context.stop)

    reloads = Reloads(settings)
    reloads.on("link_secret", "link_secret_file", read=attrgetter("secret"))
    served = api_routes(settings, archive, reloads)
    pages = Pages(archive.engine, secret=secret, now_ms=now_ms)
    try:
        await run_worker(
            settings=settings,
            inputs=(EVENTS, ROUTING),
            changelog=TRANSCRIPT_STATE,
            factory=transcript_processors(
                links(base_url=settings.public_url, secret=secret, lifetime_s=settings.link_lifetime_s)
            ),
            stop=stop,
            routes=[*served, *pages.routes()],
            beside=[project] if method is None else [project, summing_up(archive, method)],
            reloads=reloads,
        )
    finally:
        await archive.close()


def api_routes(settings: TranscriptSettings, archive: Archive, reloads: Reloads) -> list[BaseRoute]:
    """The read API's routes, where there is a secret for its tokens; another one is taken while it runs."""
    names = ("api_secret", "api_secret_file")
    secret = settings.token_secret
    if secret is None:
        reloads.on(*names, read=attrgetter("token_secret"))
        return []
    api = Api(archive.engine, secret=secret, now_ms=now_ms)
    reloads.on(*names, read=_other_secret, apply=partial(setattr, api, "secret"))
    return api.routes()


def _other_secret(found: TranscriptSettings) -> str:
    if found.token_secret is None:
        raise WorkerFailed("CHAT_API_SECRET: the API is served, and can't be switched off without a restart.")
    return found.token_secret


def summing_up(archive: Archive, method: Method) -> Part:
    """The part that makes the summaries."""

    async def sum_up(context: Context) -> None:
        await Summarizer(archive, method, now_ms=now_ms, metrics=context.metrics).run(context.stop)

    return sum_up


def main() -> None:
    """Runs the worker as a process."""
    main_of(TranscriptSettings, run)


if __name__ == "__main__":
    main()
