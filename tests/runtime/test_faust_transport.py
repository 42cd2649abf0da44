"""What Faust does with transactions and concurrency on a real Kafka, with our transport."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.assignor.partition_assignor import PartitionAssignor

from schemas import codec
from schemas.outcomes import MailSettled
from services.runtime.effect_settings import EffectSettings
from services.runtime.failures import WorkerFailed
from services.runtime.faust_app import EffectsApp
from services.runtime.faust_transport import Place
from services.runtime.ledger import Ledger
from services.runtime.metrics import Metrics
from tests import waiting

LIMIT_S = 30
until = partial(waiting.until, limit_s=LIMIT_S)
WORKSPACE = "acme"
_numbers = count()


def record(number: int) -> bytes:
    data = MailSettled(notice_id=f"n{number}", kind="feedback", recipient="r", result="sent")
    return codec.encode(data, event_id=f"e{number}", source="/test", at_ms=0, workspace_id=WORKSPACE)


@asynccontextmanager
async def topic_on(bootstrap: str, *, partitions: int = 1) -> AsyncIterator[str]:
    topic = f"faust-{next(_numbers)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = (topic, f"{topic}.dlq")
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        yield topic
    finally:
        await admin.close()


@asynccontextmanager
async def producer_of(bootstrap: str, **named: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **named)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def committed(bootstrap: str, group: str, topic: str, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic, partition))
        return offset
    finally:
        await consumer.stop()


@asynccontextmanager
async def running(
    bootstrap: str,
    topic: str,
    handler: Callable[[Any], Awaitable[None]],
    *,
    ledger: str = "sqlite:///:memory:",
    **named: Any,
) -> AsyncIterator[tuple[EffectsApp, "asyncio.Task[None]", Metrics]]:
    settings = EffectSettings(bootstrap=bootstrap, group=f"group-{topic}", **named)
    metrics = Metrics()
    async with Ledger(ledger, group="effects") as its_ledger:
        app = EffectsApp(settings, metrics, its_ledger)
        app.on(topic, codec.deliveries, handler, concurrency=4)
        stop = asyncio.Event()
        run = asyncio.create_task(app.run(stop))
        try:
            yield app, run, metrics
        finally:
            stop.set()
            async with asyncio.timeout(LIMIT_S):
                await asyncio.wait({run})
        if not run.cancelled() and not isinstance(run.exception(), WorkerFailed):
            run.result()


def test_the_place_is_the_lowest_record_that_is_not_done() -> None:
    place = Place()
    assert place.committable() is None
    for offset in (0, 3, 4, 9):
        place.delivered(offset)
    place.done(3)
    assert place.committable() == 0
    place.done(0)
    assert place.committable() == 4
    place.done(77)
    place.done(9)
    assert place.committable() == 4
    place.done(4)
    assert place.committable() == 10


@pytest.mark.kafka
async def test_aborted_records_are_not_handled_and_commits_pass_the_gaps(kafka: str) -> None:
    seen: list[str] = []

    async def handle(envelope: Any) -> None:
        seen.append(envelope.data.notice_id)

    async with topic_on(kafka) as topic, producer_of(kafka, transactional_id=topic) as producer:
        expected = []
        for batch in range(12):
            await producer.begin_transaction()
            for number in range(batch * 10, batch * 10 + (1 if batch == 0 else 10)):
                await producer.send_and_wait(topic, record(number), key=WORKSPACE.encode())
                if batch % 3 != 1:
                    expected.append(f"n{number}")
            await (producer.abort_transaction() if batch % 3 == 1 else producer.commit_transaction())

        async with running(kafka, topic, handle) as (_app, _run, metrics):
            await until(lambda: len(seen) >= len(expected))
            await until(lambda: metrics.value("lag_records", topic=topic, partition="0") == 0)
        assert sorted(seen) == sorted(expected)
        # 111 records and 12 markers; the last one is a marker and is never passed.
        assert await committed(kafka, f"group-{topic}", topic) == 111 + 12 - 1

        # Nothing again after a restart; what comes next is handled.
        seen.clear()
        async with running(kafka, topic, handle):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, record(1000), key=WORKSPACE.encode())
            await producer.commit_transaction()
            await until(lambda: bool(seen))
        assert seen == ["n1000"]


@pytest.mark.kafka
async def test_a_record_in_flight_is_never_committed_past(kafka: str) -> None:
    release = asyncio.Event()
    seen: list[str] = []

    async def handle(envelope: Any) -> None:
        if envelope.data.notice_id == "n0":
            await release.wait()
        seen.append(envelope.data.notice_id)

    async with topic_on(kafka) as topic, producer_of(kafka) as producer:
        for number in range(6):
            await producer.send_and_wait(topic, record(number), key=WORKSPACE.encode())
        async with running(kafka, topic, handle) as (app, _run, metrics):
            await until(lambda: len(seen) == 5)
            await until(lambda: metrics.value("lag_records", topic=topic, partition="0") == 6)
            assert app.unready() == ""
            assert await committed(kafka, f"group-{topic}", topic) in (None, 0)
            release.set()
            await until(lambda: len(seen) == 6)
        assert await committed(kafka, f"group-{topic}", topic) == 6


@pytest.mark.kafka
async def test_a_record_begun_before_a_rebalance_is_finished_by_who_began_it(
    kafka: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    seen: list[str] = []
    finish = asyncio.Event()

    def handler(name: str, ledger: Ledger) -> Callable[[Any], Awaitable[None]]:
        async def handle(envelope: Any) -> None:
            effect = envelope.data.notice_id
            seen.append(f"{name} is handed {effect}")
            standing = (await ledger.claim(effect, ["r"], now_ms=0))["r"]
            if standing.outcome is None:
                seen.append(f"{name} does {effect}")
                await finish.wait()
                await ledger.settle(effect, {"r": "sent"}, now_ms=0)

        return handle

    async with (
        topic_on(kafka, partitions=2) as topic,
        producer_of(kafka) as producer,
        Ledger(url, group="effects") as one_ledger,
        Ledger(url, group="effects") as other_ledger,
    ):
        for number in range(2):
            await producer.send_and_wait(topic, record(number), key=WORKSPACE.encode(), partition=number)
        one, other = handler("one", one_ledger), handler("other", other_ledger)

        async def passed() -> bool:
            return [await committed(kafka, f"group-{topic}", topic, number) for number in range(2)] == [1, 1]

        async with running(kafka, topic, one, ledger=url, slot_limit_ms=60_000) as (app, _run, _metrics):
            await until(lambda: {"one does n0", "one does n1"} <= set(seen))
            async with running(kafka, topic, other, ledger=url, slot_limit_ms=60_000):
                # Which partition moves is the assignor's choice.
                await until(lambda: any(entry.startswith("other is handed") for entry in seen))
                finish.set()
                await until(passed)
            # Stopped in the middle of a rebalance, Faust leaves its connections open.
            await until(lambda: app.unready() == "")
        assert sorted(entry for entry in seen if "does" in entry) == ["one does n0", "one does n1"]


@pytest.mark.kafka
async def test_workers_without_a_name_share_the_partitions(kafka: str) -> None:
    async def handle(_envelope: Any) -> None:
        raise AssertionError("nothing is published")

    async with (
        topic_on(kafka, partitions=4) as topic,
        running(kafka, topic, handle) as (_app, _run, one),
        running(kafka, topic, handle) as (_other_app, _other_run, other),
    ):
        await until(lambda: one.value("partitions_assigned") == other.value("partitions_assigned") == 2)


class Holding(ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets the others wait in a rebalance until it is released."""

    def __init__(self) -> None:
        self.asked, self.release = asyncio.Event(), asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            self.asked.set()
            await self.release.wait()

    async def on_partitions_assigned(self, _assigned: set[TopicPartition]) -> None:
        """Nothing."""


