"""The transcript worker: assembler (exactly-once), archive and pages in one process.

The one rule: the archive may fall behind or fail without holding up a transcript; it reads the same topics at its own pace.
"""

import asyncio

from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from schemas.topics import EVENTS, ROUTING, TRANSCRIPT_STATE
from services.runtime.failures import WorkerFailed
from services.runtime.links import LinkSettings, links
from services.runtime.process import main_of
from services.runtime.runner import Context, run_worker
from services.runtime.wall_clock import now_ms
from services.transcript.api import Pages
from services.transcript.archive import Archive
from services.transcript.kafka_log import KafkaLog
from services.transcript.processor import transcript_processors
from services.transcript.projector import Projector
from services.transcript.rows import TOPICS

PORT = 9103


class TranscriptSettings(LinkSettings):
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


async def run(settings: TranscriptSettings, stop: asyncio.Event) -> None:
    """Runs the worker until `stop` is set. Raises WorkerFailed."""
    secret = settings.secret
    try:
        archive = Archive.at(settings.archive_url)
    except (SQLAlchemyError, ValueError) as error:
        raise WorkerFailed(
            "CHAT_ARCHIVE_URL can't be used: it must be sqlite:///FILE or postgresql://…"
        ) from error

    async def project(context: Context) -> None:
        source = KafkaLog(bootstrap=settings.bootstrap, topics=TOPICS)
        async with source:
            projector = Projector(archive, source, metrics=context.metrics)
            await projector.run(context.stop)

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
            routes=pages.routes(),
            beside=[project],
        )
    finally:
        await archive.close()


def main() -> None:
    """Runs the worker as a process."""
    main_of(TranscriptSettings, run)


if __name__ == "__main__":
    main()
