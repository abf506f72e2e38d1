"""Run by Alembic: migrates the connection that database.open_database hands over."""

from alembic import context

from tryggport.reception.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
