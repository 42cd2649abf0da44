"""The network fails in the middle of a commit: whatever the worker learns of it, every output stands there once.

The one rule: the worker reaches the broker through the network only, while what it left is read directly.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.kafka import EmbeddedKafka
from tests.faults.network import AtCommit, Network
from tests.runtime.brokerage import LIMIT_S, Scene, publish, scene
from tests.runtime.test_on_kafka import numbered, outputs, plain_run, programs

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

IO_LIMIT_S = 2.0
LATE_MS = 150
RECORDS = 90


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Return the network of two hosts; `direct` is the way around it."""
    with Network(brokers=1, hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def direct(network: Network) -> Iterator[str]:
    """Return the address of the broker behind the network, for those who publish and read."""
    with EmbeddedKafka(doors=network.doors) as broker:
        yield broker.bootstrap


@pytest.fixture
async def of(direct: str) -> Scene:
    return await scene(direct)


def environment(of: Scene, network: Network, *, host: int) -> dict[str, str]:
    return {
        **of.environment(),
        "CHAT_BOOTSTRAP": network.bootstrap(host),
        "CHAT_IO_LIMIT_S": str(IO_LIMIT_S),
        "CHAT_BATCH_RECORDS_MAX": "10",
    }


async def all_stands_once(of: Scene, *, count: int) -> None:
    """Return when there are so many outputs; fail unless they are those of a plain run."""
    found = await outputs(of, count)
    assert found == await plain_run(of)
    assert sum(map(len, found.values())) == count


@pytest.mark.parametrize("action", AtCommit)
async def test_a_commit_whose_outcome_is_unknown(
    action: AtCommit, of: Scene, network: Network, tmp_path: Path
) -> None:
    with programs(environment(of, network, host=0), folder=tmp_path) as (program,):
        await program.ready()
        await publish(of, numbered(RECORDS))
        await all_stands_once(of, count=RECORDS)
        met = network.at_commit(0, action)
        await publish(of, numbered(RECORDS, start=RECORDS))
        assert await asyncio.to_thread(met.wait, LIMIT_S)
        await program.wait_for("task_failed")
        network.heal(0)
        await publish(of, numbered(RECORDS, start=2 * RECORDS))
        await all_stands_once(of, count=3 * RECORDS)


async def test_a_commit_that_arrives_after_another_worker_has_taken_over(
    of: Scene, network: Network, tmp_path: Path
) -> None:
    alone, heir = (environment(of, network, host=host) for host in (0, 1))
    with programs(alone, folder=tmp_path) as (zombie,):
        await zombie.ready()
        met = network.at_commit(0, AtCommit.STALL)
        await publish(of, numbered(RECORDS))
        assert await asyncio.to_thread(met.wait, LIMIT_S)
        network.stall(0)
        (tmp_path / "heir").mkdir()
        with programs(heir, folder=tmp_path / "heir"):
            await all_stands_once(of, count=RECORDS)
            network.heal(0)
            await zombie.wait_for("task_failed")
            await publish(of, numbered(RECORDS, start=RECORDS))
            await all_stands_once(of, count=2 * RECORDS)


async def test_answers_that_come_late(of: Scene, network: Network, tmp_path: Path) -> None:
    with programs(environment(of, network, host=0), folder=tmp_path) as (program,):
        await program.ready()
        network.late(0, LATE_MS)
        await publish(of, numbered(RECORDS))
        await all_stands_once(of, count=RECORDS)
        network.heal(0)
        assert program.entries("task_failed") == []
