"""Take back rows of ours that nobody touched since.

A row is untouched as long as its `xmin` is the transaction that inserted it: every later change, whoever makes it, leaves
another. `xmin` holds 32 bits, so a row counts only while that transaction is less than 2**31 transactions old; older
ones are left alone. The test is part of the DELETE: should somebody change the row while it waits for its lock,
PostgreSQL puts the question again to the new version.
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

WRAP = 1 << 31


def inserted_by(xid: int) -> sql.Composed:
    """The row `t` is as that transaction left it."""
    return sql.SQL("t.xmin = {}::pg_catalog.xid").format(sql.Literal(str(xid & 0xFFFFFFFF)))


def delete_untouched(writer: Writer, table: Table, batch: Batch, xid: int) -> Mask:
    """Inside a transaction of the writer: delete those rows of the batch that are still as `xid` inserted them."""
    if not len(batch) or writer.xid() - xid >= WRAP:
        return np.zeros(len(batch), np.bool_)
    query = sql.SQL(
        "WITH held AS MATERIALIZED ({held}), gone AS (DELETE FROM {table} AS t USING {keys} WHERE {match} AND {ours}"
        " AND EXISTS (SELECT FROM held) RETURNING u.n) SELECT pg_catalog.string_agg(pg_catalog.int4send(n::int4), ''::bytea)"
        " FROM gone"
    ).format(
        held=writer.lease(),
        table=named(table),
        keys=unnested(batch.kinds),
        match=same_key(table),
        ours=inserted_by(xid),
    )
    with writer.registry.cursor(binary=True) as cursor:
        row = cursor.execute(query, batch.arrays()).fetchone()
    gone = mask_of(row[0] if row else None, len(batch))
    writer.wrote(int(gone.sum()))
    return gone


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
