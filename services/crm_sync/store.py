"""What crm_sync itself has to remember: each workspace's CRM settings, how far they were read, and whose turn the next lead is.

The one rule: a lead's turn is taken once, under the lead's own id, so a repeated attempt finds the same owner and skips nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, String, Text, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from schemas.codec import dumps
from schemas.notices import NoticeCrmConfigured
from services.runtime.database import make_tables, open_async

_SETTINGS: TypeAdapter[NoticeCrmConfigured] = TypeAdapter(NoticeCrmConfigured)


class Base(DeclarativeBase):
    """The tables of crm_sync."""


class SettingsRow(Base):
    """A workspace's settings, whole, as the latest notice had them."""

    __tablename__ = "crm_sync_settings"

    workspace_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    settings: Mapped[str] = mapped_column(Text)


class PositionRow(Base):
    """The next offset to read of a partition of `chat.notices.v1`."""

    __tablename__ = "crm_sync_positions"

    partition: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_offset: Mapped[int] = mapped_column(BigInteger)


class TurnsRow(Base):
    """How many leads of a workspace have taken their turn."""

    __tablename__ = "crm_sync_turns"

    workspace_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    taken: Mapped[int]


class TurnRow(Base):
    """The turn one lead took, counted from 0."""

    __tablename__ = "crm_sync_lead_turns"

    lead_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    turn: Mapped[int]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a worker starts with."""

    settings: dict[str, NoticeCrmConfigured]
    positions: dict[int, int]


class Store:
    """The tables above in the ledger's database. Make it with `open`."""

    def __init__(self, url: str) -> None:
        self._engine = open_async(url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Open the database at `url` (`sqlite:///FILE` or `postgresql://…`) and make the tables it lacks."""
        store = cls(url)
        async with store._engine.begin() as connection:
            await connection.run_sync(make_tables, Base.metadata)
        return store

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()

    async def load(self) -> Remembered:
        """Return all settings, and where to read on."""
        async with self._sessions() as session:
            settings = await session.scalars(select(SettingsRow))
            positions = await session.scalars(select(PositionRow))
            return Remembered(
                {row.workspace_id: _SETTINGS.validate_json(row.settings) for row in settings},
                {row.partition: row.next_offset for row in positions},
            )

    async def save(
        self, settings: Mapping[str, NoticeCrmConfigured], *, partition: int, next_offset: int
    ) -> None:
        """Keep these workspaces' settings and the place they were read up to, both or neither."""
        # Several workers read the same settings at once, and in the same order, so none waits for a later row of another's.
        changed = [
            {"workspace_id": workspace_id, "settings": dumps(one).decode()}
            for workspace_id, one in sorted(settings.items())
        ]
        async with self._sessions() as session, session.begin():
            if changed:
                await session.execute(self._upsert(SettingsRow), changed)
            await session.execute(
                self._upsert(PositionRow), {"partition": partition, "next_offset": next_offset}
            )

    def _upsert(self, row: type[Base]) -> Any:
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        table = row.__table__
        inserted = dialect.insert(table)
        return inserted.on_conflict_do_update(
            index_elements=[one.name for one in table.columns if one.primary_key],
            set_={one.name: inserted.excluded[one.name] for one in table.columns if not one.primary_key},
        )

    async def take_turn(self, lead_id: str, *, workspace_id: str) -> int:
        """Return the turn of this lead within its workspace: the next one, or the one it took before."""
        for _ in range(2):
            try:
                async with self._sessions() as session, session.begin():
                    return await _take_turn(session, lead_id, workspace_id=workspace_id)
            except IntegrityError:
                # Another worker began this workspace, or took this very turn, at the same moment: what it wrote stands now.
                continue
        raise AssertionError("two inserts of one row failed, and neither row is there")


async def _take_turn(session: AsyncSession, lead_id: str, *, workspace_id: str) -> int:
    taken = await session.get(TurnRow, lead_id)
    if taken is not None:
        return taken.turn
    count = await session.scalar(
        update(TurnsRow)
        .where(TurnsRow.workspace_id == workspace_id)
        .values(taken=TurnsRow.taken + 1)
        .returning(TurnsRow.taken)
    )
    if count is None:
        session.add(TurnsRow(workspace_id=workspace_id, taken=1))
        count = 1
    session.add(TurnRow(lead_id=lead_id, turn=count - 1))
    await session.flush()
    return count - 1
