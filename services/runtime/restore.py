"""Rebuilds a partition's state from its changelog.

The one rule: a restore ends at a *position*, never at a count; compaction and transaction markers leave offsets no record has.
"""

from services.runtime.broker import Changelog, Clock
from services.runtime.metrics import Metrics
from services.runtime.ports import Processor

RECORDS_PER_TURN = 500
"""Records restored before others may run: a longer turn would starve the heartbeat."""


async def restore(
    changelog: Changelog, processor: Processor, *, partition: int, clock: Clock, metrics: Metrics
) -> int:
    """Gives `processor` the latest value of each key, in the order they were written; returns how many there are."""
    position, end = await changelog.start()
    live: dict[bytes, bytes] = {}
    try:
        while position < end:
            metrics.set("restore_remaining_records", end - position, partition=str(partition))
            page = await changelog.poll()
            metrics.add("restore_records", len(page.records))
            for key, value in page.records:
                live.pop(key, None)
                if value is not None:
                    live[key] = value
            position = page.position
        for number, (key, value) in enumerate(live.items(), start=1):
            processor.restore(key, value)
            if number % RECORDS_PER_TURN == 0:
                await clock.sleep(0)
        processor.restored()
    finally:
        metrics.forget("restore_remaining_records", partition=str(partition))
    return len(live)
