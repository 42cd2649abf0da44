"""Who took part in each chat, and indexes for the lists of the read API."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FILL = {
    "sqlite": "SELECT DISTINCT c.workspace_id, json_extract(a.value, '$.id'), c.chat_id, c.revision, c.ended_at_ms, c.department_id, c.outcome"
    " FROM chats c, json_each(c.agents) a",
    "postgresql": "SELECT DISTINCT c.workspace_id, a.value ->> 'id', c.chat_id, c.revision, c.ended_at_ms, c.department_id, c.outcome"
    " FROM chats c, json_array_elements(c.agents) a",
}
_INDEXES = {
    "ix_chat_agents_agent": ("chat_agents", ["workspace_id", "agent_id", "ended_at_ms"]),
    "ix_chat_agents_department": (
        "chat_agents",
        ["workspace_id", "agent_id", "department_id", "ended_at_ms"],
    ),
    "ix_chat_agents_outcome": ("chat_agents", ["workspace_id", "agent_id", "outcome", "ended_at_ms"]),
    "ix_chats_department_outcome": (
        "chats",
        ["workspace_id", "department_id", "outcome", "ended_at_ms"],
    ),
    "ix_chats_outcome": ("chats", ["workspace_id", "outcome", "ended_at_ms"]),
    "ix_chats_tag": ("chats", ["workspace_id", "missed_tag", "ended_at_ms"]),
    "ix_conversations_missed": (
        "conversations",
        ["workspace_id", "department_id", "inbox_status", "missed_at_ms", "chat_id"],
    ),
    "ix_conversations_given": (
        "conversations",
        ["workspace_id", "inbox_agent_id", "inbox_status", "missed_at_ms", "chat_id"],
    ),
}


def upgrade() -> None:
    """Creates them; of chats that are there already, their rows say who took part."""
    op.create_table(
        "chat_agents",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("department_id", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", "revision", "agent_id", name="pk_chat_agents"),
    )
    op.execute(
        "INSERT INTO chat_agents (workspace_id, agent_id, chat_id, revision, ended_at_ms, department_id, outcome) "
        + _FILL[op.get_bind().dialect.name]
        + " WHERE c.ended_at_ms IS NOT NULL"
    )
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Drops them."""
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    op.drop_table("chat_agents")
