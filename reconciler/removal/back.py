"""Put removed registry rows back, from the journal alone: after a crash, or by an undo.

A deleted row is inserted as it stood, every column but the generated ones; where a row of its key stands by now, that one
is left alone. A state that was set is set back where nobody has touched the row since. What triggers of the registry did
when the row went is not undone; they run again when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from psycopg import sql

from databases.connect import connect, renamed
from databases.ledger import Ledger
from reconciler.backfill.aftermath import elsewhere, landed, may_be_undone, otherwise, table_of
from reconciler.backfill.batches import Batch, Mask, unnested
from reconciler.backfill.ghosts import WRAP, inserted_by
from reconciler.backfill.journal import Step
from reconciler.backfill.run import Open, opened
from reconciler.backfill.standing import named, same_key, standing
from reconciler.backfill.writer import Writer
from reconciler.catalog import relation
from reconciler.lease import Held
from reconciler.probe import Table
from reconciler.probe.tables import quoted
from reconciler.removal.journal import Entry, Journal
from reconciler.scene import Subject
from schemas.errors import RefusedWrite
from schemas.keys import KeySet

_TYPE = "SELECT pg_catalog.format_type(atttypid, -1) FROM pg_catalog.pg_attribute WHERE attrelid = %s::oid AND attname = %s"


def restore(
    writer: Writer, table: Table, action: Mapping[str, Any], batch: Batch, before: Sequence[str | None], xid: int
) -> Mask:
    """Which of these rows stand again as they stood before `xid` removed them."""

    def work() -> Mask:
        if "delete" in action:
            mine = _insert(writer, table, batch, before)
        else:
            mine = _set_back(writer, table, action["column"], batch, before, xid)
        writer.wrote(int(mine.sum()))
        return mine

    return writer.transaction(f"put {len(batch)} rows of {table.qualified} back", table.qualified, work)


def _insert(writer: Writer, table: Table, batch: Batch, before: Sequence[str | None]) -> Mask:
    target = relation(writer.registry, "the registry", f'"{table.schema}"."{table.name}"')
    columns = [column.name for column in target.columns if not column.generated]
    query = sql.SQL(
        "WITH held AS MATERIALIZED ({held}) INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM"
        " (SELECT v::{table} AS r FROM pg_catalog.unnest(%s::text[]) AS v OFFSET 0) AS x WHERE EXISTS (SELECT FROM held)"
        " ON CONFLICT DO NOTHING"
    ).format(
        held=writer.lease(),
        table=named(table),
        columns=sql.SQL(", ").join([quoted(name) for name in columns]),
        values=sql.SQL(", ").join([sql.SQL("(x.r).{}").format(quoted(name)) for name in columns]),
    )
    writer.registry.execute(query, [list(before)])
    return standing(writer.registry, table, batch, inserted_by(writer.xid()))


def _set_back(writer: Writer, table: Table, column: str, batch: Batch, before: Sequence[str | None], xid: int) -> Mask:
    if writer.xid() - xid >= WRAP:  # so long ago that its id may be somebody else's by now
        return np.zeros(len(batch), np.bool_)
    target = relation(writer.registry, "the registry", f'"{table.schema}"."{table.name}"')
    row = writer.registry.execute(_TYPE, [target.oid, column]).fetchone()
    if row is None:
        raise RefusedWrite(f"the column {column} of {table.qualified} is gone, so its states cannot be set back")
    query = sql.SQL(
        "WITH held AS MATERIALIZED ({held}) UPDATE {table} AS t SET {column} = u.b::{type_} FROM {keys} WHERE {match}"
        " AND {ours} AND EXISTS (SELECT FROM held)"
    ).format(
        held=writer.lease(),
        table=named(table),
        column=quoted(column),
        type_=sql.SQL(row[0].replace("%", "%%")),  # by format_type itself, quoted
        keys=unnested(batch.kinds, "b"),
        match=same_key(table),
        ours=inserted_by(xid),
    )
    writer.registry.execute(query, [*batch.arrays(), list(before)])
    return standing(writer.registry, table, batch, inserted_by(writer.xid()))


def unfinished(ledger: Ledger) -> int:
    return len(_read(ledger, lambda journal: journal.unfinished()))


def finish_unfinished(
    ledger: Ledger, subjects: Sequence[Subject], *, source: Open, registry: Open, lease: Held
) -> tuple[int, int, list[str]]:
    """Ask the source again about what crashed runs removed: batches, rows put back, and what could not be looked at."""
    by_name, count, back, left = {s.name: s for s in subjects}, 0, 0, list[str]()
    with opened(ledger, lease, source, registry) as (writer, asked):
        journal = Journal(writer.journal.connection, ledger)
        for entry in _read(ledger, lambda found: found.unfinished()):
            subject = by_name.get(entry.data_type)
            why = (
                "not among this run's data types"
                if subject is None
                else elsewhere(entry, writer.server, subject.registry.table)
                or otherwise(entry, asked.asked(subject.source.table))
            )
            if subject is None or why is not None:
                left.append(f"batch {entry.batch} of orphans of {entry.data_type} (run {entry.run}): {why}")
                continue
            restored = entry.keys
            if landed(writer, entry):
                batch = entry.as_batch()
                there = asked.look(subject.data_type, subject.source.table, batch, scoped=False).result().there
                restored = _chosen(writer, entry, batch, there)
                back += len(restored)
            count += 1
            with renamed("write the journal of removals"):
                journal.move(entry.run, entry.data_type, entry.batch, Step.REREAD, restored)
    return count, back, left


def undo(ledger: Ledger, run: str, *, registry: Open, lease: Held) -> dict[str, tuple[KeySet, KeySet]]:
    """By data type, the rows that stand again as they stood, and those that do not: another stands there, or was changed.

    Raises RefusedWrite, before the first row, where the run wrote to another server or database than this registry.
    """
    entries = _read(ledger, lambda journal: journal.of_run(run))
    out: dict[str, tuple[KeySet, KeySet]] = {}
    if not entries:
        return out
    connection = registry()
    try:
        writer = Writer(ledger, lease, connection)
        try:
            may_be_undone(ledger, run, entries, writer.server)
            for entry in entries:
                back, other = _undo(writer, Journal(writer.journal.connection, ledger), entry)
                before = out.get(entry.data_type, (back - back, other - other))
                out[entry.data_type] = (before[0] | back, before[1] | other)
        finally:
            writer.close()
    finally:
        connection.close()
    return out


def _undo(writer: Writer, journal: Journal, entry: Entry) -> tuple[KeySet, KeySet]:
    nothing = entry.keys - entry.keys
    if not landed(writer, entry) or entry.step is Step.UNDONE:
        return nothing, nothing
    batch = entry.as_batch()
    wanted = np.array([key not in entry.restored for key in batch.keys], np.bool_)
    back = _chosen(writer, entry, batch, wanted)
    with renamed("write the journal of removals"):
        journal.move(entry.run, entry.data_type, entry.batch, Step.UNDONE, entry.restored | back)
    return back, batch.chosen(wanted).keys - back if wanted.any() else nothing


def _chosen(writer: Writer, entry: Entry, batch: Batch, wanted: Mask) -> KeySet:
    """Put these of a batch back; which of them stand again."""
    if not wanted.any():
        return entry.keys - entry.keys
    mine = [text for text, chosen in zip(entry.before, wanted, strict=True) if chosen]
    part = batch.chosen(wanted)
    mask = restore(writer, table_of(entry), entry.action, part, mine, entry.xid)
    return part.chosen(mask).keys if mask.any() else entry.keys - entry.keys


def _read(ledger: Ledger, ask: Callable[[Journal], Iterable[Entry]]) -> list[Entry]:
    with connect(ledger.dsn, "the ledger") as connection, renamed("read the journal of removals"):
        return list(ask(Journal(connection, ledger)))
