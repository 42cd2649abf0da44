"""The embedded CRM: people and their feeds in a database by URL, for trying the service out and for its tests.

The one rule: the database keeps markers unique within a workspace, so a marker never makes two records, whoever races with whom.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.addresses import email_key
from services.crm_sync.connectors.embedded_tables import ActivityRow, Base, PersonRow, StaffRow
from services.crm_sync.connectors.interface import OutcomeUnknown
from services.crm_sync.connectors.records import (
    Declaration,
    Found,
    Limits,
    NewActivity,
    NewLead,
    Person,
    PersonKind,
    Staff,
)
from services.runtime.database import open_async
from services.runtime.effects import Refused, Unavailable
from services.runtime.wall_clock import now_ms

NAME = "embedded"
ACTIVITY = "activity"
DECLARED = Declaration(
    name=NAME,
    capabilities=frozenset({"lead", "activity"}),
    limits=Limits(
        body_max=65_536,
        body_unit="characters",
        name_chars_max=256,
        people_found_max=100,
        feed_items_max=500,
        feed_limit_reason="one page holds no more; a filter shows older ones",
    ),
)


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which entries are shown; None shows all. `user` is an agent's id."""

    type: str | None = None
    user: str | None = None
    team: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An entry as the feed page shows it."""

    activity: NewActivity
    person: str
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


class EmbeddedCrm:
    """A `Connector` that also shows its feed and takes people to begin with. Make it with `open`."""

    def __init__(self, url: str, *, now_ms: Callable[[], int] = now_ms) -> None:
        self._engine = open_async(url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._now_ms = now_ms

    @classmethod
    async def open(cls, url: str, *, now_ms: Callable[[], int] = now_ms) -> "EmbeddedCrm":
        """Open the database at `url` (`sqlite:///FILE` or `postgresql://…`) and make the tables it lacks."""
        crm = cls(url, now_ms=now_ms)
        async with crm._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        return crm

    @property
    def declared(self) -> Declaration:
        """What this connector is, can do and allows."""
        return DECLARED

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()

    # ------------------------------------------------------------ the connector

    async def find_people(self, email: str, *, workspace_id: str) -> Sequence[Person]:
        """Return leads and contacts with this address, the newest first where there are more than the limit."""
        async with self._reading() as session:
            rows = await session.scalars(
                select(PersonRow)
                .where(PersonRow.workspace_id == workspace_id, PersonRow.email_key == email_key(email))
                .order_by(PersonRow.created_ms.desc(), PersonRow.id.desc())
                .limit(DECLARED.limits.people_found_max)
            )
            return [
                Person(_record(row), _kind(row), row.created_ms, open=row.is_open, owner=_owner(row))
                for row in rows
            ]

    async def create_lead(self, lead: NewLead, *, marker: str, workspace_id: str) -> Found:
        """Create a lead, or return the one with this marker."""
        return await self.add_person(
            kind="lead",
            name=lead.name,
            email=lead.email,
            phone=lead.phone,
            owner_id=lead.owner_id,
            source=lead.source,
            note=lead.note,
            marker=marker,
            workspace_id=workspace_id,
        )

    async def add_activity(
        self, activity: NewActivity, *, to: CrmRecord, marker: str, workspace_id: str
    ) -> Found:
        """Add an entry to a person's feed, or return the one with this marker."""
        if len(activity.text) > DECLARED.limits.body_max:
            raise Refused("text_too_long")
        async with self._writing() as session:
            person = await _person(session, to, workspace_id=workspace_id)
            found = await self._marked(session, marker, workspace_id=workspace_id)
            if found is not None:
                return found
            if person is None:
                raise Refused("record_gone")
            row = ActivityRow(
                workspace_id=workspace_id,
                marker=marker,
                person_id=person.id,
                type=activity.type,
                title=activity.title,
                text=activity.text,
                started_at=activity.started_at,
                ended_at=activity.ended_at,
                link=activity.link,
                staff=[
                    StaffRow(agent_id=one.id, name=one.name, team=one.team, group=one.group)
                    for one in activity.agents
                ],
            )
            return await self._added(
                session, row, owner=_owner(person), marker=marker, workspace_id=workspace_id
            )

    async def find_marker(self, marker: str, *, workspace_id: str) -> Found | None:
        """Return the lead or the feed entry that carries this marker."""
        async with self._reading() as session:
            return await self._marked(session, marker, workspace_id=workspace_id)

    # ------------------------------------------------------------ beyond the connector

    async def add_person(
        self,
        *,
        kind: PersonKind,
        name: str,
        email: str | None,
        marker: str,
        workspace_id: str,
        phone: str | None = None,
        owner_id: str | None = None,
        source: str | None = None,
        note: str | None = None,
        is_open: bool = True,
        created_ms: int | None = None,
    ) -> Found:
        """Add a lead or a contact, now unless `created_ms` says otherwise; the same marker again adds nobody."""
        async with self._writing() as session:
            found = await self._marked(session, marker, workspace_id=workspace_id)
            if found is not None:
                return found
            row = PersonRow(
                workspace_id=workspace_id,
                marker=marker,
                kind=kind,
                name=name,
                email=email,
                email_key=None if email is None else email_key(email),
                phone=phone,
                owner_id=owner_id,
                source=source,
                note=note,
                is_open=is_open,
                created_ms=self._now_ms() if created_ms is None else created_ms,
            )
            return await self._added(
                session, row, owner=_owner(row), marker=marker, workspace_id=workspace_id
            )

    async def feed(self, shown: FeedFilter, *, workspace_id: str) -> FeedPage:
        """Return the latest entries of a workspace, at most as many as the limits say."""
        wanted = _conditions(shown, workspace_id=workspace_id)
        mine = ActivityRow.workspace_id == workspace_id
        of_mine = select(StaffRow).join(ActivityRow, StaffRow.activity_id == ActivityRow.id).where(mine)
        async with self._reading() as session:
            rows = await session.scalars(
                select(ActivityRow)
                .where(*wanted)
                .order_by(ActivityRow.ended_at.desc(), ActivityRow.id.desc())
                .limit(DECLARED.limits.feed_items_max)
            )
            total = await session.scalar(select(func.count()).select_from(ActivityRow).where(*wanted))
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
                total=total or 0,
                types=tuple(sorted(types)),
                users=tuple(sorted((agent_id, name) for agent_id, name in users)),
                teams=tuple(sorted(team for team in teams if team)),
                groups=tuple(sorted(group for group in groups if group)),
            )

    # ------------------------------------------------------------ inside

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        try:
            async with self._sessions() as session:
                yield session
        except DBAPIError as error:
            raise Unavailable("database_unavailable") from error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        try:
            async with self._sessions() as session:
                yield session
        except DBAPIError as error:
            # A commit that broke off may have been carried out.
            raise OutcomeUnknown("database_failed") from error

    async def _added(
        self,
        session: AsyncSession,
        row: PersonRow | ActivityRow,
        *,
        owner: CrmOwner | None,
        marker: str,
        workspace_id: str,
    ) -> Found:
        session.add(row)
        try:
            await session.commit()
        except IntegrityError as error:
            await session.rollback()
            winner = await self._marked(session, marker, workspace_id=workspace_id)
            if winner is None:
                raise Refused("record_invalid") from error
            return winner
        return Found(_record(row), owner)

    async def _marked(self, session: AsyncSession, marker: str, *, workspace_id: str) -> Found | None:
        person = await session.scalar(
            select(PersonRow).where(PersonRow.workspace_id == workspace_id, PersonRow.marker == marker)
        )
        if person is not None:
            return Found(_record(person), _owner(person))
        activity = await session.scalar(
            select(ActivityRow).where(ActivityRow.workspace_id == workspace_id, ActivityRow.marker == marker)
        )
        return None if activity is None else Found(_record(activity), _owner(activity.person))


