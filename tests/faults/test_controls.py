"""Controls on a real Kafka: a worker with one thing wrong must be reported by the comparison that passes for the real one.

One rule: in each test the real worker (`""`) and the control meet the same fault and the same comparison.
"""

import asyncio
import json
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas import codec
from schemas import events as e
from schemas.decisions import ChatMissed
from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics
from services.local.verify import committed_offsets
from services.router.processor import RouterProcessor
from services.runtime.broker import Row
from services.runtime.ports import Processor
from services.runtime.wall_clock import now_ms
from tests.faults.judgement import Judgement
from tests.faults.wrong_worker import COUNTED_RESTORE, ID_PER_WORKER, OWN_CLOCK, UNAWAITED_BATCH
from tests.runtime.brokerage import Program, Scene, publish, scene
from tests.runtime.counting import Counting
from tests.runtime.plain_run import plain_run

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

LIMIT_S = 120.0
POLL_INTERVAL_S = 0.1
OUT_BYTES_MAX = 100_000
"""What the output topic takes where a batch must fail."""


# ---------------------------------------------------------------- the comparison


async def differences(
    bootstrap: str, group: str, topic: str, outputs: tuple[str, ...], processor: Callable[[int], Processor]
) -> Judgement:
    """How the outputs differ from the plain run over the committed inputs."""
    judged = Judgement()
    committed = await committed_offsets(bootstrap, group=group, topic=topic)
    async with TopicLog(bootstrap, (topic, *outputs)) as log:
        await log.catch_up()
        for number in log.partitions_of(topic):
            inputs = [record for record in log.of(topic, number) if record.offset < committed.get(number, 0)]
            expected = plain_run(processor(number), inputs)
            for output in outputs:
                found = [Row(record.key, record.value, record.headers) for record in log.of(output, number)]
                judged.compare(f"{output}/{number}", found=found, expected=expected[output])
    return judged


async def counted(of: Scene) -> Judgement:
    return await differences(
        of.bootstrap, of.name, of.inputs[0], (of.output,), lambda _number: Counting(of.output)
    )


# ---------------------------------------------------------------- the workers


@contextmanager
def worker(of: Scene, folder: Path, name: str, **environment: str) -> Iterator[Program]:
    """A worker process that is gone afterwards, whatever happens."""
    given = {f"CHAT_{key.upper()}": value for key, value in environment.items()}
    program = Program(
        {**of.environment(), "CHAT_INSTANCE_ID": name, "CHAT_BATCH_RECORDS_MAX": "50", **given},
        folder / f"{of.name}-{name}.log",
        module="tests.faults.wrong_worker",
    )
    try:
        yield program
    finally:
        program.kill()


async def ended(program: Program) -> int:
    program.send(signal.SIGTERM)
    return await program.ended()


async def processed(of: Scene, count: int, by: Program) -> None:
    """Ends when so many records have been processed and committed. Before a worker runs a new Kafka knows of no groups."""
    await by.wait_for("restored")
    async with asyncio.timeout(LIMIT_S):
        while True:
            committed = await committed_offsets(of.bootstrap, group=of.name, topic=of.inputs[0])
            if sum(committed.values()) >= count:
                return
            await asyncio.sleep(POLL_INTERVAL_S)


def numbered(count: int) -> list[tuple[int, bytes, bytes]]:
    return [(n % 3, b"key%d" % (n % 7), b"v%d" % n) for n in range(count)]


# ---------------------------------------------------------------- the controls


@pytest.mark.parametrize("wrong", ["", ID_PER_WORKER])
async def test_a_worker_suspended_in_a_commit_and_succeeded(
    own_kafka: str, tmp_path: Path, wrong: str
) -> None:
    of = await scene(own_kafka)
    await publish(of, numbered(300))
    with worker(of, tmp_path, "zombie", wrong=wrong, suspended_at_commit="2") as zombie:
        await zombie.wait_for("restored")
        with worker(of, tmp_path, "heir", wrong=wrong) as heir:
            await processed(of, 300, heir)
            zombie.send(signal.SIGCONT)
            await ended(zombie)
            assert await ended(heir) == 0
    judged = await counted(of)
    assert judged.doubled if wrong else judged.wrong == []


