"""Whose each request is, as a column with an index: chats of a visitor that live are known by their requests alone."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_VISITOR_ID = {"sqlite": "json_extract(visitor, '$.visitor_id')", "postgresql": "visitor ->> 'visitor_id'"}


def upgrade() -> None:
    """Creates the column, and fills it."""
    op.add_column("requests", sa.Column("visitor_id", sa.String(length=128)))
    op.execute("UPDATE requests SET visitor_id = " + _VISITOR_ID[op.get_bind().dialect.name])  # noqa: S608 - one of two
    op.create_index("ix_requests_visitor", "requests", ["workspace_id", "visitor_id"])


def downgrade() -> None:
    """Drops it."""
    op.drop_index("ix_requests_visitor", table_name="requests")
    op.drop_column("requests", "visitor_id")
