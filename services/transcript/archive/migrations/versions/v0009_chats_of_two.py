"""Agents' chats by their whole place in a list: those that two agents had are found by going through both lists side by side."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLE = "chat_agents"
_INDEXES = {
    "ix_chat_agents_agent": [],
    "ix_chat_agents_department": ["department_id"],
    "ix_chat_agents_outcome": ["outcome"],
}


def upgrade() -> None:
    """Makes the indexes anew, with what tells apart chats that ended together."""
    for name, columns in _INDEXES.items():
        op.drop_index(name, table_name=_TABLE)
        op.create_index(
            name, _TABLE, ["agent_id", "workspace_id", *columns, "ended_at_ms", "chat_id", "revision"]
        )


def downgrade() -> None:
    """Makes the indexes anew, without it."""
    for name, columns in _INDEXES.items():
        op.drop_index(name, table_name=_TABLE)
        op.create_index(name, _TABLE, ["workspace_id", "agent_id", *columns, "ended_at_ms"])
