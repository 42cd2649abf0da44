"""What outlives a process of crm_sync: the databases, the topics and the CRM; and processes that come and go over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas import codec, topics
from schemas.envelope import Envelope
from schemas.notices import NoticeCrmConfigured
from schemas.outcomes import CrmSettled
from schemas.transcripts import TranscriptCompleted
from services.crm_sync import core
from services.crm_sync.job import Crm
from services.crm_sync.store import Store
from services.crm_sync.sync import Sync
from services.crm_sync.waiting import Waiting
from services.runtime.effects import Downstreams, Limits, quiet_retries
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from services.runtime.parking import Place
from tests.crm_sync.material import settings
from tests.crm_sync.paper import PaperCrm
from tests.crm_sync.ports import KnownSettings, Steps, Weather

ACME = "acme"
NOW_MS = 1_795_251_900_000
QUICK = Limits(
    attempts_max=3, wait_initial_ms=1, wait_max_ms=2, wait_jitter_ms=0, open_ms=5, call_ms_max=20_000
)
ALWAYS = {"lead_policy": "always", "pool": ("a", "b", "c")}


class Topic:
    """The conversations as they stand in their topic, each at one place for ever."""

    def __init__(self) -> None:
        self._records: list[Envelope[str, TranscriptCompleted]] = []
        self._begins_at = 0

    def place(self, envelope: Envelope[str, TranscriptCompleted]) -> Place:
        if envelope not in self._records:
            self._records.append(envelope)
        return topics.TRANSCRIPTS, 0, self._records.index(envelope)

    def expire(self) -> None:
        """Let retention delete what stands there."""
        self._begins_at = len(self._records)

    async def at(self, place: Place) -> Envelope[str, TranscriptCompleted] | None:
        return self._records[place[2]] if place[2] >= self._begins_at else None


@dataclass(frozen=True)
class Process:
    """A process, by its handlers: nothing of it is left after it is killed."""

    sync: Sync
    topic: Topic

    async def transcript(self, envelope: Envelope[str, TranscriptCompleted]) -> None:
        await self.sync.transcript(envelope, self.topic.place(envelope))

    async def notice(self, envelope: Envelope[str, Any]) -> None:
        await self.sync.notice(envelope)


@dataclass
class Scene:
    """What outlives a process."""

    weather: Weather
    ledger: Ledger
    store: Store
    written: list[bytes] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    topic: Topic = field(default_factory=Topic)
    tickets: core.Tickets = "off"

    def sync(
        self,
        configured: NoticeCrmConfigured | None = None,
        *,
        steps: Steps | None = None,
        ledger: Ledger | None = None,
    ) -> Process:
        """Start a process; `ledger`: another worker's."""
        quiet_retries()
        taken = steps or Steps()
        known = {ACME: settings() if configured is None else configured}
        mine = ledger or self.ledger

        async def write(workspace_id: str, value: bytes) -> None:
            async def append() -> None:
                assert workspace_id == ACME
                self.written.append(value)

            await taken.take(append)

        async def transcript_at(place: Place) -> Any:
            return await taken.take(self.topic.at, place)

        sync = Sync(
            settings=taken.door(KnownSettings(known)),
            turns=taken.door(self.store),
            ledger=taken.door(mine),
            waiting=taken.door(Waiting(mine)),
            crms={
                "embedded": Crm(
                    taken.door(self.weather),
                    Downstreams("crm", kind="crm", limits=QUICK, metrics=self.metrics),
                )
            },
            transcript_at=transcript_at,
            write=write,
            metrics=self.metrics,
            tickets=self.tickets,
            now_ms=lambda: NOW_MS,
        )
        return Process(sync, self.topic)

    def settled(self) -> list[CrmSettled]:
        return [codec.activities.decode(value).data for value in self.written]

    def told(self) -> list[tuple[str, str, str | None]]:
        return [(one.kind, one.result, one.code) for one in self.settled()]

    def reported(self) -> list[CrmSettled]:
        """What stands in the topic, each record once: the same id must be the same record."""
        by_id = {codec.activities.decode(value).id: value for value in self.written}
        assert set(by_id.values()) == set(self.written), "the same id is the same record, byte for byte"
        return [codec.activities.decode(value).data for value in by_id.values()]


@dataclass
class PaperScene(Scene):
    """A scene with a CRM on paper."""

    paper: PaperCrm = field(default_factory=PaperCrm)

    ledger_url: str = ""

    def known(self) -> list[str]:
        return sorted(self.paper.sheets)

    def worker(self) -> Ledger:
        """The ledger of another worker; who leaves it is gone, and its claims are others'."""
        return Ledger(self.ledger_url, group="effects")


@asynccontextmanager
async def paper_scene(folder: Path, **changes: Any) -> AsyncIterator[PaperScene]:
    """A scene in a folder of its own."""
    url = f"sqlite:///{folder}/ledger.db"
    store = await Store.open(url)
    paper = changes.pop("paper", None) or PaperCrm()
    try:
        async with Ledger(url, group="effects") as ledger:
            yield PaperScene(Weather(paper), ledger, store, paper=paper, ledger_url=url, **changes)
    finally:
        await store.close()
