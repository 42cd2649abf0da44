"""What can be said of the group without a Kafka; the rest is in test_on_kafka."""

import asyncio

from services.runtime.kafka_group import KafkaGroup
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
