"""Thousands of conversations of one workspace end at once, and its CRM takes only so many requests a second: real Kafka, real workers.

The one rule: everything is judged by what the CRM noted: what was filed, and when it was asked.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from statistics import median
from time import monotonic
from uuid import uuid4

import pytest
from rich.console import Console

from schemas import topics
from schemas.events import Visitor
from services.crm_sync.admission import FROM_TOPIC_MAX, PLACES_MAX
from services.crm_sync.core import activity_id
from services.local.topics import ensure_topics
from tests.crm_sync.burst_crm import PACED, PER_S, UNPACED, KnowingCrm
from tests.crm_sync.material import lead_request, settings, transcript
from tests.crm_sync.test_pace import most_in_a_second
from tests.faults.crm_server import PORT
from tests.faults.effect_workers import (
    PARTITIONS,
    EffectWorker,
    encoded,
    outcomes,
    publish,
    until,
    workspaces,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

REQUESTS_EACH = 2
"""A search and the entry, for a conversation of somebody the CRM knows."""
OTHERS = 4
OTHERS_INTERVAL_S = 0.05
"""Between two conversations of the other workspaces, in turn."""
SLOWER_MAX = 4.0
"""How much longer the others' conversations may take during the burst: a worker has the parking of the burst to write meanwhile."""
SLACK_S = 0.25
AGENT_MAX_S = 3.0
"""An agent's request waits among those under way only, about a second."""
UNDER_WAY_MAX = PLACES_MAX + FROM_TOPIC_MAX
REQUESTS_AGAIN = 2
"""What was under way at the kill is searched for again, and its marker asked for."""


@dataclass(frozen=True, slots=True)
class Size:
    """A burst: how many conversations, how many requests a second the CRM takes, and for how long others are watched meanwhile."""

    conversations: int
    per_s: int
    others_s: float


SHORT = Size(conversations=500, per_s=100, others_s=4.0)
LONG = Size(conversations=5_000, per_s=50, others_s=60.0)
"""As many as in the worst minute foreseen; with 10 requests a second, as the smallest CRM allows, it would take 17 minutes."""


@pytest.fixture
async def contract(own_kafka: str) -> str:
    await ensure_topics(own_kafka, partitions=PARTITIONS, replicas=1)
    return own_kafka


@contextmanager
def crm_sync(
    bootstrap: str, url: str, folder: Path, *, port: int, per_s: int, name: str
) -> Iterator[EffectWorker]:
    environment = {
        PORT: str(port),
        PER_S: str(per_s),
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_GROUP": "burst",  # one for all tests here: what an earlier one has read is not read again
        "CHAT_HTTP_PORT": "0",
        "CHAT_LEDGER_URL": url,
        "CHAT_CRM_URL": f"sqlite:///{folder / 'crm.db'}",
    }
    with EffectWorker("tests.crm_sync.burst_crm", environment, folder=folder, name=name) as worker:
        yield worker


async def configure(bootstrap: str, bursting: str, others: Sequence[str]) -> None:
    connectors = {bursting: PACED} | dict.fromkeys(others, UNPACED)
    await publish(
        bootstrap,
        topics.NOTICES,
        [
            (name, encoded(settings(connector=connector), name, f"configured-{name}"))
            for name, connector in connectors.items()
        ],
    )


def conversation(workspace_id: str, number: int | str) -> tuple[str, bytes]:
    chat = transcript(chat_id=f"c{number}", visitor_email=f"v{number}@{workspace_id}.example.com")
    return workspace_id, encoded(chat, workspace_id, f"e-{workspace_id}-{number}")


class Stage:
    """The workspaces of a test, all of one partition, and the workers. A database that several reach has two of them."""

    def __init__(self, bootstrap: str, crm: KnowingCrm, workers: Sequence[EffectWorker]) -> None:
        self.bootstrap = bootstrap
        self.crm = crm
        self.workers = workers
        self.bursting, *self.others = workspaces(1 + OTHERS, partition=0, stem=f"w{uuid4().hex[:6]}")

    def filed(self) -> int:
        return len(self.crm.activities[self.bursting])

    async def begin(self) -> None:
        for worker in self.workers:
            worker.start()
        await configure(self.bootstrap, self.bursting, self.others)
        for worker in self.workers:
            await until(worker.ready, worker)

    async def trickle(self, stem: str, *, for_s: float) -> list[float]:
        """Let the others' conversations end one by one; return how long each took into its feed."""
        published_s: dict[str, float] = {}
        until_s = monotonic() + for_s
        for number in takewhile(lambda _: monotonic() < until_s, count()):
            name = self.others[number % OTHERS]
            marker = activity_id(transcript(chat_id=f"c{stem}{number}"), workspace_id=name)
            published_s[marker] = monotonic()
            await publish(self.bootstrap, topics.TRANSCRIPTS, [conversation(name, f"{stem}{number}")])
            await asyncio.sleep(OTHERS_INTERVAL_S)
        await until(lambda: published_s.keys() <= self.crm.filed_s.keys())
        return [self.crm.filed_s[marker] - at_s for marker, at_s in published_s.items()]

    async def request(self) -> float:
        """Let an agent of the bursting workspace ask for a lead; return how long it took to the CRM."""
        address = "asked@example.com"
        asked = lead_request(visitor=Visitor("v", "Hanako", address))
        asked_at_s = monotonic()
        await publish(
            self.bootstrap, topics.NOTICES, [(self.bursting, encoded(asked, self.bursting, "asked"))]
        )
        await until(lambda: address in self.crm.sought_s)
        return self.crm.sought_s[address] - asked_at_s

    async def busiest(self) -> EffectWorker:
        """The worker for which most records wait."""
        waiting = [(await self.waiting("records", worker), worker) for worker in self.workers]
        return max(waiting, key=lambda each: each[0])[1]

    async def waiting(self, what: str, worker: EffectWorker) -> float:
        return await worker.metric(f'effects_waiting_{what}{{target="{PACED}"}}')

    async def nothing_waits(self) -> bool:
        return not any([await self.waiting("records", worker) for worker in self.workers])

    async def end(self) -> None:
        for worker in self.workers:
            await until(worker.ready, worker)
            assert await worker.stop() == 0


