"""Take back rows of ours that nobody touched since.

A row is untouched as long as its `xmin` is the transaction that inserted it: every later change, whoever makes it, leaves
another. `xmin` holds 32 bits, so a row counts only while that transaction is less than 2**31 transactions old; older
ones are left alone. The test is part of the DELETE: should somebody change the row while it waits for its lock,
PostgreSQL puts the question again to the new version.

To refer to a row does not change it. A foreign key would delete or change the rows that refer to ours, or refuse the
deletion and with it the whole batch: those of ours are left alone that anybody refers to.
"""

from __future__ import annotations

import numpy as np
from psycopg import sql

from databases.connect import renamed
from reconciler.backfill.batches import Batch, Mask, mask_of, unnested
from reconciler.backfill.journal import Step
from reconciler.backfill.standing import named, same_key, standing
from reconciler.backfill.writer import Writer
from reconciler.probe import Table
from reconciler.probe.tables import quoted

WRAP = 1 << 31


def inserted_by(xid: int) -> sql.Composed:
    """The row `t` is as that transaction left it."""
    return sql.SQL("t.xmin = {}::pg_catalog.xid").format(sql.Literal(str(xid & 0xFFFFFFFF)))


def delete_untouched(writer: Writer, table: Table, batch: Batch, xid: int) -> Mask:
    """Inside a transaction of the writer: delete those rows of the batch that are still as `xid` inserted them."""
    if not len(batch) or writer.xid() - xid >= WRAP:
        return np.zeros(len(batch), np.bool_)
    spared, carried_on = _referred_to(writer, table)
    if carried_on:
        # Who refers to a row has taken a lock on it that no test of ours sees: after this one nobody does so any more.
        writer.registry.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(named(table)))
    query = sql.SQL(
        "WITH held AS MATERIALIZED ({held}), gone AS (DELETE FROM {table} AS t USING {keys} WHERE {match} AND {ours}"
        "{spared} AND EXISTS (SELECT FROM held) RETURNING u.n)"
        " SELECT pg_catalog.string_agg(pg_catalog.int4send(n::int4), ''::bytea) FROM gone"
    ).format(
        held=writer.lease(),
        table=named(table),
        keys=unnested(batch.kinds),
        match=same_key(table),
        ours=inserted_by(xid),
        spared=sql.SQL("").join(spared),
    )
    with writer.registry.cursor(binary=True) as cursor:
        row = cursor.execute(query, batch.arrays()).fetchone()
    gone = mask_of(row[0] if row else None, len(batch))
    writer.wrote(int(gone.sum()))
    return gone


#: Foreign keys to the table: whose, whether our role may look there, whether they would carry a deletion on, and from which
#: columns to which.
_REFERENCES = """
WITH RECURSIVE parts AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s
     UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts p ON i.inhparent = p.oid)
SELECT n.nspname::text, c.relname::text, pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       f.confdeltype IN ('c', 'n', 'd'),
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.at)
          FROM pg_catalog.unnest(f.conkey) WITH ORDINALITY k (number, at)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number),
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.at)
          FROM pg_catalog.unnest(f.confkey) WITH ORDINALITY k (number, at)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number)
  FROM parts p JOIN pg_catalog.pg_constraint f ON f.confrelid = p.oid
  JOIN pg_catalog.pg_class c ON c.oid = f.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE f.contype = 'f' AND NOT c.relispartition
 ORDER BY 1, 2"""


def _referred_to(writer: Writer, table: Table) -> tuple[list[sql.Composable], bool]:
    """` AND …`: nobody's row refers to the row `t`; and whether any would go, or change, with it.

    Where we may not look nothing of ours goes, unless the foreign key itself would refuse it.
    """
    terms, any_carried_on = list[sql.Composable](), False
    found = writer.registry.execute(_REFERENCES, [table.schema, table.name]).fetchall()
    for schema, name, readable, carried_on, theirs, ours in found:
        any_carried_on |= carried_on
        if not readable and not carried_on:
            continue
        same = [sql.SQL("c.{} = t.{}").format(quoted(a), quoted(b)) for a, b in zip(theirs, ours, strict=True)]
        refers = sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS c WHERE {})").format(
            quoted(schema, name), sql.SQL(" AND ").join(same)
        )
        terms.append(refers if readable else sql.SQL(" AND false"))
    return terms, any_carried_on


def take_back(writer: Writer, table: Table, run: str, name: str, gone: Batch, xid: int) -> Mask:
    """Delete our untouched rows whose source row is gone, and journal it; which of them were deleted."""

    def work() -> tuple[Mask, Mask]:
        taken = delete_untouched(writer, table, gone, xid)
        # What somebody else removed is not ours to undo either.
        over = taken | ~standing(writer.registry, table, gone)
        if writer.inside:
            writer.journal.removed(run, name, gone.number, gone.chosen(over).keys, Step.REREAD)
        return taken, over

    what = f"take {len(gone)} rows of {table.qualified} back"
    taken, over = writer.transaction(what, table.qualified, work)
    if not writer.inside:
        # Not before the commit: a journal that tells of a deletion too early would let a ghost stand for good.
        with renamed("write the backfill's journal"):
            writer.journal.removed(run, name, gone.number, gone.chosen(over).keys, Step.REREAD)
    return taken
