"""The harness itself: what is lost, doubled or differs is found, a plan follows from its seed, a run can be
taken up again."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import Topic
from services.local.topics import ensure_topics
from services.runtime.broker import Row
from tests.faults.faults import Kind, plan
from tests.faults.judgement import Judgement, open_transactions
from tests.faults.results import Batch, Results
from tests.faults.stage import LIMIT_S, POLL_INTERVAL_S

pytestmark = pytest.mark.faults

ONE, TWO, THREE = (Row(b"key", value) for value in (b"1", b"2", b"3"))
COUNTS = dict.fromkeys(Kind, 2)


@pytest.mark.parametrize(
    ("found", "lost", "doubled", "differing"),
    [
        ([ONE, TWO, THREE], 0, 0, 0),
        ([ONE, THREE], 1, 0, 0),
        ([ONE, TWO, TWO, THREE], 0, 1, 0),
        ([ONE, THREE, TWO], 0, 0, 2),
        ([ONE, TWO, Row(b"other", b"3")], 1, 0, 1),
        ([ONE, TWO, THREE, Row(None, b"4")], 0, 0, 1),
        ([], 3, 0, 0),
    ],
)
def test_every_difference_counts(found: list[Row], lost: int, doubled: int, differing: int) -> None:
    judged = Judgement()
    judged.compare("topic/0", found=found, expected=[ONE, TWO, THREE])
    assert (judged.lost, judged.doubled, judged.differing) == (lost, doubled, differing)
    assert bool(judged.wrong) == bool(lost or doubled or differing)


@pytest.mark.kafka
async def test_an_open_transaction_is_found(kafka: str) -> None:
    topic = "left-open"
    await ensure_topics(kafka, partitions=2, topics=(Topic(topic),))
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"value", partition=1)
        assert await open_transactions(kafka) == [f"{topic}/1: a transaction is open at 0"]
        await producer.abort_transaction()
        async with asyncio.timeout(LIMIT_S):
            while await open_transactions(kafka):  # noqa: ASYNC110 - the marker is written after the answer
                await asyncio.sleep(POLL_INTERVAL_S)


def test_a_plan_follows_from_its_seed() -> None:
    planned = plan(COUNTS, rng=Random("7-0"))
    assert planned == plan(COUNTS, rng=Random("7-0"))
    assert planned != plan(COUNTS, rng=Random("7-1"))
    assert Counter(fault.kind for fault in (*planned.brokers, *planned.workers)) == COUNTS


@pytest.mark.parametrize("seed", range(50))
def test_a_fault_befalls_only_whom_it_can(seed: int) -> None:
    up, sizes = {0}, [1]
    for fault in plan(COUNTS, rng=Random(seed)).workers:
        host = int(fault.victim[-1])
        assert (host in up) is (fault.kind is not Kind.START)
        if fault.kind in (Kind.START, Kind.STOP):
            up ^= {host}
            sizes.append(len(up))
        if fault.kind in (Kind.SUSPEND, Kind.SUSPEND_IN_COMMIT, Kind.STALL):
            assert len(up) > 1
    assert sizes == [1, 2, 3, 2, 1]


def test_a_run_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    results = Results(seed=7, path=tmp_path / "folder" / "latest.json")
    results.add(Batch(7, 5, "with other fields", {}, *range(12)))
    path = tmp_path / "folder" / "latest.json"
    path.write_text(path.read_text().replace('"expelled"', '"no_longer_there"'))
    good = Batch(7, 0, results.version, {Kind.KILL: 3}, 90, 1_000, 900, 80, 7, 6, 5, 0, 0, 0, 0, 0)
    bad = replace(good, number=1, lost=1, wrong=1)
    for batch in (good, bad, replace(good, seed=8, number=2), replace(good, version="older", number=3)):
        results.add(batch)
    assert [results.has(number) for number in range(4)] == [True, False, False, False]
    assert results.batches == [good, bad]
    results.add(replace(good, number=1))
    assert results.has(1)
    assert len(results.batches) == 2
