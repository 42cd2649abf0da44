"""The embedded CRM's database: how it is opened, read and written, and who a record stands for.

The one rule: whoever was merged into another is never seen again; all ways to a person go through here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import aliased

from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import usable_address
from services.crm_sync.connectors.embedded.tables import Base, MergeRow, PersonRow
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.requests import sending
from services.runtime.database import make_tables, open_async
from services.runtime.effects import Refused, Unavailable

PEOPLE_FOUND_MAX = 100
ID_DIGITS_MAX = 18
"""A number of so many digits fits into a column."""


class EmbeddedDatabase:
    """One database of the embedded CRM, for all workspaces."""

    def __init__(self, url: str) -> None:
        self._engine = open_async(url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def make_tables(self) -> None:
        """Make the tables that are missing."""
        async with self._engine.begin() as connection:
            await connection.run_sync(make_tables, Base.metadata)

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session. Raises Unavailable when the database fails."""
        try:
            async with sending(), self._sessions() as session:
                yield session
        except DBAPIError as error:
            raise Unavailable("database_unavailable") from error

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a session. Raises Refused for what the database does not take, and OutcomeUnknown when it fails."""
        try:
            async with sending(), self._sessions() as session:
                yield session
        except DataError as error:
            raise Refused("field_refused") from error
        except DBAPIError as error:
            # A commit that broke off may have been carried out.
            raise OutcomeUnknown("database_failed") from error


async def person_of(session: AsyncSession, record: CrmRecord, *, workspace_id: str) -> PersonRow | None:
    """Return the person a record stands for; None where there is nobody in this workspace."""
    if not (record.id.isascii() and record.id.isdigit() and len(record.id) <= ID_DIGITS_MAX):
        return None
    asked = aliased(PersonRow)
    stands_for = (
        select(func.coalesce(MergeRow.into_id, asked.id))
        .select_from(asked)
        .outerjoin(MergeRow, MergeRow.person_id == asked.id)
        .where(asked.id == int(record.id))
    )
    return await session.scalar(
        select(PersonRow).where(
            PersonRow.workspace_id == workspace_id, PersonRow.id == stands_for.scalar_subquery()
        )
    )


async def people_with(session: AsyncSession, email_key: str, *, workspace_id: str) -> Sequence[PersonRow]:
    """Return everybody with this address, or into whom somebody with it was merged; the newest first."""
    asked = aliased(PersonRow)
    stand_for = (
        select(func.coalesce(MergeRow.into_id, asked.id))
        .select_from(asked)
        .outerjoin(MergeRow, MergeRow.person_id == asked.id)
        .where(asked.workspace_id == workspace_id, asked.email_key == email_key)
    )
    found = await session.scalars(
        select(PersonRow)
        .where(PersonRow.id.in_(stand_for))
        .order_by(PersonRow.created_ms.desc(), PersonRow.id.desc())
        .limit(PEOPLE_FOUND_MAX)
    )
    return found.all()


def owner_of(person: PersonRow) -> CrmOwner | None:
    """Return who owns somebody. There is no list of owners here: one who can be mailed has an address as id."""
    if person.owner_id is None:
        return None
    return CrmOwner(person.owner_id, email=usable_address(person.owner_id))
