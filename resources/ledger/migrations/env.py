"""Alembic's entry: run the migrations on the connection that `database.py` hands over."""

from alembic import context

from resources.ledger.review_tables import waiting_clips

context.configure(connection=context.config.attributes["connection"], target_metadata=waiting_clips.metadata)
with context.begin_transaction():
    context.run_migrations()