@pytest.mark.kafka
async def test_a_commit_during_a_rebalance_costs_nobody_the_membership(kafka: str) -> None:
    async def handle(_envelope: Any) -> None:
        raise AssertionError("nothing is published")

    holding = Holding()
    async with topic_on(kafka, partitions=3) as topic, running(kafka, topic, handle) as (app, _run, _metrics):
        first, second = (
            AIOKafkaConsumer(
                bootstrap_servers=kafka,
                group_id=f"group-{topic}",
                enable_auto_commit=False,
                partition_assignment_strategy=[PartitionAssignor(app._app)],
            )
            for _ in range(2)
        )
        first.subscribe([topic], listener=holding)
        second.subscribe([topic])
        try:
            async with asyncio.timeout(LIMIT_S):
                await until(lambda: app.unready() == "")
                await first.start()
                await until(lambda: app.unready() == "" and bool(first.assignment()))
                thread = app._app.consumer._thread
                mine = dict.fromkeys(thread.assignment(), 0)
                assert mine
                joining = asyncio.create_task(second.start())
                await holding.asked.wait()
                await until(lambda: thread._consumer._coordinator._performed_join_prepare)
                committing = asyncio.create_task(thread.commit(mine))
                holding.release.set()
                assert not await committing
                await joining
                await until(
                    lambda: app.unready() == "" and len(first.assignment()) == len(second.assignment()) == 1
                )
                assert await thread.commit(dict.fromkeys(thread.assignment(), 0))
        finally:
            holding.release.set()
            await second.stop()
            await first.stop()


