"""`chat-routing archive rebuild`: the archive's rows made anew from what the topics hold."""

import asyncio
from functools import partial
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from schemas.envelope import from_ms
from services.local.archives import ArchiveUrl, opened
from services.local.display import Bars
from services.local.errors import LocalError
from services.local.progress import Progress
from services.local.topic_log import no_kafka, reached
from services.runtime.failures import WorkerFailed
from services.transcript.archive.kafka_log import KafkaLog
from services.transcript.archive.rebuilding import Rebuilt
from services.transcript.archive.rebuilding import rebuild as make_anew
from services.transcript.archive.rows import TOPICS


def rebuild(
    discard: Annotated[
        bool,
        typer.Option(
            "--discard",
            help="What the topics no longer hold goes, but for settings; by default it stays as it is. It can't be undone.",
        ),
    ] = False,
    archive: ArchiveUrl = None,
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")
    ] = "127.0.0.1:9092",
) -> None:
    """Make the archive anew from what the topics hold, and say from when that is.

    The worker may run meanwhile: it takes part. Until it is done the archive shows chats as they once were. Broken off, the worker goes
    on with it, or another run. Erased chats and revoked links stay what they are.
    """
    with Bars(Console(stderr=True)) as progress:
        rebuilt = asyncio.run(_rebuild(bootstrap, archive, discard=discard, progress=progress))
    _print(rebuilt, discard=discard)


async def _rebuild(bootstrap: str, url: str | None, *, discard: bool, progress: Progress) -> Rebuilt:
    try:
        async with opened(url) as archive, KafkaLog(reached(bootstrap), topics=TOPICS) as source:
            show = partial(_show, progress)
            return await make_anew(archive, source, await source.held(), discard=discard, show=show)
    except WorkerFailed as error:
        raise LocalError(str(error)) from error
    except KafkaError as error:
        raise LocalError(no_kafka(bootstrap)) from error


def _show(progress: Progress, done: int, total: int) -> None:
    progress("reading the topics", done=done, total=total)


def _print(rebuilt: Rebuilt, *, discard: bool) -> None:
    print(f"Rebuilt from {rebuilt.offsets} offsets. The topics begin:")
    for topic, oldest_ms in rebuilt.oldest_ms.items():
        print(f"  {topic:22} {'is empty' if oldest_ms is None else from_ms(oldest_ms)}")
    if discard:
        print(
            f"What was older than that is gone, but for {rebuilt.older_settings} changes of settings: they hold until they are made anew."
        )
    elif rebuilt.older_chats or rebuilt.older_settings:
        print(
            f"Not covered, and left as it was: {rebuilt.older_chats} chats that ended before,"
            f" {rebuilt.older_settings} changes of settings."
        )
