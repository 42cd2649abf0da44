"""The archive's tables of what stands now: settings, presence, matches of monitors, tags, and the texts that are searched.

The one rule: every row follows from facts the archive keeps, or carries the offset it stands for; so it is the same in whatever order
the topics are read, and an older fact never replaces a newer one.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from services.transcript.archive.tables import AGAIN, metadata


def _id(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(128), nullable=nullable)


def _json(name: str) -> Column[Any]:
    return Column(name, JSON(none_as_null=True))


# ---------------------------------------------------------------- settings

snapshots = Table(
    "snapshots",
    metadata,
    _id("workspace_id"),
    Column("source", String(256), nullable=False),
    _id("event_id"),
    Column("kind", String(32), nullable=False),
    _id("subject_id"),
    Column("offset", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    _json("data"),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_snapshots"),
    Index("ix_snapshots_subject", "workspace_id", "kind", "subject_id", "offset"),
    Index("ix_snapshots_offset", "workspace_id", "offset"),
    info=AGAIN,
)
"""Every event about settings and presence (chat.events.v1); no data: deleted. `settings.py` makes the tables below of the newest ones."""

workspaces = Table(
    "workspaces",
    metadata,
    _id("workspace_id"),
    Column("name", String(256), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    _json("channels"),
    _json("hours"),
    Column("sender", String(320)),
    PrimaryKeyConstraint("workspace_id", name="pk_workspaces"),
)

departments = Table(
    "departments",
    metadata,
    _id("workspace_id"),
    _id("department_id"),
    Column("name", String(256), nullable=False),
    Column("description", Text),
    Column("visibility", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    _json("routing"),
    _json("email"),
    _json("hours"),
    PrimaryKeyConstraint("workspace_id", "department_id", name="pk_departments"),
)
"""The default one, whose id is the workspace's, is there from the workspace's first record on."""

members = Table(
    "members",
    metadata,
    _id("workspace_id"),
    _id("department_id"),
    _id("agent_id"),
    PrimaryKeyConstraint("workspace_id", "department_id", "agent_id", name="pk_members"),
    Index("ix_members_agent", "workspace_id", "agent_id"),
)
"""Whom departments name; an agent may be named before they are known, and after they are deleted."""

agents = Table(
    "agents",
    metadata,
    _id("workspace_id"),
    _id("agent_id"),
    Column("name", String(256), nullable=False),
    Column("email", String(320)),
    Column("role", String(16), nullable=False),
    Column("max_chats", Integer, nullable=False),
    _json("skills"),
    _json("languages"),
    Column("team", String(256)),
    Column("group_name", String(256)),
    Column("crm", String(16), nullable=False),
    PrimaryKeyConstraint("workspace_id", "agent_id", name="pk_agents"),
)

canned_categories = Table(
    "canned_categories",
    metadata,
    _id("workspace_id"),
    _id("category_id"),
    Column("name", String(256), nullable=False),
    Column("folded", Text, nullable=False),
    PrimaryKeyConstraint("workspace_id", "category_id", name="pk_canned_categories"),
)

canned_messages = Table(
    "canned_messages",
    metadata,
    _id("workspace_id"),
    _id("canned_message_id"),
    Column("text", Text, nullable=False),
    Column("folded", Text, nullable=False),
    _id("category_id", nullable=True),
    _id("department_id", nullable=True),
    PrimaryKeyConstraint("workspace_id", "canned_message_id", name="pk_canned_messages"),
)
"""`folded`: the text as it is searched (`search.folded`)."""

monitors = Table(
    "monitors",
    metadata,
    _id("workspace_id"),
    _id("monitor_id"),
    Column("kind", String(16), nullable=False),
    Column("value", String(320), nullable=False),
    _id("owner_agent_id"),
    Column("enabled", Boolean, nullable=False),
    PrimaryKeyConstraint("workspace_id", "monitor_id", name="pk_monitors"),
    Index("ix_monitors_owner", "workspace_id", "owner_agent_id"),
)

# ---------------------------------------------------------------- people and chats

presence = Table(
    "presence",
    metadata,
    _id("workspace_id"),
    _id("agent_id"),
    Column("known", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("sound", Boolean, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    _id("event_id", nullable=True),
    Column("offset", BigInteger),
    Column("tick_ms", BigInteger, nullable=False),
    Column("beats", Boolean, nullable=False),
    Column("alive_ms", BigInteger, nullable=False),
    Column("told_offset", BigInteger, nullable=False),
    Column("marked_away_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "agent_id", name="pk_presence"),
)
"""What the log last said of each agent; `presence.status` reads it. Marked away: chat.routing.v1; all else: chat.events.v1."""

matches = Table(
    "matches",
    metadata,
    _id("workspace_id"),
    _id("chat_id"),
    _id("monitor_id"),
    _id("owner_agent_id"),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    PrimaryKeyConstraint("workspace_id", "chat_id", "monitor_id", name="pk_matches"),
    Index("ix_matches_owner", "workspace_id", "owner_agent_id", "until_ms", "since_ms"),
)
"""Chats that monitors match, or matched until `until_ms` (chat.routing.v1)."""

tags = Table(
    "tags",
    metadata,
    _id("workspace_id"),
    _id("tag"),
    _id("chat_id"),
    PrimaryKeyConstraint("workspace_id", "tag", "chat_id", name="pk_tags"),
    Index("ix_tags_chat", "workspace_id", "chat_id"),
)
"""The tags of each chat (chat.routing.v1), as `conversations` has them."""

freshness = Table(
    "freshness",
    metadata,
    _id("workspace_id"),
    Column("as_of_ms", BigInteger, nullable=False),
    Column("partition", Integer, nullable=False),
    PrimaryKeyConstraint("workspace_id", name="pk_freshness"),
    info={"newer_by": ("as_of_ms", 0)},
)
"""The time of each workspace's newest record in the archive, of whichever topic."""

# ---------------------------------------------------------------- search

texts = Table(
    "texts",
    metadata,
    _id("workspace_id"),
    _id("chat_id"),
    Column("revision", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("internal", Boolean, nullable=False),
    Column("folded", Text, nullable=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    UniqueConstraint("workspace_id", "chat_id", "revision", "part", "internal", name="uq_texts"),
)
"""What is searched (`search.py`): of each part of a transcript the question and what everybody may read, and apart from it the whispers."""
