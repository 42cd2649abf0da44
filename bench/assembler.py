"""The transcript worker's exactly-once part as a process of its own: without the archive, which reads the same topics at its own pace.

One rule: the same processor on the same runner with the same settings as in the worker; only the archive and its pages are left out.
"""

import asyncio

from schemas.topics import EVENTS, ROUTING, TRANSCRIPT_STATE
from services.runtime.links import links
from services.runtime.process import main_of
from services.runtime.runner import run_worker
from services.transcript.processor import transcript_processors
from services.transcript.worker import TranscriptSettings


async def run(settings: TranscriptSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set."""
    link = links(base_url=settings.public_url, secret=settings.secret, lifetime_s=settings.link_lifetime_s)
    await run_worker(
        settings=settings,
        inputs=(EVENTS, ROUTING),
        changelog=TRANSCRIPT_STATE,
        factory=transcript_processors(link),
        stop=stop,
    )


if __name__ == "__main__":
    main_of(TranscriptSettings, run)
