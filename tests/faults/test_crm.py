"""crm_sync under faults: killed while it posts, a CRM that is away for one workspace, workers that come and go.

The one rule: the CRM files whatever it is sent and can be asked what it has, so here nothing at all may stand in it twice.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from rich.console import Console

from schemas import topics
from tests.crm_sync.material import settings, transcript
from tests.faults.conftest import LONG
from tests.faults.crm_server import NAME, PORT, CrmServer
from tests.faults.effect_workers import (
    EffectWorker,
    begun,
    encoded,
    lag,
    outcomes,
    publish,
    until,
    workspaces,
)

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(900)]

POSTS = 2_000 if LONG else 200
KILLS = 8 if LONG else 2
AWAY_POSTS = 400 if LONG else 60
SHARED_POSTS = 500 if LONG else 150
CHATS_EACH = 3
"""Chats of one visitor, who is new at the first of them: they make one lead."""
GROUP = "chat-crm-sync"
CIRCUIT_OPEN_MS = 300
OPEN_TIMES = 10


@contextmanager
def crm_sync(
    bootstrap: str, folder: Path, port: int, *, name: str = "crm_sync", **more: str
) -> Iterator[EffectWorker]:
    environment = {
        PORT: str(port),
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_GROUP": GROUP,
        "CHAT_HTTP_PORT": "0",
        "CHAT_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
        "CHAT_CRM_URL": f"sqlite:///{folder / 'crm.db'}",
        "CHAT_CIRCUIT_OPEN_MS": str(CIRCUIT_OPEN_MS),
    }
    with EffectWorker("tests.faults.crm_server", environment | more, folder=folder, name=name) as worker:
        yield worker


async def configure(bootstrap: str, names: Sequence[str]) -> None:
    """Let these workspaces use the CRM, and want a lead for everybody."""
    configured = settings(connector=NAME, lead_policy="always")
    await publish(
        bootstrap, topics.NOTICES, [(name, encoded(configured, name, f"configured-{name}")) for name in names]
    )


def conversations(names: Sequence[str], count: int) -> list[tuple[str, bytes]]:
    """Finished conversations of these workspaces in turn."""
    return [
        (
            workspace_id := names[number % len(names)],
            encoded(
                transcript(
                    chat_id=f"c{number}",
                    visitor_email=f"v{number // len(names) // CHATS_EACH}@{workspace_id}.example.com",
                ),
                workspace_id,
                f"e-{workspace_id}-{number}",
            ),
        )
        for number in range(count)
    ]


async def settled(bootstrap: str, names: Sequence[str], count: int, *workers: EffectWorker) -> None:
    """Returns when so many conversations of these workspaces have their outcome; each must say `done`."""

    async def all_there() -> bool:
        found = [
            each
            for each in await outcomes(bootstrap, topics.ACTIVITIES)
            if each["workspaceid"] in names and each["data"]["kind"] == "activity"
        ]
        assert {each["data"]["result"] for each in found} <= {"done"}
        return len({each["id"] for each in found}) >= count

    await until(all_there, *workers)


async def read_to_the_end(bootstrap: str) -> None:
    async def nothing_left() -> bool:
        return await lag(bootstrap, topics.TRANSCRIPTS, GROUP) == 0

    await until(nothing_left)


def judge(crm: CrmServer, names: Sequence[str], *, count: int) -> str:
    """Say what stands in the CRM; fail where something is missing or stands there twice."""
    activities = Counter(marker for name in names for marker in crm.activities[name])
    leads = Counter(address for name in names for _marker, address in crm.leads[name])
    assert len(activities) == count
    assert set(activities.values()) == {1}
    assert set(leads.values()) == {1}
    return f"{count} posts and {len(leads)} leads, 0 lost, 0 twice"


async def test_killed_while_it_posts(contract: str, tmp_path: Path, seed: int, console: Console) -> None:
    chance = random.Random(f"{seed} posts")
    names = workspaces(20, stem="k")
    moments = sorted(chance.sample(range(POSTS // 20, POSTS * 9 // 10), KILLS))
    in_flight: set[str] = set()
    async with CrmServer().open() as crm:

        def posted() -> int:
            return sum(map(len, crm.activities.values()))

        with crm_sync(contract, tmp_path, crm.port, CHAT_INSTANCE_ID="crm-1") as worker:
            await configure(contract, names)
            await publish(contract, topics.TRANSCRIPTS, conversations(names, POSTS))
            began_s = monotonic()
            for moment in moments:
                worker.start()
                await until(lambda: posted() >= moment, worker)  # noqa: B023
                await asyncio.sleep(chance.uniform(0, 0.05))
                worker.kill()
                in_flight |= begun(tmp_path / "ledger.db")
            worker.start()
            await settled(contract, names, POSTS, worker)
            took_s = monotonic() - began_s
            await read_to_the_end(contract)
            assert await worker.stop() == 0
    said = judge(crm, names, count=POSTS)
    assert crm.looked_up >= len(in_flight) > 0
    console.print(
        f"kill -9 while it posts: {KILLS} kills, {said}, {len(in_flight)} in flight, {crm.looked_up} markers asked for, {took_s:.0f} s"
    )


async def test_a_crm_that_is_away_for_one_workspace(
    contract: str, tmp_path: Path, seed: int, console: Console
) -> None:
    chance = random.Random(f"{seed} away")
    away, *here = workspaces(4, partition=0, stem="a")  # all of one partition
    records = [*conversations([away], AWAY_POSTS), *conversations(here, AWAY_POSTS)]
    chance.shuffle(records)
    async with CrmServer().open() as crm:
        crm.down = {away}
        with crm_sync(contract, tmp_path, crm.port, CHAT_INSTANCE_ID="crm-1") as worker:

            async def left_alone(waiting: int) -> bool:
                is_open = await worker.metric(f'circuit_open{{target="{NAME}"}}')
                return is_open == bool(waiting) and await worker.metric("effects_parked") == waiting

            worker.start()
            await configure(contract, [away, *here])
            await publish(contract, topics.TRANSCRIPTS, records)
            began_s = monotonic()
            await settled(contract, here, AWAY_POSTS, worker)
            unaffected_s = monotonic() - began_s
            await read_to_the_end(contract)
            await until(lambda: left_alone(AWAY_POSTS), worker)
            worker.kill()
            worker.start()
            await until(lambda: left_alone(AWAY_POSTS), worker)
            await asyncio.sleep(max(0.0, began_s + OPEN_TIMES * CIRCUIT_OPEN_MS / 1000 - monotonic()))
            down_s = monotonic() - began_s
            refusals, crm.down = crm.refusals, set()
            back_s = monotonic()
            await settled(contract, [away], AWAY_POSTS, worker)
            delivered_s = monotonic() - back_s
            await until(lambda: left_alone(0), worker)
            assert await worker.stop() == 0
            assert "example.com" not in worker.told()
    assert delivered_s < 60
    said = judge(crm, [away], count=AWAY_POSTS)
    judge(crm, here, count=AWAY_POSTS)
    console.print(
        f"a CRM away for one workspace, {down_s:.1f} s ({down_s * 1000 / CIRCUIT_OPEN_MS:.0f} open times, asked {refusals} times): {said}; "
        f"all {AWAY_POSTS} of the others after {unaffected_s:.1f} s; delivered {delivered_s:.1f} s after its return"
    )


async def test_workers_that_come_and_go_post_nothing_twice(
    contract: str, tmp_path: Path, seed: int, console: Console
) -> None:
    chance = random.Random(f"{seed} rebalances")
    names = workspaces(20, stem="s")
    changes = 0
    async with CrmServer().open() as crm:

        def posted() -> int:
            return sum(map(len, crm.activities.values()))

        with (
            crm_sync(contract, tmp_path, crm.port, name="one") as one,
            crm_sync(contract, tmp_path, crm.port, name="two") as two,
        ):
            await configure(contract, names)
            one.start()
            await until(one.ready)
            records = conversations(names, SHARED_POSTS)
            while records:
                await publish(contract, topics.TRANSCRIPTS, records[:100])
                del records[:100]
                worker, other = chance.sample([one, two], 2)
                if not worker.running:
                    worker.start()
                elif other.running:
                    worker.kill()
                else:
                    other.start()
                    worker = other
                await until(worker.ready if worker.running else other.ready)
                changes += 1
            await settled(contract, names, SHARED_POSTS)
            await read_to_the_end(contract)
            for worker in (one, two):
                if worker.running:
                    assert await worker.stop() == 0
    said = judge(crm, names, count=SHARED_POSTS)
    console.print(f"{changes} joins and kills among two workers: {said}")
