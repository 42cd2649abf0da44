"""A router that keeps its books badly, as no router should: `python -m tests.ops.wrong_router`.

The one rule: what is wrong is what its figures are told; its decisions are right.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from schemas.decisions import ChatOffered, ChatQueued
from services.router.core.figures import Figures
from services.router.core.partition import Emitted, Entry, Partition
from services.router.worker import RouterSettings, run
from services.runtime.process import main_of

EARLY_MS = 5_000


class Forgetful:
    """Takes no arrival into its books, and believes that whoever enters a queue has been there for a while."""

    def __init__(self, partition: Partition, **settings: Any) -> None:
        self._figures = Figures(partition, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._figures, name)

    def hear(self, entry: Entry, emitted: Sequence[Emitted]) -> None:
        early = [
            Emitted(item.data, item.id, item.at_ms - EARLY_MS, item.workspace_id, item.cause)
            if isinstance(item.data, ChatOffered | ChatQueued)
            else item
            for item in emitted
        ]
        self._figures.hear(Entry(entry.envelope, entry.partition, -1, entry.at_ms), early)


if __name__ == "__main__":
    main_of(RouterSettings, partial(run, figures=cast("Any", Forgetful)))