async def a_burst(bootstrap: str, url: str, folder: Path, size: Size) -> str:
    """Act it out and judge it; return what was measured."""
    crm = KnowingCrm()
    async with crm.open(), AsyncExitStack() as stack:
        workers = [
            stack.enter_context(crm_sync(bootstrap, url, folder, port=crm.port, per_s=size.per_s, name=name))
            for name in (("one", "two") if url.startswith("postgresql") else ("one",))
        ]
        stage = Stage(bootstrap, crm, workers)
        await stage.begin()
        await stage.trickle("warm", for_s=1.0)
        quiet_s = await stage.trickle("quiet", for_s=size.others_s)
        began_s = monotonic()
        burst = [conversation(stage.bursting, number) for number in range(size.conversations)]
        await publish(bootstrap, topics.TRANSCRIPTS, burst)
        busy_s = await stage.trickle("busy", for_s=size.others_s)
        agent_s = await stage.request()
        busiest, at_kill, at_kill_s = await stage.busiest(), stage.filed(), monotonic() - began_s
        records, age_s, left_s = [
            await stage.waiting(what, busiest) for what in ("records", "seconds", "left_seconds")
        ]
        assert 0 < at_kill < size.conversations, "it goes on"
        assert records > 0
        assert age_s > 0
        assert 0 < left_s < float("inf")
        busiest.kill()
        if len(workers) > 1:  # the other one goes on with all of it
            await until(lambda: stage.filed() > at_kill + size.per_s)
        busiest.start()
        await until(lambda: stage.filed() >= size.conversations, *workers)
        took_s = monotonic() - began_s
        await until(stage.nothing_waits, *workers)
        await stage.end()
    asked_s = crm.asked_s[stage.bursting]
    entries = Counter(crm.activities[stage.bursting])
    told = [
        each for each in await outcomes(bootstrap, topics.ACTIVITIES) if each["workspaceid"] == stage.bursting
    ]
    filed = {each["id"] for each in told if each["data"]["kind"] == "activity"}
    assert len(entries) == len(filed) == size.conversations, "nothing is lost"
    assert set(entries.values()) == {1}, "nothing is filed twice"
    most = most_in_a_second(asked_s)
    assert most <= size.per_s, "the limit holds in every second"
    needed = size.conversations * REQUESTS_EACH + 1  # the agent's
    assert needed <= len(asked_s) <= needed + UNDER_WAY_MAX * REQUESTS_AGAIN
    assert median(busy_s) <= SLOWER_MAX * median(quiet_s) + SLACK_S, "others do not wait"
    assert agent_s < AGENT_MAX_S, "nor do the workspace's own agents"
    return (
        f"{size.conversations} conversations, {len(workers)} worker(s), {size.per_s} requests/s: {took_s:.0f} s, {len(asked_s)} requests, "
        f"{at_kill * REQUESTS_EACH / at_kill_s:.0f}/s until the kill, at most {most} in a second; at the kill, after {at_kill_s:.0f} s, "
        f"{records:.0f} waited, {left_s:.0f} s announced, {took_s - at_kill_s:.0f} s taken; others' median "
        f"{median(quiet_s) * 1000:.0f} ms before, {median(busy_s) * 1000:.0f} ms during, longest {max(quiet_s):.2f} s and {max(busy_s):.2f} s; an agent's request {agent_s:.2f} s"
    )


@pytest.mark.parametrize(
    "new_database", ["postgresql", pytest.param("sqlite", marks=pytest.mark.crm)], indirect=True
)
async def test_a_burst_is_worked_off_under_the_rate_and_beside_all_others(
    contract: str, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = await a_burst(contract, database_url, tmp_path, SHORT)
    with capsys.disabled():
        Console(highlight=False).print(f"\n{measured}")


@pytest.mark.crm
async def test_five_thousand_conversations_at_once(
    contract: str, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = await a_burst(contract, database_url, tmp_path, LONG)
    with capsys.disabled():
        Console(highlight=False).print(f"\n{measured}")
