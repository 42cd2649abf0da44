"""Pages of a list: how much, from where, and the cursor that goes on.

The one rule: a cursor is the sort key of the last item seen (a keyset, never an offset), and a sort key never changes once an
item is listed; so whatever is archived in between, each item is seen exactly once.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from pydantic import Field
from sqlalchemy import CTE, ColumnElement, RowMapping, Select, literal, select, tuple_, union

from services.runtime.openapi import Asked
from services.runtime.problems import BadRequest, Wrong, kind_of
from services.transcript.api.reader import Whole

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
"""Items of one page."""
CURSOR_CHARS_MAX = 1_024
"""Two ids of 128 characters, of four bytes each, and a number, in base64, and room to spare."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list. `as_of`: the time of the newest archived record of the workspace. `next` goes on; null at the end."""

    as_of: str | None
    items: tuple[Item, ...]
    next: str | None


class Paged(Asked):
    """What every list takes."""

    limit: Whole = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="items of a page at most")
    cursor: str | None = Field(
        default=None,
        max_length=CURSOR_CHARS_MAX,
        description="`next` of the page before; absent for the first",
    )


@dataclass(frozen=True, slots=True)
class Keyset:
    """The order of a list: columns that together are unique, their Python types, and one direction for all of them."""

    columns: tuple[ColumnElement[Any], ...]
    kinds: tuple[type, ...]
    descending: bool = False

    def order(self) -> list[ColumnElement[Any]]:
        """For ORDER BY."""
        return [column.desc() if self.descending else column.asc() for column in self.columns]

    def after(self, cursor: str | None) -> list[ColumnElement[bool]]:
        """For WHERE: only what comes after the cursor. Raises BadRequest."""
        if cursor is None:
            return []
        key = tuple_(*self.columns)
        place = tuple_(*_read(cursor, self.kinds))
        return [key < place if self.descending else key > place]


def first(sources: Sequence[tuple[Select[Any], Keyset]], limit: int) -> CTE:
    """The sort keys of a list's first items, and of one more: each source gives its own first ones by an index of its own."""
    (_, order), *_ = sources
    found = [select(source.order_by(*each.order()).limit(limit + 1).subquery()) for source, each in sources]
    together = union(*found).subquery()
    names = [column.name for column in order.columns]
    keys = [together.c[name] for name in names]
    whole = Keyset(tuple(keys), order.kinds, descending=order.descending)
    found_first = select(*keys).order_by(*whole.order()).limit(limit + 1).cte("first")
    # PostgreSQL would look for them once more for each row they are joined with, where it has not counted yet what was archived just now.
    return found_first.prefix_with("MATERIALIZED", dialect="postgresql")


def apart(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, by no index: SQLite knows no counts, and would go through a whole list where a few rows are known already."""
    return column + literal(0 if column.type.python_type is int else "")


def cut(rows: Sequence[RowMapping], limit: int, *key: str) -> tuple[Sequence[RowMapping], str | None]:
    """Of up to `limit` + 1 rows those of the page, and the cursor that goes on, from the columns of the sort key."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    place = [last[name] for name in key]
    return rows[:limit], urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def _read(cursor: str, kinds: tuple[type, ...]) -> list[Any]:
    """The sort key in a cursor. Anybody may write one: its values are only compared with, and permissions don't depend on it."""
    try:
        place = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or [type(value) for value in place] != list(kinds) or not _storable(place):
        raise BadRequest(Wrong("cursor", kind_of(cursor), "`next` of a page of this list was expected"))
    return place


def _storable(place: list[Any]) -> bool:
    """Whether a database can compare with it: PostgreSQL takes no NUL, and neither a number of more than 64 bits."""
    return all(abs(value) < 2**63 if isinstance(value, int) else "\0" not in value for value in place)
