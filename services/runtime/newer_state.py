"""What newer versions have stored in a partition's changelog beyond what this one knows: kept, so that none of it is lost here.

The one rule: what is not known is never read, changed or deleted. Fields of known values are written back with them; kinds of values
that are not known stay in the changelog as they are.
"""

from collections import Counter

from schemas.newer import Newer
from services.runtime.logs import log

_log = log(__name__)


class NewerState:
    """The fields and kinds of one partition that this version does not know; as many as the values that were restored."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Newer] = {}
        self._passed_over: Counter[str] = Counter()

    def keep(self, key: bytes, newer: Newer | None) -> None:
        """Keeps what a value holds beyond its known fields."""
        if newer is not None:
            self._kept[key] = newer

    def of(self, key: bytes) -> Newer | None:
        """What has to be written back with a value."""
        return self._kept.get(key)

    def forget(self, key: bytes) -> None:
        """A value is stored no longer."""
        self._kept.pop(key, None)

    def pass_over(self, kind: str) -> None:
        """Counts a value of an unknown kind."""
        self._passed_over[kind] += 1

    def tell(self, partition: int) -> None:
        """Logs once a partition is restored whether a newer version had it, and how much of it is not known here."""
        if self._kept or self._passed_over:
            _log.info(
                "state_of_a_newer_version",
                partition=partition,
                kept=len(self._kept),
                passed_over=self._passed_over.total(),
                kinds=sorted(self._passed_over),
            )
