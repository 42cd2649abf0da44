"""How a slow step tells how far it is. One rule: whoever does the work calls it, whoever has a terminal draws it."""

from typing import Protocol


class Progress(Protocol):
    """Receives `done` of `total` for a named stage; units are the stage's own, `done == total` ends it."""

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Take note; must return at once and must not raise."""


def silent(stage: str, *, done: int, total: int) -> None:
    """Show nothing."""
