"""The archive's tables of what has happened; `standing.py` has those of what stands now.

The one rule: each column is filled from one topic only, so the archive is the same in whatever order the topics are read.
All times are integer milliseconds since the epoch. `migrations/` creates these tables; a test compares the two.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    FromClause,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    and_,
    exists,
    or_,
)

EVENT_AGAIN_MS = 24 * 3600 * 1000
"""The same (source, id) changes nothing for so long (the contract, Envelope)."""
AGAIN: dict[Any, Any] = {"newer_by": ("at_ms", EVENT_AGAIN_MS)}
"""Of a table of events: a row gives way to a later record of the same (source, id) only when that is an event of its own again."""

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
    Column("phase", String(16)),
    Column("revision", Integer),
    Column("department_id", String(128)),
    Column("owner_id", String(128)),
    Column("since_ms", BigInteger),
    Column("entered_ms", BigInteger),
    Column("offer_id", String(128)),
    Column("rung_agent_ids", JSON(none_as_null=True)),
    Column("participants", JSON(none_as_null=True)),
    Column("missed_at_ms", BigInteger),
    Column("missed_tag", String(32)),
    Column("decided_offset", BigInteger),
    PrimaryKeyConstraint("workspace_id", "chat_id", name="pk_conversations"),
    Index("ix_conversations_phase", "workspace_id", "phase", "department_id"),
    Index("ix_conversations_owner", "workspace_id", "owner_id", "phase"),
    Index("ix_conversations_inbox", "workspace_id", "inbox_status", "missed_at_ms", "chat_id"),
)
"""What is true of a chat whatever its revision (chat.routing.v1): tags, the place in the missed inbox, and who has it now (`live.py`)."""

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
    Column("offset", BigInteger),
    Column("department_id", String(128)),
    Column("bot_id", String(128)),
    Column("priority", String(128)),
    Column("visitor_id", String(128)),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_requests"),
    Index("ix_requests_chat", "workspace_id", "chat_id", "at_ms"),
    Index("ix_requests_visitor", "workspace_id", "visitor_id"),
    info=AGAIN,
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
    Column("offset", BigInteger),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_feedback"),
    Index("ix_feedback_chat", "workspace_id", "chat_id"),
    info=AGAIN,
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
    Column("offset", BigInteger),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_notes"),
    Index("ix_notes_chat", "workspace_id", "chat_id"),
    info=AGAIN,
)
"""Agents' notes (chat.events.v1); they belong to the chat's visitor."""

visitor_updates = Table(
    "visitor_updates",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("source", String(256), nullable=False),
    Column("event_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("visitor", JSON, nullable=False),
    Column("offset", BigInteger),
    PrimaryKeyConstraint("workspace_id", "source", "event_id", name="pk_visitor_updates"),
    Index("ix_visitor_updates_chat", "workspace_id", "chat_id", "at_ms"),
    info=AGAIN,
)
"""What became known of a chat's visitor later (chat.events.v1); a closed chat's row has it in already."""

refusals = Table(
    "refusals",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("decision_id", String(128), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("request_type", String(128), nullable=False),
    Column("code", String(64), nullable=False),
    Column("subject", String(128)),
    Column("request_offset", BigInteger),
    PrimaryKeyConstraint("workspace_id", "decision_id", name="pk_refusals"),
    Index("ix_refusals_request", "workspace_id", "request_id"),
)
"""Requests that were not granted (chat.routing.v1): an event with a row here does not count; `refused` tells."""

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
    Column("at_ms", BigInteger),
    Column("tick_ms", BigInteger),
    Column("clock_ms", BigInteger),
    PrimaryKeyConstraint("topic", "partition", name="pk_offsets"),
)
"""How far each topic is in all rows, and its time there (`clocks.py`): written in the same transaction."""


def refused(events: FromClause) -> ColumnElement[bool]:
    """Whether a row of events was refused. `events` has workspace_id, event_id and offset; rows of older versions lack the offset."""
    e, x = events.c, refusals.c
    same = and_(x.workspace_id == e.workspace_id, x.request_id == e.event_id)
    here = or_(x.request_offset.is_(None), e.offset.is_(None), x.request_offset == e.offset)
    return exists().where(same, here)


summaries = Table(
    "summaries",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("ended_at_ms", BigInteger, nullable=False),
    Column("text", Text),
    Column("method", String(128)),
    Column("at_ms", BigInteger),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", name="pk_summaries"),
    Index("ix_summaries_made", "at_ms"),
    info={"newer_by": ("ended_at_ms", 0)},
)
"""One row per finished chat, from its transcript's last part on (chat.transcripts.v1); the summarizer fills in text, method and time.
Without a time it is still to be made; without a text there is none. A later chat of the same id takes the row over."""

erasures = Table(
    "erasures",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("visitor_hash", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "visitor_hash", name="pk_erasures"),
)
"""Visitors who were erased, and when last: filled by `chat-routing erase`, from no topic."""

erased_chats = Table(
    "erased_chats",
    metadata,
    Column("chat_hash", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("chat_hash", name="pk_erased_chats"),
)
"""Their chats, by a hash over workspace and chat: nothing about one is archived again, whatever the topics still hold."""

erased_events = Table(
    "erased_events",
    metadata,
    Column("event_hash", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("event_hash", name="pk_erased_events"),
)
"""Monitors on their mail addresses, by a hash over workspace, source and id of the event that set each up: they stand as deleted."""

revoked_links = Table(
    "revoked_links",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("made_before_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", name="pk_revoked_links"),
    info={"newer_by": ("made_before_ms", 0)},
)
"""Links to pages that open nothing any more: filled by `chat-routing link`, from no topic. Of all chats where the chat's id is an empty
string, of all revisions where the revision is 0."""

chat_agents = Table(
    "chat_agents",
    metadata,
    Column("workspace_id", String(128), nullable=False),
    Column("agent_id", String(128), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("ended_at_ms", BigInteger, nullable=False),
    Column("department_id", String(128), nullable=False),
    Column("outcome", String(32), nullable=False),
    PrimaryKeyConstraint("workspace_id", "chat_id", "revision", "agent_id", name="pk_chat_agents"),
)
"""Who took part in each chat that has ended (chat.routing.v1), as `chats` has them."""

_part = chat_agents.c
_place = (_part.ended_at_ms, _part.chat_id, _part.revision)
# All that is asked of a part stands in these. They begin with whose it is: for a chat's agents SQLite, which knows no counts, would
# otherwise go through all of a workspace here, not look the chat up.
Index("ix_chat_agents_agent", _part.agent_id, _part.workspace_id, *_place)
Index("ix_chat_agents_department", _part.agent_id, _part.workspace_id, _part.department_id, *_place)
Index("ix_chat_agents_outcome", _part.agent_id, _part.workspace_id, _part.outcome, *_place)
Index("ix_chats_outcome", chats.c.workspace_id, chats.c.outcome, chats.c.ended_at_ms)
Index(
    "ix_chats_department_outcome",
    *(chats.c.workspace_id, chats.c.department_id, chats.c.outcome, chats.c.ended_at_ms),
)
Index("ix_chats_tag", chats.c.workspace_id, chats.c.missed_tag, chats.c.ended_at_ms)
_inbox = conversations.c
Index(
    "ix_conversations_missed",
    *(_inbox.workspace_id, _inbox.department_id, _inbox.inbox_status, _inbox.missed_at_ms, _inbox.chat_id),
)
Index(
    "ix_conversations_given",
    *(_inbox.workspace_id, _inbox.inbox_agent_id, _inbox.inbox_status, _inbox.missed_at_ms, _inbox.chat_id),
)
