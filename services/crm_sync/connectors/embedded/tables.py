"""The embedded CRM's tables.

The one rule: a marker is unique within its workspace, and the database is what keeps it so. Databases of earlier releases are opened as
they are: a table that is missing is made, a column is never, so what is new about somebody stands in a table of its own.
"""

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The tables of the embedded CRM."""


class PersonRow(Base):
    """A lead, a deal or a contact."""

    __tablename__ = "crm_people"
    __table_args__ = (
        UniqueConstraint("workspace_id", "marker"),
        Index("crm_people_by_email", "workspace_id", "email_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    marker: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(256))
    email: Mapped[str | None] = mapped_column(String(320))
    email_key: Mapped[str | None] = mapped_column(String(320))
    phone: Mapped[str | None] = mapped_column(String(256))
    owner_id: Mapped[str | None] = mapped_column(String(128))
    source: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None] = mapped_column(Text)
    is_open: Mapped[bool] = mapped_column(Boolean)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class ActivityRow(Base):
    """An entry in a person's feed: a conversation, or a note with its author as the only agent."""

    __tablename__ = "crm_activities"
    __table_args__ = (
        UniqueConstraint("workspace_id", "marker"),
        Index("crm_activities_by_end", "workspace_id", "ended_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    marker: Mapped[str] = mapped_column(String(160))
    person_id: Mapped[int] = mapped_column(ForeignKey("crm_people.id"))
    type: Mapped[str] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    started_at: Mapped[str] = mapped_column(String(40))
    ended_at: Mapped[str] = mapped_column(String(40))
    link: Mapped[str] = mapped_column(Text)
    person: Mapped[PersonRow] = relationship(lazy="joined")
    staff: Mapped[list["StaffRow"]] = relationship(lazy="selectin", order_by="StaffRow.id")


class StaffRow(Base):
    """An agent of an entry, with team and group as they were then."""

    __tablename__ = "crm_activity_staff"
    __table_args__ = (Index("crm_staff_by_activity", "activity_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    activity_id: Mapped[int] = mapped_column(ForeignKey("crm_activities.id"))
    agent_id: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(256))
    team: Mapped[str | None] = mapped_column(String(256))
    group: Mapped[str | None] = mapped_column("staff_group", String(256))


class MergeRow(Base):
    """A person who stands for another one, who was merged into nobody."""

    __tablename__ = "crm_merges"
    __table_args__ = (Index("crm_merges_by_person", "into_id"),)

    person_id: Mapped[int] = mapped_column(ForeignKey("crm_people.id", ondelete="CASCADE"), primary_key=True)
    into_id: Mapped[int] = mapped_column(ForeignKey("crm_people.id", ondelete="CASCADE"))


class CompanyRow(Base):
    """A company people belong to."""

    __tablename__ = "crm_companies"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(256))
    website: Mapped[str | None] = mapped_column(Text)


class MembershipRow(Base):
    """Whose company it is."""

    __tablename__ = "crm_memberships"

    person_id: Mapped[int] = mapped_column(ForeignKey("crm_people.id", ondelete="CASCADE"), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("crm_companies.id", ondelete="CASCADE"))


class CustomFieldRow(Base):
    """A field a workspace has added to its leads and deals, its contacts ("person") or its companies."""

    __tablename__ = "crm_custom_fields"
    __table_args__ = (UniqueConstraint("workspace_id", "kind", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(128))
    label: Mapped[str] = mapped_column(String(256))


class CustomValueRow(Base):
    """What such a field holds; `record_id` is a person's or a company's, as the field's kind says."""

    __tablename__ = "crm_custom_values"

    field_id: Mapped[int] = mapped_column(
        ForeignKey("crm_custom_fields.id", ondelete="CASCADE"), primary_key=True
    )
    record_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str] = mapped_column(Text)


class TicketRow(Base):
    """A conversation somebody has to look at, with or without a person it belongs to."""

    __tablename__ = "crm_tickets"
    __table_args__ = (
        UniqueConstraint("workspace_id", "marker"),
        Index("crm_tickets_by_time", "workspace_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    marker: Mapped[str] = mapped_column(String(160))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("crm_people.id", ondelete="SET NULL"))
    type: Mapped[str] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(String(320))
    phone: Mapped[str | None] = mapped_column(Text)
    tag: Mapped[str | None] = mapped_column(Text)
    link: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(40))
    person: Mapped[PersonRow | None] = relationship(lazy="joined")
