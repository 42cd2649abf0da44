"""Opens databases by URL: SQLite for one worker, PostgreSQL beyond.

The one rule: parameters never stand in an error's text, since they hold what visitors wrote.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    MetaData,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from stamina import retry_context

LOCK_WAIT_MAX_MS = 10_000
"""How long a writer waits for another one of the same SQLite file."""
CONNECT_LIMIT_S = 10
STATEMENT_LIMIT_MS = 30_000
"""PostgreSQL gives a statement up after so long, a wait for somebody else's lock included; none here takes a second in health."""
CONNECTIONS_MAX = 8
TABLES_LOCK = 0x63686174
"""A number for PostgreSQL's advisory lock: one process at a time makes tables."""
KINDS = ("sqlite", "postgresql", "postgres")


def open_async(url: str, *, readers: bool = False) -> AsyncEngine:
    """An engine for asyncio. `url`: `sqlite:///FILE` or `postgresql://…`, with or without a driver's name in it.

    SQLite has one writer at a time, and a queue for one connection costs less than finding the file locked; with
    `readers`, more connections read beside the writer.
    """
    parsed = _prepared(url)
    connections = 1 if parsed.get_backend_name() == "sqlite" and not readers else CONNECTIONS_MAX
    engine = create_async_engine(
        _with_driver(parsed, sqlite="sqlite+aiosqlite"),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        **_limits(parsed),
    )
    _tune(engine.sync_engine)
    return engine


def open_single(url: str) -> Engine:
    """An engine of one connection, for a thread of its own, whose commits outlive a power cut. `url` as for `open_async`."""
    parsed = _prepared(url)
    engine = create_engine(
        _with_driver(parsed, sqlite="sqlite"),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        **_limits(parsed),
    )
    _tune(engine)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sync_each_commit)
    return engine


def make_tables(connection: Connection, metadata: MetaData) -> None:
    """First thing in a transaction: makes the tables and the columns that are missing. Of several processes that begin together, one does."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
    metadata.create_all(connection)
    _add_columns(connection, metadata)


def _add_columns(connection: Connection, metadata: MetaData) -> None:
    """Adds what tables made by earlier versions lack. Only columns that may be empty come later, so those versions can go on, too."""
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))


def _prepared(url: str) -> URL:
    """The URL as parsed. Raises SQLAlchemyError or ValueError when it names no database that can be used."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in KINDS:
        raise ArgumentError(f"a database is one of {', '.join(KINDS)}")
    return parsed


def _with_driver(parsed: URL, *, sqlite: str) -> URL:
    return parsed.set(drivername=sqlite if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg")


def _limits(parsed: URL) -> dict[str, Any]:
    """What keeps a connection to a server that is gone from being waited for without end."""
    if parsed.get_backend_name() == "sqlite":
        return {}
    options = f"-c statement_timeout={STATEMENT_LIMIT_MS}"
    return {
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": CONNECT_LIMIT_S,
            "tcp_user_timeout": CONNECT_LIMIT_S * 1000,
            "options": options,
        },
    }


def _tune(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _make_folder)
        event.listen(engine, "connect", _prepare_sqlite)


def _make_folder(_dialect: object, _record: object, arguments: list[Any], _named: object) -> None:
    """When it connects, not before: a disk that is full now may have room later."""
    if arguments[0] != ":memory:":
        Path(arguments[0]).absolute().parent.mkdir(parents=True, exist_ok=True)


def _sync_each_commit(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Readers never wait for the writer (WAL); a power cut may lose the last transactions, never half of one (NORMAL)."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={LOCK_WAIT_MAX_MS}")
    # A new file's mode is changed by whoever comes first; the others are refused meanwhile, without the wait they asked for.
    for attempt in retry_context(
        on=_is_busy,
        attempts=None,
        timeout=LOCK_WAIT_MAX_MS / 1000,
        wait_initial=0.005,
        wait_max=0.1,
    ):
        with attempt:
            cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
