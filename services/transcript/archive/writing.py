"""How rows get into the database: upserts that the two kinds of databases share.

The one rule: a row replaces the one of the same key, unless its table says that only a newer one does (`Table.info["newer_by"]`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from services.transcript.archive.rows import Row

PARAMETERS_MAX = 5_000
"""Rows handed to the database in one statement's execution."""
NAMED_MAX = 900
"""Values named in one statement: SQLite takes at most 999 before 3.32."""


def put(connection: Connection, rows: Iterable[Row]) -> None:
    """Writes rows, those of a table and the same columns in their order."""
    groups: dict[tuple[Table, tuple[str, ...]], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.table, tuple(row.values)), []).append(row.values)
    for (table, columns), parameters in groups.items():
        statement = upsert(table, columns, connection.dialect.name)
        for start in range(0, len(parameters), PARAMETERS_MAX):
            connection.execute(statement, parameters[start : start + PARAMETERS_MAX])


def put_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows whose keys are not there yet."""
    if rows:
        connection.execute(upsert(table, (), connection.dialect.name), rows)


@cache
def upsert(table: Table, columns: tuple[str, ...], dialect: str) -> Insert:
    """An insert of these columns that replaces the columns which are not the key."""
    insert: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    primary = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in columns if name not in primary}
    if not others:
        return cast(Insert, insert.on_conflict_do_nothing())
    newer = None
    if "newer_by" in table.info:
        name, by = table.info["newer_by"]
        newer = insert.excluded[name] - func.coalesce(table.c[name], -1) > by
        if "offset" in table.c:  # a row of an older version lacks what came with the offset
            newer = or_(newer, table.c.offset.is_(None))
    return cast(Insert, insert.on_conflict_do_update(index_elements=primary, set_=others, where=newer))


def having(
    columns: Sequence[ColumnElement[Any]], keys: Iterable[tuple[Any, ...]]
) -> Iterator[ColumnElement[bool]]:
    """Conditions that together are true of the rows with these keys: each takes as many as share all but their last value.

    (A list of whole keys would do, but SQLite reads all rows for one.)
    """
    shares: dict[tuple[Any, ...], list[Any]] = {}
    for *shared, last in keys:
        shares.setdefault(tuple(shared), []).append(last)
    for values, lasts in shares.items():
        same = [column == value for column, value in zip(columns, values, strict=False)]
        for chunk in chunks(lasts):
            yield and_(*same, columns[-1].in_(chunk))


def chunks(keys: Iterable[Any]) -> Iterator[list[Any]]:
    """Values in shares that one statement can name."""
    known = list(keys)
    for start in range(0, len(known), NAMED_MAX):
        yield known[start : start + NAMED_MAX]
