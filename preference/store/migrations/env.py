"""Alembic's entry: run the migrations on the connection that `preference.store.migrate` hands over."""

from alembic import context

from preference.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
