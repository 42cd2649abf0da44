"""What the embedded CRM's pages show: feed and tickets, filtered.

The one rule: a page holds a bounded number, the latest first, and says how many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.crm_sync.connectors.embedded.database import EmbeddedDatabase
from services.crm_sync.connectors.embedded.tables import ActivityRow, PersonRow, StaffRow, TicketRow
from services.crm_sync.connectors.records import Staff

ITEMS_MAX = 500
MISSED = "missed_chat"


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which entries are shown; None shows all. `user` is an agent's id, `person` a record's."""

    type: str | None = None
    user: str | None = None
    team: str | None = None
    group: str | None = None
    person: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation or a note as it stands in a feed."""

    type: str
    title: str
    text: str
    started_at: str
    ended_at: str
    link: str
    agents: tuple[Staff, ...]


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An entry and whose feed it is in."""

    activity: Entry
    person: str
    person_id: int
    person_kind: str
    owner_id: str | None


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The latest entries of a filter, how many there are in all, and what the filters can be set to."""

    items: tuple[FeedItem, ...]
    total: int
    types: tuple[str, ...]
    users: tuple[tuple[str, str], ...]
    teams: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TicketItem:
    """A ticket; `person` and `person_id` where it belongs to somebody."""

    type: str
    title: str
    text: str
    name: str
    email: str | None
    phone: str | None
    tag: str | None
    link: str
    created_at: str
    person: str | None
    person_id: int | None


@dataclass(frozen=True, slots=True)
class TicketPage:
    """The latest tickets of a view, and how many there are in all."""

    items: tuple[TicketItem, ...]
    total: int


class EmbeddedViews(EmbeddedDatabase):
    """Shows what stands in the database."""

    async def feed(self, shown: FeedFilter, *, workspace_id: str) -> FeedPage:
        """Return the latest entries of a workspace."""
        wanted = _conditions(shown, workspace_id=workspace_id)
        mine = ActivityRow.workspace_id == workspace_id
        of_mine = select(StaffRow).join(ActivityRow, StaffRow.activity_id == ActivityRow.id).where(mine)
        async with self.reading() as session:
            rows = await session.scalars(
                select(ActivityRow)
                .where(*wanted)
                .order_by(ActivityRow.ended_at.desc(), ActivityRow.id.desc())
                .limit(ITEMS_MAX)
            )
            types = await session.scalars(select(ActivityRow.type).where(mine).distinct())
            users = await session.execute(
                of_mine.with_only_columns(StaffRow.agent_id, func.max(StaffRow.name)).group_by(
                    StaffRow.agent_id
                )
            )
            teams = await session.scalars(of_mine.with_only_columns(StaffRow.team).distinct())
            groups = await session.scalars(of_mine.with_only_columns(StaffRow.group).distinct())
            return FeedPage(
                items=tuple(_item(row) for row in rows),
                total=await _count(session, ActivityRow, wanted),
                types=tuple(sorted(types)),
                users=tuple(sorted((agent_id, name) for agent_id, name in users)),
                teams=tuple(sorted(team for team in teams if team)),
                groups=tuple(sorted(group for group in groups if group)),
            )

    async def tickets(
        self, *, workspace_id: str, missed: bool = False, person: int | None = None
    ) -> TicketPage:
        """Return the latest tickets of a workspace: all, those of the saved view "missed chats", or one person's."""
        wanted = [TicketRow.workspace_id == workspace_id]
        if missed:
            wanted.append(TicketRow.type == MISSED)
        if person is not None:
            wanted.append(TicketRow.person_id == person)
        async with self.reading() as session:
            rows = await session.scalars(
                select(TicketRow)
                .where(*wanted)
                .order_by(TicketRow.created_at.desc(), TicketRow.id.desc())
                .limit(ITEMS_MAX)
            )
            return TicketPage(
                items=tuple(_ticket(row) for row in rows), total=await _count(session, TicketRow, wanted)
            )


async def _count(
    session: AsyncSession, table: type[ActivityRow | TicketRow], wanted: Sequence[ColumnElement[bool]]
) -> int:
    return await session.scalar(select(func.count()).select_from(table).where(*wanted)) or 0


def _conditions(shown: FeedFilter, *, workspace_id: str) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [ActivityRow.workspace_id == workspace_id]
    if shown.type is not None:
        wanted.append(ActivityRow.type == shown.type)
    if shown.person is not None:
        wanted.append(ActivityRow.person_id == shown.person)
    asked = ((StaffRow.agent_id, shown.user), (StaffRow.team, shown.team), (StaffRow.group, shown.group))
    of_agent = [column == value for column, value in asked if value is not None]
    if of_agent:
        # One agent has to fit all of it: not this user in one team, and somebody else in that group.
        wanted.append(exists().where(StaffRow.activity_id == ActivityRow.id, *of_agent))
    return wanted


def _item(row: ActivityRow) -> FeedItem:
    return FeedItem(
        activity=Entry(
            type=row.type,
            title=row.title,
            text=row.text,
            started_at=row.started_at,
            ended_at=row.ended_at,
            link=row.link,
            agents=tuple(Staff(one.agent_id, one.name, one.team, one.group) for one in row.staff),
        ),
        person=row.person.name,
        person_id=row.person.id,
        person_kind=row.person.kind,
        owner_id=row.person.owner_id,
    )


def _ticket(row: TicketRow) -> TicketItem:
    person: PersonRow | None = row.person
    return TicketItem(
        type=row.type,
        title=row.title,
        text=row.text,
        name=row.name,
        email=row.email,
        phone=row.phone,
        tag=row.tag,
        link=row.link,
        created_at=row.created_at,
        person=None if person is None else person.name,
        person_id=None if person is None else person.id,
    )