@pytest.mark.parametrize("wrong", ["", UNAWAITED_BATCH])
async def test_a_batch_that_is_not_written(own_kafka: str, tmp_path: Path, wrong: str) -> None:
    of = await scene(own_kafka, output_bytes_max=OUT_BYTES_MAX)
    await publish(of, [*numbered(30), (0, b"k" * 2 * OUT_BYTES_MAX, b"its key is in the output")])
    with worker(of, tmp_path, "worker", wrong=wrong) as program:
        if wrong:
            await processed(of, 31, program)
            await ended(program)
        else:
            assert await program.ended() == 1
    judged = await counted(of)
    assert judged.lost if wrong else judged.wrong == []


@pytest.mark.parametrize("wrong", ["", COUNTED_RESTORE])
async def test_a_worker_killed_and_restored(own_kafka: str, tmp_path: Path, wrong: str) -> None:
    of = await scene(own_kafka)
    await publish(of, numbered(600))
    with worker(of, tmp_path, "worker", wrong=wrong) as program:
        await processed(of, 600, program)
        program.kill()
    await publish(of, numbered(60))
    with worker(of, tmp_path, "worker", wrong=wrong) as program:
        await processed(of, 660, program)
        assert await ended(program) == 0
    judged = await counted(of)
    assert judged.differing if wrong else judged.wrong == []


async def test_a_router_that_looks_at_its_own_clock(own_kafka: str, tmp_path: Path) -> None:
    of = Scene(own_kafka, "clocks", 1)
    await ensure_topics(own_kafka, partitions=of.partitions, replicas=1)
    await publish(of, [(0, b"acme", value) for value in opening()], topic=EVENTS)
    for number, wrong in enumerate(("", OWN_CLOCK), start=1):
        environment = {"router": "1", "inputs": json.dumps([EVENTS]), "state": ROUTER_STATE}
        with worker(of, tmp_path, "router", wrong=wrong, tick_interval_ms="100", **environment) as program:
            await publish(of, [(0, b"acme", request(f"{number}-{chat}")) for chat in range(3)], topic=EVENTS)
            await missed(own_kafka, 3 * number)
            assert await ended(program) == 0
        judged = await differences(own_kafka, of.name, EVENTS, (ROUTING, NOTICES), RouterProcessor)
        assert judged.differing if wrong else judged.wrong == []


def opening() -> list[bytes]:
    """One agent who is online and never answers."""
    ringing = e.Routing(offer_timeout_s=0.5, wait_timeout_s=1.0, no_answer_limit=0)
    return [
        encoded(e.AgentConfigured("ann", "Ann")),
        encoded(e.DepartmentConfigured("desk", "Desk", agent_ids=("ann",), routing=ringing)),
        encoded(e.AgentPresence("ann", "online")),
    ]


def request(chat_id: str) -> bytes:
    return encoded(e.ChatRequested(chat_id, "web", "How?", e.Visitor("v"), department_id="desk"))


def encoded(event: e.Event) -> bytes:
    return codec.encode(
        event, event_id=uuid.uuid4().hex, source="/tests", at_ms=now_ms(), workspace_id="acme"
    )


async def missed(bootstrap: str, count: int) -> None:
    """Ends when so many chats have been missed, which ticks decide."""
    async with asyncio.timeout(LIMIT_S), TopicLog(bootstrap, (ROUTING,)) as log:
        while sum(f'"{ChatMissed.TYPE}"'.encode() in (r.value or b"") for r in log.all_of(ROUTING)) < count:
            await asyncio.sleep(POLL_INTERVAL_S)
            await log.catch_up()
