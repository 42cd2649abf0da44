"""CSV that spreadsheets open as it is: UTF-8 with its mark, every cell quoted, and no cell that runs as a formula.

The one rule: a cell that a spreadsheet might run gets an apostrophe in front, and so does one that begins with an apostrophe;
so whoever takes one apostrophe off what begins with one has exactly what was there.

Why these beginnings: OWASP, CSV Injection. Full-width signs are run by Japanese versions; leading blanks are skipped by some.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields
from typing import Any

import orjson

from schemas.events import Visitor

RISKY = tuple("=+-@＝＋－＠'\t\r\n")
"""Signs with which a cell may begin that is run, and the apostrophe that keeps one from being run."""
_VISITOR = tuple(field.name for field in fields(Visitor))
_HEAD = (
    "workspace_id",
    "chat_id",
    "revision",
    "outcome",
    "started_at",
    "ended_at",
    "end_reason",
    "ended_by",
    "missed_at",
    "missed_reason",
    "missed_detail",
    "missed_tag",
    "department_id",
    "department_name",
    "agents",
    "tags",
    "channel",
    "question",
    "summary",
    "complete",
)


class Sheet:
    """Writes the rows of one sheet. `entry`: the dataclass of what stands in its last columns."""

    def __init__(self, entry: type) -> None:
        self._entry = tuple(field.name for field in fields(entry))

    def head(self) -> bytes:
        """The mark and the names of the columns."""
        visitor = [f"visitor_{name.removeprefix('visitor_')}" for name in _VISITOR]
        return "\ufeff".encode() + _written([[*_HEAD, *visitor, *(f"entry_{name}" for name in self._entry)]])

    def rows(self, head: Mapping[str, Any], entries: Iterable[Any | None]) -> bytes:
        """One row for each entry of a chat; None stands for no entry."""
        visitor = head["visitor"]
        about = [*(head[name] for name in _HEAD), *(visitor.get(name) for name in _VISITOR)]
        none = (None,) * len(self._entry)
        return _written([*about, *(none if entry is None else astuple(entry))] for entry in entries)


def _written(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A value as text: nothing for None, lists and objects as JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}" if text.startswith(RISKY) or text.lstrip().startswith(RISKY) else text
