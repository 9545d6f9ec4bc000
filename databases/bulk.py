"""Insert many rows of one table in one statement, a column at a time, in binary.

As text every element is escaped, here and again by the server: of a record set aside that was half of its cost. A
statement and no COPY: it may compute defaults beside, and costs the server the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.types.array import ListBinaryDumper


class _Binary(list[Any]):
    """A list that travels in binary."""


def insert_columns(db: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]], **same: Any) -> None:
    """Insert a row for every place of the columns, all of one length; `same` are values that all rows share.

    Within the caller's transaction. Raises sqlalchemy's DBAPIError, as its own statements do.
    """
    raw = db.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    schema = (db.get_execution_options().get("schema_translate_map") or {}).get(None)
    raw.adapters.register_dumper(_Binary, ListBinaryDumper)
    try:
        text = _statement(db, table, schema, list(columns), list(same))
        raw.execute(text, [*same.values(), *(_Binary(values) for values in columns.values())], prepare=False)
    except psycopg.Error as error:
        if raw.closed:
            db.invalidate()  # else the pool would ask it to roll back
        raise sa.exc.DBAPIError(f"INSERT INTO {table.name}", None, error) from error


def _statement(
    db: sa.Connection, table: sa.Table, schema: str | None, columns: Sequence[str], same: Sequence[str]
) -> sql.Composed:
    def typed(name: str, array: str = "") -> sql.Composed:
        return sql.SQL("{}::{}").format(sql.Placeholder(), sql.SQL(table.c[name].type.compile(db.dialect) + array))

    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM ROWS FROM ({}) AS r").format(
        sql.Identifier(*filter(None, (schema, table.name))),
        sql.SQL(", ").join(map(sql.Identifier, [*same, *columns])),
        sql.SQL(", ").join([*map(typed, same), sql.SQL("r.*")]),
        sql.SQL(", ").join([sql.SQL("pg_catalog.unnest({})").format(typed(name, "[]")) for name in columns]),
    )
