"""The controls' worker: the real one, or the same with one thing wrong, on a real Kafka: `python -m tests.faults.wrong_worker`.

One rule: what is wrong is a subclass behind a port; everything else is the product.
"""

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from services.router.processor import RouterProcessor
from services.runtime.broker import ChangelogPage, Delivery, Row
from services.runtime.kafka import KafkaChangelog, KafkaWriter
from services.runtime.partition_task import Ports
from services.runtime.ports import InputRecord, OutputRecord, ProcessorFactory
from services.runtime.process import main_of
from services.runtime.runner import Context, Runner
from services.runtime.ticks import TickSettings
from services.runtime.wall_clock import now_ms
from tests.runtime.counting import Counting, CountingSettings

ID_PER_WORKER = "id-per-worker"
UNAWAITED_BATCH = "unawaited-batch"
COUNTED_RESTORE = "counted-restore"
OWN_CLOCK = "own-clock"


class WrongSettings(CountingSettings):
    """What is wrong with it, or nothing; whether it is a router; before which of its commits it suspends itself (0: none)."""

    wrong: str = ""
    router: bool = False
    suspended_at_commit: int = 0


class WrongWriter(KafkaWriter):
    """Suspends the process in the middle of a commit; its id is the worker's, or it forgets its batches."""

    commits = 0

    def __init__(self, settings: WrongSettings, partition: int) -> None:
        super().__init__(settings, partition)
        self._wrong = settings.wrong
        self._suspended_at = settings.suspended_at_commit
        if self._wrong == ID_PER_WORKER:
            self._id = f"{settings.group}-{settings.instance_id}-{partition}"

    async def send(self, topic: str, rows: Sequence[Row]) -> Sequence[Delivery]:
        sent = await super().send(topic, rows)
        return () if self._wrong == UNAWAITED_BATCH else sent

    async def commit(self) -> None:
        WrongWriter.commits += 1
        if WrongWriter.commits == self._suspended_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        await super().commit()


class CountedChangelog(KafkaChangelog):
    """Ends after as many records as half the offsets, as if each record had a marker of its own."""

    async def start(self) -> tuple[int, int]:
        begin, end = await super().start()
        self._left, self._counted = (end - begin) // 2, 0
        return 0, self._left

    async def poll(self) -> ChangelogPage:
        counted = (await super().poll()).records[: self._left]
        self._left -= len(counted)
        self._counted += len(counted)
        return ChangelogPage(counted, self._counted)


class OwnClockRouter(RouterProcessor):
    """Deadlines by the worker's clock: a tick is as late as it is processed."""

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        if b"router.tick.v1" in (record.value or b""):
            record = replace(record, timestamp_ms=now_ms())
        return super().process(record)


class WrongRunner(Runner):
    """The runner with these."""

    def __init__(self, context: Context, *, settings: WrongSettings, **given: Any) -> None:
        super().__init__(context, settings=settings, **given)
        self._of = settings

    def _ports(self, partition: int) -> Ports:
        settings = self._of
        ports = replace(super()._ports(partition), writer=lambda: WrongWriter(settings, partition))
        if settings.wrong == COUNTED_RESTORE:
            ports = replace(ports, changelog=lambda: CountedChangelog(settings, settings.state, partition))
        return ports


def factory_of(settings: WrongSettings) -> ProcessorFactory:
    if not settings.router:
        return lambda _partition: Counting(settings.output)
    return OwnClockRouter if settings.wrong == OWN_CLOCK else RouterProcessor


async def work(settings: WrongSettings, stop: asyncio.Event) -> None:
    ticks = None
    if settings.tick_interval_ms:
        ticks = TickSettings(settings.inputs[0], settings.tick_interval_ms, "/services/router")
    await WrongRunner(
        Context(stop),
        settings=settings,
        inputs=settings.inputs,
        changelog=settings.state,
        factory=factory_of(settings),
        ticks=ticks,
    ).run()


if __name__ == "__main__":
    main_of(WrongSettings, work)
