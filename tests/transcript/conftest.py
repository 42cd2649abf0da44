"""Fixtures of these tests."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from services.transcript.archive.database import Archive
from tests.databases import NewDatabase
from tests.transcript.company import client_of, opened


@pytest.fixture
async def archive(database_url: str) -> AsyncIterator[Archive]:
    found = await Archive.open(database_url)
    yield found
    await found.close()


@pytest.fixture(scope="session")
def company_url(new_database: NewDatabase) -> str:
    """Return the URL of the archive of two companies, not to be changed."""
    url = new_database()

    async def fill() -> None:
        async with opened(url):
            pass

    asyncio.run(fill())
    return url


@pytest.fixture
async def client(company_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Ask the API of that archive."""
    found = Archive.at(company_url)
    async with client_of(found) as asking:
        yield asking
    await found.close()
