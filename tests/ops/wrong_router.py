"""A router that keeps its books badly, as no router should: `python -m tests.ops.wrong_router`.

The one rule: what is wrong is what its figures are told; its decisions are right.
"""

from functools import partial
from typing import Any, cast

from schemas.decisions import ChatOffered, ChatQueued
from schemas.events import AgentHeartbeat, ChatRequested
from services.router.core.figures import Figures
from services.router.core.partition import Emitted, Entry, Partition, Step, decided
from services.router.worker import RouterSettings, run
from services.runtime.process import main_of

EARLY_MS = 5_000


class Forgetful:
    """Takes no arrival into its books, and believes that whoever enters a queue has been there for a while."""

    def __init__(self, partition: Partition, **settings: Any) -> None:
        self._partition = partition
        self._figures = Figures(partition, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._figures, name)

    def apply(self, entry: Entry) -> list[Emitted]:
        emitted: list[Emitted] = []
        for step in self._partition.steps(entry):
            said = decided(step)
            event = AgentHeartbeat("") if isinstance(step.event, ChatRequested) else step.event
            self._figures.hear(Step(step.ws, event, step.cause, step.number), [*map(_early, said)])
            emitted += said
        return emitted


def _early(item: Emitted) -> Emitted:
    if isinstance(item.data, ChatOffered | ChatQueued):
        return Emitted(item.data, item.id, item.at_ms - EARLY_MS, item.workspace_id, item.cause)
    return item


if __name__ == "__main__":
    main_of(RouterSettings, partial(run, figures=cast("Any", Forgetful)))
