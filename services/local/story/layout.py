"""How a story is set: the day, then the time, the time since the beginning and what happened, reasons indented below.

The one rule: on a terminal lines are broken at its width, Japanese ones where Japanese lines may be; anywhere else (a file, a pipe)
each thing is one line, however long.
"""

from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from services.local.story.teller import Line
from services.local.story.words import Words

_ELAPSED_WIDTH = 9
_TEXT_AT = 21
"""The column where what happened begins: behind time and elapsed time, with two blanks each."""
_REASONS_AT = _TEXT_AT + 2
_WIDTH_MIN = 20
"""Text is not set narrower than that; a narrower terminal breaks it by itself."""
_NEVER_FIRST = "、。，．・：；？！）」』】〕々ー),.;:"
_NEVER_LAST = "（「『【〔("


def rows(lines: Iterable[Line], words: Words, *, begun_ms: int, width: int | None = None) -> Iterator[str]:
    """The story as rows of text, broken at `width` columns. `begun_ms`: when the chat began."""
    day = ""
    for line in lines:
        head, at = "", _REASONS_AT
        if line.at_ms is not None:
            if (date := words.date(line.at_ms)) != day:
                day = date
                yield date
            head = f"{words.clock(line.at_ms)}  {elapsed(line.at_ms - begun_ms):>{_ELAPSED_WIDTH}}  "
            at = _TEXT_AT
        for part in broken(line.text, width=None if width is None else max(_WIDTH_MIN, width - at)):
            yield f"{head or ' ' * at}{part}"
            head = ""


def elapsed(span_ms: int) -> str:
    """The time since the beginning, as a stop watch shows it."""
    minutes, seconds = divmod(max(0, span_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}:{minutes:02}:{seconds:02}" if hours else f"+{minutes}:{seconds:02}"


def broken(text: str, *, width: int | None) -> Iterator[str]:
    """A text in lines of at most `width` columns: broken at blanks and beside wide characters, never before a closing bracket or a stop."""
    while width is not None and cell_len(text) > width:
        fitting = 1
        while cell_len(text[: fitting + 1]) <= width:
            fitting += 1
        at = next((at for at in range(fitting, 0, -1) if _may_break(text, at)), fitting)
        yield text[:at].rstrip()
        text = text[at:].lstrip()
    yield text


def _may_break(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if after in _NEVER_FIRST or before in _NEVER_LAST:
        return False
    if before.isdigit():  # a number stays with its unit
        return after == " "
    return " " in (before, after) or cell_len(before) > 1 or cell_len(after) > 1


def show(console: Console, title: str, lines: Iterable[Line], words: Words, *, begun_ms: int) -> None:
    """Prints the story, each thing as soon as it is told."""
    width = console.width if console.is_terminal else None
    for row in (*broken(title, width=width), *rows(lines, words, begun_ms=begun_ms, width=width)):
        console.print(Text(row), soft_wrap=True)
