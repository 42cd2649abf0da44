"""The archive's tables.

The one rule: each column is filled from one topic only, so the archive is the same in whatever order the topics are read.
All times are integer milliseconds since the epoch. `migrations/` creates these tables; a test compares the two.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

chats = Table(
    "chats",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    # chat.closed.v1
    Column("outcome", String(32)),
    Column("end_reason", String(64)),
    Column("ended_by", String(128)),
    Column("started_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    Column("department_id", String(128)),
    Column("department_name", String(256)),
    Column("visitor_id", String(128)),
    Column("visitor", JSON(none_as_null=True)),
    Column("agents", JSON(none_as_null=True)),
    Column("language", String(8)),
    Column("timezone", String(64)),
    # chat.missed.v1
    Column("missed_at_ms", BigInteger),
    Column("missed_reason", String(64)),
    Column("missed_detail", String(64)),
    Column("missed_tag", String(32)),
    Column("rule", JSON(none_as_null=True)),
    Column("available_at_start", JSON(none_as_null=True)),
    Column("available_at_missed", JSON(none_as_null=True)),
    Column("available_counts", JSON(none_as_null=True)),
    Column("reply_by_email", Boolean),
    # transcript.completed.v1
    Column("channel", String(32)),
    Column("question", Text),
    Column("parts", Integer),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", name="pk_chats"),
    Index("ix_chats_ended", "workspace_id", "ended_at_ms"),
    Index("ix_chats_department", "workspace_id", "department_id", "ended_at_ms"),
    Index("ix_chats_missed", "workspace_id", "missed_tag", "missed_at_ms"),
    Index("ix_chats_visitor", "workspace_id", "visitor_id", "ended_at_ms"),
)
"""One row per chat and revision, from its first closing or missing on."""

conversations = Table(
    "conversations",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("tags", JSON(none_as_null=True)),
    Column("inbox_status", String(32)),
    Column("inbox_agent_id", String(128)),
    PrimaryKeyConstraint("workspace_id", "chat_id", name="pk_conversations"),
)
"""What is true of a chat whatever its revision: tags and the place in the missed inbox (chat.routing.v1)."""

messages = Table(
    "messages",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("sender_kind", String(16), nullable=False),
    Column("sender_id", String(128)),
    Column("sender_name", String(256)),
    Column("text", Text, nullable=False),
    Column("internal", Boolean, nullable=False),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", "part", "position", name="pk_messages"),
)
"""The messages of each transcript as it was handed out (chat.transcripts.v1); a later revision repeats the earlier ones."""

transcripts = Table(
    "transcripts",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("event_id", String(128), nullable=False),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", "part", name="pk_transcripts"),
)
"""Which parts have arrived (chat.transcripts.v1)."""

requests = Table(
    "requests",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("source", String(256), nullable=False),
    Column("event_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("question", Text, nullable=False),
    Column("visitor", JSON, nullable=False),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_requests"),
    Index("ix_requests_chat", "workspace_id", "chat_id", "at_ms"),
)
"""Every request for a chat (chat.events.v1); a refused one has a row in `refusals`."""

feedback = Table(
    "feedback",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("source", String(256), nullable=False),
    Column("event_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("rating", Integer, nullable=False),
    Column("comment", Text),
    Column("agent_id", String(128)),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_feedback"),
    Index("ix_feedback_chat", "workspace_id", "chat_id"),
)
"""Visitors' ratings (chat.events.v1)."""

notes = Table(
    "notes",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("source", String(256), nullable=False),
    Column("event_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("note_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("by_agent_id", String(128), nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_notes"),
    Index("ix_notes_chat", "workspace_id", "chat_id"),
)
"""Agents' notes (chat.events.v1); they belong to the chat's visitor."""

refusals = Table(
    "refusals",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("decision_id", String(128), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("request_type", String(128), nullable=False),
    Column("code", String(64), nullable=False),
    Column("subject", String(128)),
    PrimaryKeyConstraint("workspace_id", "decision_id", name="pk_refusals"),
    Index("ix_refusals_request", "workspace_id", "request_id"),
)
"""Requests that were not granted (chat.routing.v1): a request, a rating or a note with a row here does not count."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("notice_id", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("recipient", String(128), nullable=False),
    Column("chat_id", String(128)),
    Column("at_ms", BigInteger, nullable=False),
    Column("result", String(16), nullable=False),
    Column("code", String(256)),
    PrimaryKeyConstraint("workspace_id", "notice_id", "kind", "recipient", name="pk_deliveries"),
    Index("ix_deliveries_chat", "workspace_id", "chat_id"),
)
"""What became of each mail (chat.deliveries.v1); the recipient is a hash."""

replies = Table(
    "replies",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("notice_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("agent_id", String(128), nullable=False),
    Column("agent_name", String(256), nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("workspace_id", "notice_id", name="pk_replies"),
    Index("ix_replies_chat", "workspace_id", "chat_id", "at_ms"),
)
"""Answers to missed chats by e-mail (chat.notices.v1); what became of each stands in `deliveries`, by its notice."""

activities = Table(
    "activities",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("record_id", String(128), nullable=False),
    Column("record_type", String(128)),
    Column("record_url", Text),
    Column("owner", JSON(none_as_null=True)),
    Column("at_ms", BigInteger, nullable=False),
    Column("result", String(16), nullable=False),
    Column("code", String(256)),
    PrimaryKeyConstraint(
        "workspace_id", "kind", "request_id", "chat_id", "revision", "record_id", name="pk_activities"
    ),
    Index("ix_activities_chat", "workspace_id", "chat_id"),
)
"""What became of each thing asked of the CRM (crm.activities.v1); an absent id is an empty string, revision 0."""

offsets = Table(
    "offsets",
    metadata,
    Column("topic", String(256), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition", name="pk_offsets"),
)
"""How far each topic is in the rows above: written in the same transaction."""
