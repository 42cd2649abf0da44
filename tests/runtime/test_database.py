"""Databases as they are opened: what several processes do with one at the same time."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from services.runtime.database import make_tables, open_single


def test_who_opens_a_new_file_waits_for_whoever_is_making_it(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    engine = open_single(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as maker, ThreadPoolExecutor() as threads:
        maker.execute("BEGIN IMMEDIATE")
        opening = threads.submit(lambda: engine.connect().close())
        with pytest.raises(TimeoutError):
            opening.result(0.3)
        maker.execute("COMMIT")
        opening.result(10)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_a_file_that_is_no_database_fails_at_once(tmp_path: Path) -> None:
    file = tmp_path / "no database.sqlite3"
    file.write_bytes(b"what is this" * 100)
    engine = open_single(f"sqlite:///{file}")
    with pytest.raises(Exception, match="not a database"):
        engine.connect()
    engine.dispose()


def test_tables_of_the_version_before_get_the_columns_they_lack_and_that_version_goes_on(
    database_url: str,
) -> None:
    before, since = MetaData(), MetaData()
    old = Table("kept", before, Column("id", Integer, primary_key=True))
    new = Table("kept", since, Column("id", Integer, primary_key=True), Column("name", String(8)))
    engine = open_single(database_url)
    for metadata in (before, since, since, before):
        with engine.begin() as connection:
            make_tables(connection, metadata)
            connection.execute(insert(old))
    with engine.begin() as connection:
        connection.execute(insert(new), {"name": "new"})
        assert connection.execute(select(new.c.name).order_by(new.c.id)).scalars().all() == [
            None,
            None,
            None,
            None,
            "new",
        ]
    engine.dispose()
