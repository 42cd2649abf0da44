"""Acts a scenario out against a running service, in real time.

One rule: what people do is decided in `actors`; here it is published when it is due, and they are told what the router
decides as soon as it can be read.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer

from schemas import codec
from schemas.topics import ROUTING
from services.local.actors import People
from services.local.progress import Progress, silent
from services.local.publishing import Publisher, wall_ms
from services.local.scenario import Scenario
from services.local.topic_log import reached, start

SETTLE_LIMIT_S = 30.0
"""How long the router may be silent, once everybody has acted, before the play ends with chats open."""
_FETCH_WAIT_MS = 20
_IDLE_WAIT_MS = 1_000
STAGE = "playing the day"


@dataclass(slots=True)
class Played:
    """What happened: `heard_at_ms` is when the first decision on the record at (partition, offset) could be read."""

    published: int = 0
    open_chats: int = 0
    heard_at_ms: dict[tuple[int, int], int] = field(default_factory=dict)


async def play(
    scenario: Scenario,
    *,
    bootstrap: str,
    progress: Progress = silent,
    check: Callable[[], None] = lambda: None,
    settle_limit_s: float = SETTLE_LIMIT_S,
) -> Played:
    """Act the whole scenario out and return when every chat has its outcome, or nothing comes for `settle_limit_s`.

    `check` is called now and then and may raise. Raises LocalError when Kafka does not take or give records.
    """
    consumer = AIOKafkaConsumer(
        ROUTING,
        **reached(bootstrap).client(),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    await start(consumer, bootstrap)
    try:
        await consumer.seek_to_end()
        async with Publisher(bootstrap) as publisher:
            stage = _Stage(scenario, consumer, publisher)
            listening = asyncio.create_task(stage.listen())
            try:
                await stage.act(listening, progress=progress, check=check, settle_limit_s=settle_limit_s)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            stage.played.published = publisher.count
            stage.played.open_chats = stage.people.open_chats
            return stage.played
    finally:
        await consumer.stop()


class _Stage:
    """One performance."""

    def __init__(self, scenario: Scenario, consumer: AIOKafkaConsumer, publisher: Publisher) -> None:
        self.people = People(scenario)
        self.played = Played()
        self._chats = scenario.head.chats
        self._workspaces = {workspace_id.encode() for workspace_id in scenario.workspace_ids}
        self._consumer = consumer
        self._publisher = publisher
        self._began_s = time.monotonic()
        self._news = asyncio.Event()

    def now_ms(self) -> int:
        """Return the time of the scenario's day."""
        return int((time.monotonic() - self._began_s) * 1000)

    async def listen(self) -> None:
        """Tell the people every decision, until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_IDLE_WAIT_MS)
            heard_at_ms, now_ms = wall_ms(), self.now_ms()
            for records in fetched.values():
                for record in records:
                    if record.key not in self._workspaces:
                        continue
                    decision = codec.decisions.decode(record.value).data
                    if decision.cause is not None and decision.cause.offset is not None:
                        position = (decision.cause.partition, decision.cause.offset)
                        self.played.heard_at_ms.setdefault(position, heard_at_ms)
                    self.people.hear(decision, now_ms)
            if fetched:
                self._news.set()

    async def act(
        self,
        listening: "asyncio.Task[None]",
        *,
        progress: Progress,
        check: Callable[[], None],
        settle_limit_s: float,
    ) -> None:
        """Publish what is due when it is due."""
        silent_since_s = time.monotonic()
        while not self.people.done:
            if listening.done():
                await listening
            published = self.people.act(self.now_ms())
            for publication in published:
                await self._publisher.publish(publication)
            progress(STAGE, done=self._chats - self.people.open_chats, total=self._chats)
            check()
            due_ms = self.people.due_ms()
            if published or self._news.is_set() or due_ms is not None:
                silent_since_s = time.monotonic()
            elif time.monotonic() - silent_since_s > settle_limit_s:
                return
            self._news.clear()
            wait_ms = _IDLE_WAIT_MS if due_ms is None else min(due_ms - self.now_ms(), _IDLE_WAIT_MS)
            if wait_ms > 0:
                await _wait(self._news, limit_s=wait_ms / 1000)
            else:
                await asyncio.sleep(0)
        progress(STAGE, done=self._chats, total=self._chats)


async def _wait(news: asyncio.Event, *, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await news.wait()
    except TimeoutError:
        return
