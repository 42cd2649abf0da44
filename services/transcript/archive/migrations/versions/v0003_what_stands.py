"""What stands now: settings, presence, live chats, matches of monitors, tags; and the index for full-text search.

Events and decisions are read again from the beginning of their topics, as far as those still hold them: nothing of this was kept before.
What is searched is made from the transcripts in the archive.
"""

import sqlalchemy as sa
from alembic import op

from services.transcript.archive import search

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables, and fills those that follow from what is there."""
    _create_settings()
    _create_standing()
    _add_columns()
    connection = op.get_bind()
    for statement in search.CREATE[connection.dialect.name]:
        op.execute(statement)
    _fill_tags(connection)
    search.build(connection)
    op.execute(
        "UPDATE conversations SET missed_at_ms = (SELECT max(missed_at_ms) FROM chats"
        " WHERE chats.workspace_id = conversations.workspace_id AND chats.chat_id = conversations.chat_id)"
        " WHERE inbox_status IS NOT NULL"
    )
    op.execute(
        "UPDATE conversations SET missed_tag = (SELECT missed_tag FROM chats"
        " WHERE chats.workspace_id = conversations.workspace_id AND chats.chat_id = conversations.chat_id"
        " AND chats.missed_at_ms = conversations.missed_at_ms) WHERE inbox_status IS NOT NULL"
    )
    op.execute("DELETE FROM offsets WHERE topic IN ('chat.events.v1', 'chat.routing.v1')")


def _fill_tags(connection: sa.Connection) -> None:
    conversations = sa.table(
        "conversations", sa.column("workspace_id"), sa.column("chat_id"), sa.column("tags", sa.JSON())
    )
    tags = sa.table("tags", sa.column("workspace_id"), sa.column("tag"), sa.column("chat_id"))
    found = [
        {"workspace_id": row.workspace_id, "chat_id": row.chat_id, "tag": tag}
        for row in connection.execute(sa.select(conversations))
        for tag in dict.fromkeys(row.tags or ())
    ]
    if found:
        connection.execute(sa.insert(tags), found)


def _create_settings() -> None:
    op.create_table(
        "agents",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("email", sa.String(length=320)),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("max_chats", sa.Integer(), nullable=False),
        sa.Column("skills", sa.JSON()),
        sa.Column("languages", sa.JSON()),
        sa.Column("team", sa.String(length=256)),
        sa.Column("group_name", sa.String(length=256)),
        sa.Column("crm", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "agent_id", name="pk_agents"),
    )
    op.create_table(
        "canned_categories",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("category_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "category_id", name="pk_canned_categories"),
    )
    op.create_table(
        "canned_messages",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("canned_message_id", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.Column("category_id", sa.String(length=128)),
        sa.Column("department_id", sa.String(length=128)),
        sa.PrimaryKeyConstraint("workspace_id", "canned_message_id", name="pk_canned_messages"),
    )
    op.create_table(
        "departments",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("department_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("routing", sa.JSON()),
        sa.Column("email", sa.JSON()),
        sa.Column("hours", sa.JSON()),
        sa.PrimaryKeyConstraint("workspace_id", "department_id", name="pk_departments"),
    )
    op.create_table(
        "members",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("department_id", sa.String(length=128), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "department_id", "agent_id", name="pk_members"),
    )
    op.create_index("ix_members_agent", "members", ["workspace_id", "agent_id"])
    op.create_table(
        "monitors",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("monitor_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=320), nullable=False),
        sa.Column("owner_agent_id", sa.String(length=128), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "monitor_id", name="pk_monitors"),
    )
    op.create_index("ix_monitors_owner", "monitors", ["workspace_id", "owner_agent_id"])
    op.create_table(
        "snapshots",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.String(length=128), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.JSON()),
        sa.PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_offset", "snapshots", ["workspace_id", "offset"])
    op.create_index("ix_snapshots_subject", "snapshots", ["workspace_id", "kind", "subject_id", "offset"])
    op.create_table(
        "workspaces",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("channels", sa.JSON()),
        sa.Column("hours", sa.JSON()),
        sa.Column("sender", sa.String(length=320)),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_workspaces"),
    )


def _create_standing() -> None:
    op.create_table(
        "freshness",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("as_of_ms", sa.BigInteger(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_freshness"),
    )
    op.create_table(
        "matches",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("monitor_id", sa.String(length=128), nullable=False),
        sa.Column("owner_agent_id", sa.String(length=128), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", "monitor_id", name="pk_matches"),
    )
    op.create_index("ix_matches_owner", "matches", ["workspace_id", "owner_agent_id", "until_ms", "since_ms"])
    op.create_table(
        "presence",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("sound", sa.Boolean(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(length=128)),
        sa.Column("offset", sa.BigInteger()),
        sa.Column("tick_ms", sa.BigInteger(), nullable=False),
        sa.Column("beats", sa.Boolean(), nullable=False),
        sa.Column("alive_ms", sa.BigInteger(), nullable=False),
        sa.Column("told_offset", sa.BigInteger(), nullable=False),
        sa.Column("marked_away_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "agent_id", name="pk_presence"),
    )
    op.create_table(
        "tags",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("tag", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "tag", "chat_id", name="pk_tags"),
    )
    op.create_index("ix_tags_chat", "tags", ["workspace_id", "chat_id"])
    op.create_table(
        "texts",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "chat_id", "revision", "part", "internal", name="uq_texts"),
    )
    op.create_table(
        "visitor_updates",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("visitor", sa.JSON(), nullable=False),
        sa.Column("offset", sa.BigInteger()),
        sa.PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_visitor_updates"),
    )
    op.create_index("ix_visitor_updates_chat", "visitor_updates", ["workspace_id", "chat_id", "at_ms"])


def _add_columns() -> None:
    op.add_column("conversations", sa.Column("phase", sa.String(length=16)))
    op.add_column("conversations", sa.Column("revision", sa.Integer()))
    op.add_column("conversations", sa.Column("department_id", sa.String(length=128)))
    op.add_column("conversations", sa.Column("owner_id", sa.String(length=128)))
    op.add_column("conversations", sa.Column("since_ms", sa.BigInteger()))
    op.add_column("conversations", sa.Column("entered_ms", sa.BigInteger()))
    op.add_column("conversations", sa.Column("offer_id", sa.String(length=128)))
    op.add_column("conversations", sa.Column("rung_agent_ids", sa.JSON()))
    op.add_column("conversations", sa.Column("participants", sa.JSON()))
    op.add_column("conversations", sa.Column("missed_at_ms", sa.BigInteger()))
    op.add_column("conversations", sa.Column("missed_tag", sa.String(length=32)))
    op.add_column("conversations", sa.Column("decided_offset", sa.BigInteger()))
    op.create_index(
        "ix_conversations_inbox", "conversations", ["workspace_id", "inbox_status", "missed_at_ms", "chat_id"]
    )
    op.create_index("ix_conversations_owner", "conversations", ["workspace_id", "owner_id", "phase"])
    op.create_index("ix_conversations_phase", "conversations", ["workspace_id", "phase", "department_id"])
    op.add_column("feedback", sa.Column("offset", sa.BigInteger()))
    op.add_column("notes", sa.Column("offset", sa.BigInteger()))
    op.add_column("offsets", sa.Column("at_ms", sa.BigInteger()))
    op.add_column("offsets", sa.Column("tick_ms", sa.BigInteger()))
    op.add_column("offsets", sa.Column("clock_ms", sa.BigInteger()))
    op.add_column("refusals", sa.Column("request_offset", sa.BigInteger()))
    op.add_column("requests", sa.Column("offset", sa.BigInteger()))
    op.add_column("requests", sa.Column("department_id", sa.String(length=128)))
    op.add_column("requests", sa.Column("bot_id", sa.String(length=128)))
    op.add_column("requests", sa.Column("priority", sa.String(length=128)))


def downgrade() -> None:
    """Drops the tables and columns."""
    op.execute("DROP TABLE text_grams")
    op.drop_column("requests", "priority")
    op.drop_column("requests", "bot_id")
    op.drop_column("requests", "department_id")
    op.drop_column("requests", "offset")
    op.drop_column("refusals", "request_offset")
    op.drop_column("offsets", "clock_ms")
    op.drop_column("offsets", "tick_ms")
    op.drop_column("offsets", "at_ms")
    op.drop_column("notes", "offset")
    op.drop_column("feedback", "offset")
    op.drop_index("ix_conversations_phase", table_name="conversations")
    op.drop_index("ix_conversations_owner", table_name="conversations")
    op.drop_index("ix_conversations_inbox", table_name="conversations")
    op.drop_column("conversations", "decided_offset")
    op.drop_column("conversations", "missed_tag")
    op.drop_column("conversations", "missed_at_ms")
    op.drop_column("conversations", "participants")
    op.drop_column("conversations", "rung_agent_ids")
    op.drop_column("conversations", "offer_id")
    op.drop_column("conversations", "entered_ms")
    op.drop_column("conversations", "since_ms")
    op.drop_column("conversations", "owner_id")
    op.drop_column("conversations", "department_id")
    op.drop_column("conversations", "revision")
    op.drop_column("conversations", "phase")
    op.drop_table("workspaces")
    op.drop_index("ix_visitor_updates_chat", table_name="visitor_updates")
    op.drop_table("visitor_updates")
    op.drop_table("texts")
    op.drop_index("ix_tags_chat", table_name="tags")
    op.drop_table("tags")
    op.drop_index("ix_snapshots_subject", table_name="snapshots")
    op.drop_index("ix_snapshots_offset", table_name="snapshots")
    op.drop_table("snapshots")
    op.drop_table("presence")
    op.drop_index("ix_monitors_owner", table_name="monitors")
    op.drop_table("monitors")
    op.drop_index("ix_members_agent", table_name="members")
    op.drop_table("members")
    op.drop_index("ix_matches_owner", table_name="matches")
    op.drop_table("matches")
    op.drop_table("freshness")
    op.drop_table("departments")
    op.drop_table("canned_messages")
    op.drop_table("canned_categories")
    op.drop_table("agents")
