"""What Alembic runs: the migrations, on the connection it was handed.

Whoever hands it over has opened the transaction and holds the lock, so nothing is committed here.
"""

from alembic import context

from pipeline.catalog_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
