"""An agent's chats by their whole place in a list: those that two agents had are found by going through both indexes side by side."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAME, _TABLE = "ix_chat_agents_agent", "chat_agents"
_COLUMNS = ["workspace_id", "agent_id", "ended_at_ms"]


def upgrade() -> None:
    """Makes the index anew, with what tells apart chats that ended together."""
    op.drop_index(_NAME, table_name=_TABLE)
    op.create_index(_NAME, _TABLE, [*_COLUMNS, "chat_id", "revision"])


def downgrade() -> None:
    """Makes the index anew, without it."""
    op.drop_index(_NAME, table_name=_TABLE)
    op.create_index(_NAME, _TABLE, _COLUMNS)
