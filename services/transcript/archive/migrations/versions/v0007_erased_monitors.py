"""Which monitors were erased with the visitor they watched for; and an index goes that no query uses."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table, and drops the index."""
    op.create_table(
        "erased_events",
        sa.Column("event_hash", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_hash", name="pk_erased_events"),
    )
    op.drop_index("ix_chats_missed", table_name="chats")


def downgrade() -> None:
    """Drops the table, and creates the index."""
    op.create_index("ix_chats_missed", "chats", ["workspace_id", "missed_tag", "missed_at_ms"])
    op.drop_table("erased_events")
