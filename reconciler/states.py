"""Count registry rows by state: registered is not yet replicated, and the report says how many are what."""

from __future__ import annotations

from psycopg import sql

from databases.connect import renamed
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot


def count_states(subject: Subject, registry: Snapshot) -> dict[str, int]:
    """Rows by the text of the columns that `accepted` names, joined by a comma; nothing where none is named."""
    accepted = subject.data_type.registry.accepted
    if accepted is None:
        return {}
    table = subject.registry.table
    columns = [subject.registry.relation.column("the registry", name).name for name in accepted]
    state = sql.SQL(" || ',' || ").join(
        [sql.SQL("coalesce({}::text, 'null')").format(sql.Identifier(name)) for name in columns]
    )
    query = sql.SQL("SELECT {}, count(*) FROM {} GROUP BY 1 ORDER BY 1").format(state, sql.Identifier(table.schema, table.name))
    with renamed(f"count the states of {table.qualified}"):
        return {str(row[0]): int(row[1]) for row in registry.first.execute(query)}
