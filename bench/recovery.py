"""What failures and restarts cost: memory at rest, time without routing, and the way back of a large state.

One rule: everything is measured from outside, on real processes and one real Kafka, which nothing else uses meanwhile.
"""

import asyncio
import time
from collections.abc import Callable

from bench import outages, restoring
from bench.processes import memory_mb
from bench.rows import Row
from services.local.installation import Installation
from services.local.kafka import EmbeddedKafka
from services.local.topics import ensure_topics

IDLE_MAX_MB = 130.0
IDLE_S = 5.0
"""So long after it is ready a worker has done everything that it does only once."""


def measure(report: Callable[[str], None]) -> list[Row]:
    """Return all rows of recovery. `report` is told what is going on."""
    report("starting Kafka")
    with EmbeddedKafka() as kafka:
        asyncio.run(ensure_topics(kafka.bootstrap))
        return [
            *_idle(kafka.bootstrap, report),
            *outages.measure(kafka.bootstrap, report),
            *restoring.measure(kafka.bootstrap, report),
        ]


def _idle(bootstrap: str, report: Callable[[str], None]) -> list[Row]:
    """Return the memory of each of the four workers when nothing has happened yet; all of them must keep the bound."""
    report("starting the four workers")
    with Installation(bootstrap=bootstrap) as installation:
        time.sleep(IDLE_S)
        installation.check()
        return [
            Row(f"memory of an idle {name}", memory_mb(pid), "MB", IDLE_MAX_MB)
            for name, pid in installation.supervisor.pids.items()
        ]