async def _person(session: AsyncSession, record: CrmRecord, *, workspace_id: str) -> PersonRow | None:
    if not record.id.isascii() or not record.id.isdigit():
        return None
    row = await session.get(PersonRow, int(record.id))
    return row if row is not None and row.workspace_id == workspace_id else None


def _record(row: PersonRow | ActivityRow) -> CrmRecord:
    return CrmRecord(type=row.kind if isinstance(row, PersonRow) else ACTIVITY, id=str(row.id))


def _kind(row: PersonRow) -> PersonKind:
    return "lead" if row.kind == "lead" else "contact"


def _owner(row: PersonRow) -> CrmOwner | None:
    return None if row.owner_id is None else CrmOwner(row.owner_id)


def _conditions(shown: FeedFilter, *, workspace_id: str) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [ActivityRow.workspace_id == workspace_id]
    if shown.type is not None:
        wanted.append(ActivityRow.type == shown.type)
    asked = ((StaffRow.agent_id, shown.user), (StaffRow.team, shown.team), (StaffRow.group, shown.group))
    of_agent = [column == value for column, value in asked if value is not None]
    if of_agent:
        # One agent has to fit all of it: not this user in one team, and somebody else in that group.
        wanted.append(exists().where(StaffRow.activity_id == ActivityRow.id, *of_agent))
    return wanted


def _item(row: ActivityRow) -> FeedItem:
    return FeedItem(
        activity=NewActivity(
            type="missed_chat" if row.type == "missed_chat" else "chat",
            title=row.title,
            text=row.text,
            started_at=row.started_at,
            ended_at=row.ended_at,
            link=row.link,
            agents=tuple(Staff(one.agent_id, one.name, one.team, one.group) for one in row.staff),
        ),
        person=row.person.name,
        person_kind=row.person.kind,
        owner_id=row.person.owner_id,
    )
