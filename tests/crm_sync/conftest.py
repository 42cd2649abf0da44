"""An empty embedded CRM, and an agent's side of the cards.

The one rule: a module has one database, emptied after each test: making a hundred takes longer than all tests.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.tables import Base
from tests.crm_sync.desk import Desk, a_desk, an_archive
from tests.databases import NewDatabase
from tests.transcript.company import opened as archived


@pytest.fixture(scope="module")
def crm_url(new_database: NewDatabase) -> str:
    return new_database()


@pytest.fixture
async def crm(crm_url: str) -> AsyncIterator[EmbeddedCrm]:
    opened = await EmbeddedCrm.open(crm_url)
    yield opened
    async with opened._engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await opened.close()


@pytest.fixture(scope="session")
def archive_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of the archive of two companies, not to be changed."""
    url = f"sqlite:///{tmp_path_factory.mktemp('archive') / 'archive.sqlite3'}"

    async def fill() -> None:
        async with archived(url):
            pass

    asyncio.run(fill())
    return url


@pytest.fixture
async def desk(archive_url: str) -> AsyncIterator[Desk]:
    """Sit down where every connector can do everything."""
    async with an_archive(archive_url) as archive, a_desk(archive) as found:
        yield found
