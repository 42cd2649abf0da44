"""The first tables of the archive."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "activities",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.String(length=128), nullable=False),
        sa.Column("record_type", sa.String(length=128)),
        sa.Column("record_url", sa.Text()),
        sa.Column("owner", sa.JSON()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=256)),
        sa.PrimaryKeyConstraint(
            "workspace_id", "kind", "request_id", "chat_id", "revision", "record_id", name="pk_activities"
        ),
    )
    op.create_index("ix_activities_chat", "activities", ["workspace_id", "chat_id"])
    op.create_table(
        "chats",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=32)),
        sa.Column("end_reason", sa.String(length=64)),
        sa.Column("ended_by", sa.String(length=128)),
        sa.Column("started_at_ms", sa.BigInteger()),
        sa.Column("ended_at_ms", sa.BigInteger()),
        sa.Column("department_id", sa.String(length=128)),
        sa.Column("department_name", sa.String(length=256)),
        sa.Column("visitor_id", sa.String(length=128)),
        sa.Column("visitor", sa.JSON()),
        sa.Column("agents", sa.JSON()),
        sa.Column("language", sa.String(length=8)),
        sa.Column("timezone", sa.String(length=64)),
        sa.Column("missed_at_ms", sa.BigInteger()),
        sa.Column("missed_reason", sa.String(length=64)),
        sa.Column("missed_detail", sa.String(length=64)),
        sa.Column("missed_tag", sa.String(length=32)),
        sa.Column("rule", sa.JSON()),
        sa.Column("available_at_start", sa.JSON()),
        sa.Column("available_at_missed", sa.JSON()),
        sa.Column("available_counts", sa.JSON()),
        sa.Column("reply_by_email", sa.Boolean()),
        sa.Column("channel", sa.String(length=32)),
        sa.Column("question", sa.Text()),
        sa.Column("parts", sa.Integer()),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", "revision", name="pk_chats"),
    )
    op.create_index("ix_chats_department", "chats", ["workspace_id", "department_id", "ended_at_ms"])
    op.create_index("ix_chats_ended", "chats", ["workspace_id", "ended_at_ms"])
    op.create_index("ix_chats_missed", "chats", ["workspace_id", "missed_tag", "missed_at_ms"])
    op.create_index("ix_chats_visitor", "chats", ["workspace_id", "visitor_id", "ended_at_ms"])
    op.create_table(
        "conversations",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("tags", sa.JSON()),
        sa.Column("inbox_status", sa.String(length=32)),
        sa.Column("inbox_agent_id", sa.String(length=128)),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", name="pk_conversations"),
    )
    op.create_table(
        "deliveries",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("notice_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("recipient", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128)),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=256)),
        sa.PrimaryKeyConstraint("workspace_id", "notice_id", "kind", "recipient", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_chat", "deliveries", ["workspace_id", "chat_id"])
    op.create_table(
        "feedback",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text()),
        sa.Column("agent_id", sa.String(length=128)),
        sa.PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_chat", "feedback", ["workspace_id", "chat_id"])
    op.create_table(
        "messages",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("sender_kind", sa.String(length=16), nullable=False),
        sa.Column("sender_id", sa.String(length=128)),
        sa.Column("sender_name", sa.String(length=256)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace_id", "chat_id", "revision", "part", "position", name="pk_messages"
        ),
    )
    op.create_table(
        "notes",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("note_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by_agent_id", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_notes"),
    )
    op.create_index("ix_notes_chat", "notes", ["workspace_id", "chat_id"])
    op.create_table(
        "offsets",
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_offsets"),
    )
    op.create_table(
        "refusals",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("decision_id", sa.String(length=128), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("request_type", sa.String(length=128), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128)),
        sa.PrimaryKeyConstraint("workspace_id", "decision_id", name="pk_refusals"),
    )
    op.create_index("ix_refusals_request", "refusals", ["workspace_id", "request_id"])
    op.create_table(
        "requests",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("visitor", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_requests"),
    )
    op.create_index("ix_requests_chat", "requests", ["workspace_id", "chat_id", "at_ms"])
    op.create_table(
        "transcripts",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", "revision", "part", name="pk_transcripts"),
    )


def downgrade() -> None:
    """Drops the tables."""
    op.drop_table("transcripts")
    op.drop_index("ix_requests_chat", table_name="requests")
    op.drop_table("requests")
    op.drop_index("ix_refusals_request", table_name="refusals")
    op.drop_table("refusals")
    op.drop_table("offsets")
    op.drop_index("ix_notes_chat", table_name="notes")
    op.drop_table("notes")
    op.drop_table("messages")
    op.drop_index("ix_feedback_chat", table_name="feedback")
    op.drop_table("feedback")
    op.drop_index("ix_deliveries_chat", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_table("conversations")
    op.drop_index("ix_chats_visitor", table_name="chats")
    op.drop_index("ix_chats_missed", table_name="chats")
    op.drop_index("ix_chats_ended", table_name="chats")
    op.drop_index("ix_chats_department", table_name="chats")
    op.drop_table("chats")
    op.drop_index("ix_activities_chat", table_name="activities")
    op.drop_table("activities")
