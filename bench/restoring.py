"""How long restoring 100,000 live chats takes, and how much memory they need.

One rule: the restore and the plain reading use the same reader, settings and partition, each in a fresh process, in turns; the best
of each counts.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import uvloop

from bench import live_chats
from bench.processes import memory_mb, peak_memory_mb, router
from bench.rows import Row
from schemas.topics import ROUTER_STATE
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor
from services.router.core.partition import Partition
from services.router.processor import RouterProcessor
from services.runtime.broker import Row as Stored
from services.runtime.kafka import KafkaChangelog, KafkaWriter, SystemClock
from services.runtime.metrics import Metrics
from services.runtime.restore import Progress, restore
from services.runtime.settings import RuntimeSettings

RATIO_MAX = 3.0
MEMORY_MAX_MB = 500.0
ROUNDS = 3
SETTLE_S = 3.0
"""So long after it is ready a router has ticked and looks as it will."""


def measure(bootstrap: str, report: Callable[[str], None]) -> list[Row]:
    """Return the ratio of restoring to reading, and the memory of a router that has restored. `report` is told what is going on."""
    report(f"making {live_chats.CHATS:,} live chats")
    settings = RuntimeSettings(bootstrap=bootstrap, group="bench-fill")
    records = asyncio.run(_fill(settings))
    report(f"restoring {records:,} changelog records, and reading them")
    restored_s, read_s = [], []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        for _ in range(ROUNDS):
            read_s.append(fresh.submit(_seconds, _read, settings).result())
            restored_s.append(fresh.submit(_seconds, _restore, settings).result())
    report("a router restores them")
    with tempfile.TemporaryDirectory() as logs:
        resident_mb, peak_mb, ready_s = _router(bootstrap, Path(logs))
    return [
        Row("reading their changelog", min(read_s), "s"),
        Row("restoring 100,000 live chats", min(restored_s), "s"),
        Row("restore against reading", min(restored_s) / min(read_s), "×", RATIO_MAX),
        Row("router from start to ready with 100,000 live chats", ready_s, "s"),
        Row("memory of a router with 100,000 live chats", resident_mb, "MB", MEMORY_MAX_MB),
        Row("the same, its peak", peak_mb, "MB"),
    ]


async def _fill(settings: RuntimeSettings) -> int:
    """Write the changelog as a router does; return how many records it holds."""
    writer = KafkaWriter(settings, live_chats.PARTITION)
    await writer.start()
    written = 0
    try:
        for changes in live_chats.batches(int(time.time() * 1000), Partition(live_chats.PARTITION)):
            await writer.begin()
            for delivery in await writer.send(ROUTER_STATE, [Stored(*change) for change in changes]):
                await delivery
            await writer.commit()
            written += len(changes)
    finally:
        await writer.close()
    return written


def _seconds(what: Callable[[KafkaChangelog], Awaitable[None]], settings: RuntimeSettings) -> float:
    async def timed() -> float:
        changelog = KafkaChangelog(settings, ROUTER_STATE, live_chats.PARTITION)
        try:
            began_s = time.monotonic()
            await what(changelog)
            return time.monotonic() - began_s
        finally:
            await changelog.close()

    return uvloop.run(timed())


async def _read(changelog: KafkaChangelog) -> None:
    position, end = await changelog.start()
    while position < end:
        position = (await changelog.poll()).position


async def _restore(changelog: KafkaChangelog) -> None:
    processor = RouterProcessor(live_chats.PARTITION)
    clock = SystemClock()
    progress = Progress(partition=live_chats.PARTITION, clock=clock, metrics=Metrics())
    await restore(changelog, processor, progress=progress, clock=clock)
    found = sum(len(ws.chats) for ws in processor.partition.workspaces.values())
    assert found == live_chats.CHATS, f"{found} chats were restored"


def _router(bootstrap: str, logs: Path) -> tuple[float, float, float]:
    """Return resident memory, its peak, and the time to be ready, of a router that has these chats."""
    worker = router("router", bootstrap)
    began_s = time.monotonic()
    with Supervisor([worker], logs=logs, settings=LocalSettings()) as supervisor:
        ready_s = time.monotonic() - began_s
        time.sleep(SETTLE_S)
        supervisor.check()
        pid = supervisor.pids[worker.name]
        return memory_mb(pid), peak_memory_mb(pid), ready_s
