"""Opens a database by URL: SQLite for one worker, PostgreSQL beyond.

The one rule: parameters never stand in an error's text, since they hold what visitors wrote.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

LOCK_WAIT_MAX_MS = 5_000
CONNECTIONS_MAX = 8


def open_engine(url: str) -> AsyncEngine:
    """Return an engine for `sqlite:///FILE` or `postgresql://…`, with or without a driver's name in it."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=CONNECTIONS_MAX,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    engine = create_async_engine(
        parsed.set(drivername="sqlite+aiosqlite"),
        # SQLite has one writer at a time: a queue for one connection costs less than finding the file locked.
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers in other processes work beside the writer, and let two writers wait for each other."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={LOCK_WAIT_MAX_MS}")
    cursor.close()