@pytest.mark.kafka
async def test_what_cannot_be_read_is_a_dead_letter_and_what_is_unknown_is_skipped(kafka: str) -> None:
    seen: list[str] = []

    async def handle(envelope: Any) -> None:
        seen.append(envelope.data.notice_id)

    async with topic_on(kafka, partitions=2) as topic, producer_of(kafka) as producer:
        bad = [b"not JSON", None, b"{}", record(1).replace(b'"sent"', b'"lost"')]
        for value in bad:
            await producer.send_and_wait(topic, value, key=b"acme", partition=1, headers=[("h", b"1")])
        await producer.send_and_wait(topic, record(2), key=b"other", partition=1)
        unknown = record(3).replace(b"mail.settled.v1", b"mail.settled.v9")
        await producer.send_and_wait(topic, unknown, key=b"acme", partition=1)
        await producer.send_and_wait(topic, record(4), key=b"acme", partition=1)
        async with running(kafka, topic, handle) as (_app, _run, metrics):
            await until(lambda: seen == ["n4"] and metrics.value("dead_letters_total", topic=topic) == 5)
            assert metrics.value("unknown_types_total") == 1
        assert await committed(kafka, f"group-{topic}", topic, 1) == 7

        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(f"{topic}.dlq", 1)])
            letters = [await asyncio.wait_for(consumer.getone(), LIMIT_S) for _ in range(5)]
        finally:
            await consumer.stop()
    by_offset = {int(dict(letter.headers)["__streams.errors.offset"]): letter for letter in letters}
    assert [by_offset[offset].value for offset in range(4)] == bad
    headers = dict(by_offset[1].headers)
    assert headers["h"] == b"1"
    assert headers["__streams.errors.exception"] == b"Poison"
    assert headers["__streams.errors.topic"] == topic.encode()
    assert headers["__streams.errors.partition"] == b"1"


@pytest.mark.kafka
async def test_a_poison_flood_stops_the_worker_before_the_topic_is_drained(kafka: str) -> None:
    async def handle(_envelope: Any) -> None:
        raise AssertionError("nothing can be read")

    async with topic_on(kafka) as topic, producer_of(kafka) as producer:
        for _ in range(6):
            await producer.send_and_wait(topic, b"?", key=b"acme")
        async with running(kafka, topic, handle, dead_letters_per_minute_max=3) as (_app, run, _metrics):
            with pytest.raises(WorkerFailed, match="CHAT_DEAD_LETTERS_PER_MINUTE_MAX"):
                await asyncio.wait_for(run, LIMIT_S)
        assert await committed(kafka, f"group-{topic}", topic) == 3


@pytest.mark.kafka
async def test_a_failing_handler_is_tried_again_and_its_record_is_not_passed_over(kafka: str) -> None:
    tries: list[str] = []

    async def handle(envelope: Any) -> None:
        tries.append(envelope.data.notice_id)
        if envelope.data.notice_id == "n0" and len(tries) < 3:
            raise ConnectionError("the database is away")

    async with topic_on(kafka) as topic, producer_of(kafka) as producer:
        await producer.send_and_wait(topic, record(0), key=WORKSPACE.encode())
        async with running(kafka, topic, handle):
            await until(lambda: len(tries) == 3)
        assert await committed(kafka, f"group-{topic}", topic) == 1
