"""What can be said of the group without a Kafka; the rest is in test_on_kafka."""

import asyncio

from aiokafka.errors import KafkaError, UnknownError

from services.runtime.kafka_group import KafkaGroup, membership_failed
from services.runtime.metrics import Metrics
from services.runtime.settings import RuntimeSettings

LONG_MS = 60_000
LIMIT_S = 5


async def test_nobody_waits_for_an_assignment_of_a_group_that_stops() -> None:
    group = KafkaGroup(
        RuntimeSettings(),
        topics=("in",),
        changelog="state",
        metrics=Metrics(),
        assigned=lambda _partitions, _missed: None,
    )
    inputs = group.inputs(0)
    waiting = asyncio.create_task(inputs.reassigned(wait_ms=LONG_MS))
    await asyncio.sleep(0)
    group.stop()
    await asyncio.wait_for(waiting, LIMIT_S)
    await asyncio.wait_for(inputs.reassigned(wait_ms=LONG_MS), LIMIT_S)


def test_a_failed_membership_is_told_truthfully() -> None:
    lost = KafkaError("Unexpected error during coordination RuntimeError()")
    assert "RuntimeError" in str(membership_failed("g", lost))
    assert "CHAT_INSTANCE_ID" not in str(membership_failed("g", lost))
    fenced = KafkaError(f"Unexpected exception in heartbeat task: {UnknownError()!r}")
    assert "CHAT_INSTANCE_ID" in str(membership_failed("g", fenced))
