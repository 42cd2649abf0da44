"""The way from fewer partitions to more, step by step. Killed anywhere and run again, it goes on from where it was.

    nobody runs, all is processed ─▶ stamped ─▶ partitions added ─▶ offsets led on ─▶ old owners fenced ─▶ state moved

Before the last step commits, workers refuse to run: the topics' numbers differ from each other, or from what their state was made with.

One rule: what each step did can be seen on Kafka; nothing else is remembered.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import InvalidTransactionTimeout, KafkaError

from services.local.errors import LocalError
from services.local.growing import layout as layouts
from services.local.growing.layout import Layout, administering
from services.local.growing.offsets import carry_on, gaps_of, offsets_to_pass
from services.local.growing.state import STORES, move, moves, stored
from services.local.progress import Progress
from services.local.standing.look import EXACTLY_ONCE, ROUTER
from services.local.topic_log import reached, start
from services.local.topics import await_led
from services.runtime.kafka import transactional
from services.runtime.kafka_client import Producer
from services.runtime.settings import RuntimeSettings

TRANSACTION_LIMITS_MS = (15 * 60 * 1000, 5 * 60 * 1000, 60 * 1000)
"""The most a broker allows by default (transaction.max.timeout.ms), what the embedded one does, and enough for a million records of state."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `records`: of state, those that move; `offsets`: those that new partitions have to pass."""

    before: int
    wanted: int
    records: int
    offsets: int


async def planned(bootstrap: str, *, wanted: int) -> Plan:
    """Look what is to be done, changing nothing. Raises LocalError where it can't be done, or not yet."""
    try:
        async with administering(bootstrap) as admin:
            _, before = await _checked(bootstrap, admin, wanted=wanted)
    except KafkaError as error:
        raise _refused(error) from error
    if before == wanted:
        return Plan(before, wanted, 0, 0)
    records = 0
    for store in STORES.values():
        for number in range(before):
            live = await stored(bootstrap, store, number)
            records += sum(
                each.value is not None
                for each in moves(store, live, number=number, before=before, wanted=wanted)
            )
    consumer = layouts.committed_reader(bootstrap)
    await start(consumer, bootstrap)
    try:
        offsets = offsets_to_pass(await gaps_of(consumer, before=before, wanted=wanted))
    finally:
        await consumer.stop()
    return Plan(before, wanted, records, offsets)


async def grow(bootstrap: str, *, wanted: int, told: Callable[[str], None], progress: Progress) -> Plan:
    """Do it; `told` is given a sentence after each step. Raises LocalError."""
    try:
        async with administering(bootstrap) as admin:
            layout, before = await _checked(bootstrap, admin, wanted=wanted)
            if before == wanted:
                return Plan(before, wanted, 0, 0)
            told("Nobody runs, and all is processed.")
            await _stamp(bootstrap, layout, before=before)
            await _add(admin, layout, wanted=wanted)
            told(f"All topics have {wanted} partitions.")
            producer = await _started(bootstrap)
            try:
                await carry_on(bootstrap, admin, producer, before=before, wanted=wanted, progress=progress)
                told("The new partitions' offsets go on where the old ones' end.")
                await _fence(bootstrap, before=before)
                layout = await layouts.look(admin)  # from here on nobody else commits
                if layouts.count_before(layout, wanted=wanted) == wanted:
                    return Plan(wanted, wanted, 0, 0)  # an earlier run's commit was still on its way
                records = await move(
                    bootstrap,
                    producer,
                    layout,
                    before=before,
                    wanted=wanted,
                    told=lambda: told("The state is written and waits for its commit."),
                )
            finally:
                await producer.stop()
    except KafkaError as error:
        raise _refused(error) from error
    return Plan(before, wanted, records, 0)


async def _started(bootstrap: str) -> Producer:
    """A producer whose transactions may last as long as the broker allows; what an earlier run has begun is over then."""
    arguments = {**transactional(_settings(bootstrap, ROUTER), f"{ROUTER}-grow"), "compression_type": "gzip"}
    for limit_ms in TRANSACTION_LIMITS_MS:
        producer = Producer(**arguments, transaction_timeout_ms=limit_ms)
        try:
            await producer.start()
        except InvalidTransactionTimeout:
            await producer.stop()
        else:
            return producer
    raise LocalError(
        f"This Kafka allows no transaction of {TRANSACTION_LIMITS_MS[-1] // 1000} s: raise its transaction.max.timeout.ms."
    )


def _refused(error: KafkaError) -> LocalError:
    return LocalError(
        f"Kafka refuses ({type(error).__name__}): mend that, and run it again; it goes on from where it was."
    )


def _settings(bootstrap: str, group: str) -> RuntimeSettings:
    return RuntimeSettings(**{**reached(bootstrap).model_dump(), "group": group})


async def _checked(bootstrap: str, admin: AIOKafkaAdminClient, *, wanted: int) -> tuple[Layout, int]:
    layout = await layouts.look(admin)
    before = layouts.count_before(layout, wanted=wanted)
    if before != wanted:
        await layouts.demand_stopped(admin)
        layout = await layouts.look(admin)  # who stopped meanwhile has committed
        await layouts.demand_drained(bootstrap, layout, before=before)
    return layout, before


async def _stamp(bootstrap: str, layout: Layout, *, before: int) -> None:
    """Let the commits of a version that did not say so yet say with how many partitions they were made: a later run must know."""
    for group in EXACTLY_ONCE:
        if layout.made_with[group] or not layout.committed[group]:
            continue
        consumer = AIOKafkaConsumer(**reached(bootstrap).client(), group_id=group, enable_auto_commit=False)
        consumer.assign(list(layout.committed[group]))
        await start(consumer, bootstrap)
        try:
            await consumer.commit(
                {at: (offset, str(before)) for at, offset in layout.committed[group].items()}
            )
        finally:
            await consumer.stop()


async def _add(admin: AIOKafkaAdminClient, layout: Layout, *, wanted: int) -> None:
    fewer = [topic for topic, count in layout.counts.items() if count < wanted]
    if fewer:
        await admin.create_partitions({topic: NewPartitions(wanted) for topic in fewer})
    await await_led(admin, list(layout.counts), partitions=wanted)


async def _fence(bootstrap: str, *, before: int) -> None:
    """Let no worker that was suspended, and wakes now, write anything with what it remembers."""
    for group in EXACTLY_ONCE:
        for number in range(before):
            old = Producer(**transactional(_settings(bootstrap, group), f"{group}-{number}"))
            try:
                await old.start()
            finally:
                await old.stop()
