"""Answers to missed chats by e-mail."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table; answers from before are read from the topic, as far as it still holds them."""
    op.create_table(
        "replies",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("notice_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.Column("agent_name", sa.String(length=256), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "notice_id", name="pk_replies"),
    )
    op.create_index("ix_replies_chat", "replies", ["workspace_id", "chat_id", "at_ms"])


def downgrade() -> None:
    """Drops the table."""
    op.drop_table("replies")
