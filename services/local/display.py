"""What the command line shows while it works: one bar for each slow step; and texts of others, made fit to be shown."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

_WIDE_SPACE = "\u3000"
"""It stands in many Japanese names; Python holds it for unprintable, as it does all spaces but one."""


class Bars:
    """Draws progress on a console, as a context manager; itself a `services.local.progress.Progress`."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Draw a stage; it gets a bar of its own the first time it is named."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def visible(text: str) -> str:
    """Return a text with what does not print escaped, since a publisher may have put terminal commands into it."""
    return "".join(
        char if char.isprintable() or char == _WIDE_SPACE else char.encode("unicode_escape").decode()
        for char in text
    )
