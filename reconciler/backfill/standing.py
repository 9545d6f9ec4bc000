"""Ask a table which of a batch's keys have a row now. One statement, so one snapshot; nothing is locked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from reconciler.backfill.batches import Batch, Mask, key_values, mask_of, unnested
from reconciler.probe.arrays import Array, ArrayDumper
from reconciler.probe.tables import Table, quoted

#: A batch whose keys span at most so many times their number is read as one range of the index.
_DENSE = 4


def prepared(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Teach a connection to send arrays."""
    connection.adapters.register_dumper(Array, ArrayDumper)
    return connection


def standing(connection: psycopg.Connection[Any], table: Table, batch: Batch, where: sql.Composable | None = None) -> Mask:
    """For each key of the batch: is there a row `t` of that key that meets `where`?"""
    if not len(batch):
        return np.zeros(0, np.bool_)
    if batch.kinds == ("int",) and _reach(batch) <= _DENSE * len(batch):
        return _in_range(connection, table, batch, where)
    query = sql.SQL(
        "SELECT pg_catalog.string_agg(pg_catalog.int4send(u.n::int4), ''::bytea) FROM {keys}"
        " WHERE EXISTS (SELECT FROM {table} AS t WHERE {match}{where})"
    ).format(keys=unnested(batch.kinds), table=named(table), match=same_key(table), where=_and(where))
    return mask_of(_only(connection, query, batch.arrays()), len(batch))


#: Triggers and rules on INSERT, which may answer with another row; of the table and of all its partitions.
_MEDDLERS = """
WITH RECURSIVE parts AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s
     UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts p ON i.inhparent = p.oid)
SELECT 'the trigger ' || pg_catalog.quote_ident(t.tgname) FROM parts p JOIN pg_catalog.pg_trigger t ON t.tgrelid = p.oid
 WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 4 = 4
 UNION
SELECT 'the rule ' || pg_catalog.quote_ident(r.rulename) FROM parts p JOIN pg_catalog.pg_rewrite r ON r.ev_class = p.oid
 WHERE r.ev_type = '3' AND r.ev_enabled IN ('O', 'A')
 ORDER BY 1"""


def meddled(connection: psycopg.Connection[Any], table: Table) -> str | None:
    """Who may change our rows on their way in, or send them elsewhere; None: nobody can."""
    names = [name for (name,) in connection.execute(_MEDDLERS, [table.schema, table.name]).fetchall()]
    return " or ".join(names[:3]) or None


#: A valid, immediate, whole unique index on exactly these columns. Asked by whoever holds a lock on the table, which no
#: DROP INDEX gets past.
_UNIQUE = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indisvalid AND i.indisready AND i.indislive
   AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
   AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
          FROM pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k(number)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number) = %s::text[])"""


def still_unique(connection: psycopg.Connection[Any], table: Table) -> bool:
    """Whether the index that keeps rows from being doubled is still there."""
    wanted = sorted(table.key, key=str.encode)
    row = connection.execute(_UNIQUE, [table.schema, table.name, wanted]).fetchone()
    return bool(row and row[0])


def duplicates(connection: psycopg.Connection[Any], table: Table, batch: Batch) -> int:
    """How many of the batch's keys stand in more than one row."""
    return int(_only(connection, twice(table, batch), batch.arrays()))


def twice(table: Table, batch: Batch) -> sql.Composed:
    # A join, not a count for each key: without any index on the key every one would read the whole table.
    return sql.SQL(
        "SELECT pg_catalog.count(*) FROM"
        " (SELECT FROM {keys} JOIN {table} AS t ON {match} GROUP BY u.n HAVING pg_catalog.count(*) > 1) AS twice"
    ).format(keys=unnested(batch.kinds), table=named(table), match=same_key(table))


def values(
    connection: psycopg.Connection[Any],
    table: Table,
    batch: Batch,
    columns: Sequence[str],
    where: sql.Composable | None = None,
) -> tuple[Mask, list[list[str | None]]]:
    """Which keys have a row, and each column's values of those rows, as text, in key order."""
    query = sql.SQL("SELECT u.n::int4, {columns} FROM {keys} JOIN {table} AS t ON {match}{where}").format(
        columns=sql.SQL(", ").join([sql.SQL("t.{}::text").format(quoted(column)) for column in columns]),
        keys=unnested(batch.kinds),
        table=named(table),
        match=same_key(table),
        where=_and(where),
    )
    rows = {row[0]: row[1:] for row in connection.execute(query, batch.arrays()).fetchall()} if len(batch) else {}
    mask = np.zeros(len(batch), np.bool_)
    found = sorted(rows)
    mask[[n - 1 for n in found]] = True
    return mask, [[rows[n][i] for n in found] for i in range(len(columns))]


def _in_range(connection: psycopg.Connection[Any], table: Table, batch: Batch, where: sql.Composable | None) -> Mask:
    # An index-only walk over neighbours costs a tenth of as many descents.
    low, high = int(batch.column[0]), int(batch.column[-1])
    query = sql.SQL(
        "SELECT pg_catalog.string_agg(pg_catalog.int4send(({key} - %b::int8)::int4), ''::bytea) FROM {table} AS t"
        " WHERE {key} >= %b::int8 AND {key} <= %b::int8{where}"
    ).format(key=sql.SQL("t.{}").format(quoted(table.key[0])), table=named(table), where=_and(where))
    offsets = np.frombuffer(_only(connection, query, [low, low, high]) or b"", ">i4")
    flags = np.zeros(high - low + 1, np.bool_)
    flags[offsets] = True
    mask: Mask = flags[batch.column - low]
    return mask


def _reach(batch: Batch) -> int:
    return int(batch.column[-1]) - int(batch.column[0]) + 1


def _only(connection: psycopg.Connection[Any], query: sql.Composed, params: Sequence[Any]) -> Any:
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(query, params).fetchone()
    return row[0] if row else None


def _and(where: sql.Composable | None) -> sql.Composable:
    return sql.SQL("") if where is None else sql.SQL(" AND ({})").format(where)


def named(table: Table) -> sql.Composable:
    return quoted(table.schema, table.name)


def same_key(table: Table) -> sql.Composed:
    """The row `t` has the key `u`."""
    pairs = zip(table.key, key_values(table.kinds), strict=True)
    return sql.SQL(" AND ").join([sql.SQL("t.{} = {}").format(quoted(name), value) for name, value in pairs])
