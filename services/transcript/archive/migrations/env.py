"""Alembic's entry point. The one rule: the caller brings the connection and owns its transaction."""

from alembic import context

from services.transcript.archive.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
