"""What the router tells its metrics after each batch.

The one rule: the runner calls this when a batch stands, and never for one that does not.
"""

from services.router.processor import RouterProcessor
from services.runtime.metrics import Metrics
from services.runtime.ports import Processor
from services.runtime.wall_clock import now_ms

TELL_INTERVAL_MS = 1_000
"""How often a partition tells how it stands: as often as there are ticks. Prometheus asks much less often."""


class Observer:
    """The runner's `Observe` of one process."""

    def __init__(self) -> None:
        self._told_ms: dict[int, int] = {}

    def __call__(self, partition: int, processor: Processor, metrics: Metrics) -> None:
        """Adds what the batch counted; once a second, tells how the partition stands."""
        assert isinstance(processor, RouterProcessor), "the router's partitions run the router's processor"
        assert processor.figures is not None, "and the worker gives it figures"
        ended = processor.figures.settle(metrics.tallies)
        answers = metrics.spread("answer_seconds")
        for where, waits_ms in ended.answered_ms:
            answers.put_all(where, waits_ms)
        for error_s in ended.misjudged_s:
            metrics.observe("estimated_wait_error_seconds", error_s)
        at_ms = now_ms()
        if abs(at_ms - self._told_ms.get(partition, 0)) < TELL_INTERVAL_MS:
            return
        self._told_ms[partition] = at_ms
        late_ms = processor.partition.deadline_lag_ms(at_ms)
        levels = processor.figures.gauges()
        levels["deadline_lag_seconds"] = {(str(partition),): late_ms / 1000}
        metrics.tell(partition, levels)
