"""Summaries of finished chats, and who was erased."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables; chats that are finished already get a summary too."""
    op.create_table(
        "summaries",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("chat_id", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("method", sa.String(length=128)),
        sa.Column("at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("workspace_id", "chat_id", "revision", name="pk_summaries"),
    )
    op.create_index("ix_summaries_made", "summaries", ["at_ms"])
    op.execute(
        "INSERT INTO summaries (workspace_id, chat_id, revision, ended_at_ms) "
        "SELECT workspace_id, chat_id, revision, coalesce(ended_at_ms, 0) FROM chats WHERE parts IS NOT NULL"
    )
    op.create_table(
        "erasures",
        sa.Column("workspace_id", sa.String(length=128), nullable=False),
        sa.Column("visitor_hash", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "visitor_hash", name="pk_erasures"),
    )
    op.create_table(
        "erased_chats",
        sa.Column("chat_hash", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chat_hash", name="pk_erased_chats"),
    )


def downgrade() -> None:
    """Drops the tables."""
    op.drop_table("erased_chats")
    op.drop_table("erasures")
    op.drop_index("ix_summaries_made", table_name="summaries")
    op.drop_table("summaries")
