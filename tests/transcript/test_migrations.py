"""The archive's migrations: up, down to nothing and up again, with what is in it."""

from collections.abc import Callable
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text

from services.transcript.archive import tables
from services.transcript.archive.database import Archive, migrate
from services.transcript.archive.search import found_by, terms
from tests.transcript.sources import contents, drain, everything
from tests.transcript.test_archive import sample


def is_known(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether SQLAlchemy knows a table: of the search index it does not (`search.py`)."""
    return kind != "table" or not (name or "").startswith("text_grams")


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"include_name": is_known})
    return list(compare_metadata(context, tables.metadata))


def names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def look(archive: Archive, question: Callable[[Connection], Any]) -> Any:
    async with archive.engine.connect() as connection:
        return await connection.run_sync(question)


async def found(archive: Archive, text: str) -> list[str]:
    """The chats with a text."""
    (term,) = terms(text)
    condition = found_by(term, workspace_id="acme", dialect=archive.engine.dialect.name, whispers=True)
    async with archive.engine.connect() as connection:
        return list(await connection.scalars(select(tables.chats.c.chat_id).where(condition)))


async def test_they_make_the_tables_and_take_them_back(archive: Archive) -> None:
    assert await look(archive, differences) == []
    await drain(archive, everything(sample()))
    migrate(archive.engine.url, "base")
    assert await look(archive, names) == {"alembic_version"}
    migrate(archive.engine.url)
    assert await look(archive, differences) == []
    assert not any((await contents(archive)).values())
    await drain(archive, everything(sample()))
    assert await found(archive, "whisper") == ["c1"]


async def test_an_archive_of_an_older_version_is_filled_from_what_it_has_and_the_topics(
    archive: Archive,
) -> None:
    records = everything(sample())
    await drain(archive, records)
    before = await contents(archive)
    migrate(archive.engine.url, "0002")
    assert "texts" not in await look(archive, names)
    migrate(archive.engine.url)
    after = await contents(archive)
    assert after["texts"], "from the transcripts that are there"
    assert after["texts"] == before["texts"]
    assert after["tags"] == before["tags"]
    assert await found(archive, "料金") == ["c1"]
    assert await found(archive, "whisper") == ["c1"]
    await drain(archive, records)
    assert {name: rows for name, rows in (await contents(archive)).items() if name not in LATER} == {
        name: rows for name, rows in before.items() if name not in LATER
    }


LATER = {"summaries", "offsets"}
"""Made by whoever reads them, and with a time only where something was read since."""


async def test_an_archive_of_a_newer_version_is_used_as_it_is(archive: Archive) -> None:
    """During a rolling upgrade, and on the way back, this version meets what the next one has migrated."""
    async with archive.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE chats ADD COLUMN of_the_next_version INTEGER"))
        await connection.execute(text("CREATE TABLE of_the_next_version (id INTEGER PRIMARY KEY)"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    again = Archive.at(archive.engine.url.render_as_string(hide_password=False))
    try:
        await drain(again, everything(sample()))
        assert await found(again, "whisper") == ["c1"]
        assert "of_the_next_version" in await look(again, names)
        async with again.engine.connect() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    finally:
        await again.close()
