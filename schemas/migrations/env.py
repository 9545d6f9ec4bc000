"""Alembic's environment: runs on a connection that `databases.ledger` hands over, in the ledger's own schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from schemas.ledger import metadata

schema = context.config.attributes["schema"]
connection = context.config.attributes["connection"]

if connection is None:
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        literal_binds=True,
        version_table_schema=schema,
    )
else:
    context.configure(connection=connection, target_metadata=metadata, version_table_schema=schema)

with context.begin_transaction():
    if connection is None:
        context.execute(f'SET search_path = "{schema}"')
    else:
        # ALTER is not translated to the schema as CREATE is; it ends with this transaction.
        connection.execute(sa.text("SELECT pg_catalog.set_config('search_path', :path, true)"), {"path": f'"{schema}"'})
    context.run_migrations()
