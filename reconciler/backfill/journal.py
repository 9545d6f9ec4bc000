"""Write down, batch by batch, what went into the registry, before it is committed there.

Where ledger and registry are one database, the journal's row is part of the registry's own transaction. Where they are
two, the row is committed to the ledger first, as `planned`, with the id of the registry's transaction that is about to
commit: whoever finds it after a crash asks the registry what became of that transaction, and of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from databases.ledger import Ledger
from reconciler.backfill.batches import Batch, batches
from reconciler.identity import Identity
from reconciler.probe.tables import Table
from schemas import ledger as tables
from schemas.keys import KeySet, KeyType, key_type


class Step(StrEnum):
    """How far a batch has come."""

    PLANNED = "planned"  #: written before the registry's commit, in another database: perhaps there, perhaps not
    INSERTED = "inserted"  #: committed with its rows; the source was not read again yet
    REREAD = "reread"  #: the source was read again after the commit; own rows without a source row are in `removed`
    UNDONE = "undone"  #: by `fencepost undo`; what nobody had touched is in `removed`


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One batch as the journal has it."""

    run: str
    data_type: str
    batch: int
    step: Step
    target: Mapping[str, Any]
    kinds: tuple[str, ...]
    xid: int
    inserted: KeySet
    removed: KeySet

    @property
    def key_type(self) -> KeyType:
        return key_type(self.kinds if len(self.kinds) > 1 else self.kinds[0])

    def as_batch(self, keys: KeySet) -> Batch:
        found = list(batches(keys, self.key_type, self.kinds, size=max(len(keys), 1), first=self.batch))
        return (
            found[0]
            if found
            else Batch(number=self.batch, key_type=self.key_type, kinds=self.kinds, column=self.key_type.column([]))
        )


def target(server: Identity, table: Table, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where rows go, so that an undo never runs against another server or table; and what was `asked` of the source, so
    that what a crash left is not held against another question."""
    there = {
        "system": server.system,
        "database": server.database_oid,
        "table": [table.schema, table.name],
        "key": list(table.key),
    }
    return there if asked is None else there | {"asked": asked}


class Journal:
    """The ledger's `backfill` table, over a connection that is the registry's own, or one beside it."""

    def __init__(self, connection: psycopg.Connection[Any], ledger: Ledger) -> None:
        self.connection = connection
        self.table = sql.Identifier(ledger.schema, tables.backfill.name)

    def next_batch(self, run: str, data_type: str) -> int:
        query = sql.SQL("SELECT coalesce(pg_catalog.max(batch) + 1, 0) FROM {} WHERE run = %s AND data_type = %s")
        row = self.connection.execute(query.format(self.table), [run, data_type]).fetchone()
        return int(row[0]) if row else 0

    def write(
        self,
        *,
        run: str,
        data_type: str,
        step: Step,
        target: Mapping[str, Any],
        xid: int,
        planned: Batch,
        inserted: Batch,
    ) -> None:
        """A batch is about to be committed. Written anew where its transaction has to be tried again."""
        meant = planned.keys.serialize()
        done = meant if len(inserted) == len(planned) else inserted.keys.serialize()
        query = sql.SQL(
            "INSERT INTO {} AS b (run, data_type, batch, state, target, kinds, xid, planned, inserted)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %b, %b) ON CONFLICT (run, data_type, batch) DO UPDATE"
            " SET xid = excluded.xid, planned = excluded.planned, inserted = excluded.inserted WHERE b.state = 'planned'"
        ).format(self.table)
        kinds = ",".join(planned.kinds)
        values = [run, data_type, planned.number, step, Jsonb(dict(target)), kinds, xid, meant, done]
        self.connection.execute(query, values)

    def move(self, run: str, data_type: str, numbers: Sequence[int], step: Step) -> None:
        query = sql.SQL("UPDATE {} SET state = %s WHERE run = %s AND data_type = %s AND batch = ANY (%s)")
        self.connection.execute(query.format(self.table), [step, run, data_type, list(numbers)])

    def removed(self, run: str, data_type: str, batch: int, keys: KeySet, step: Step) -> None:
        """These of a batch's keys are no rows of ours any more, in all."""
        query = sql.SQL("UPDATE {} SET state = %s, removed = %b WHERE run = %s AND data_type = %s AND batch = %s")
        self.connection.execute(query.format(self.table), [step, keys.serialize(), run, data_type, batch])

    def of_run(self, run: str) -> list[Entry]:
        return self._entries(sql.SQL("run = {}").format(sql.Literal(run)))

    def unfinished(self) -> list[Entry]:
        """Batches of any run whose rows were never held against the source again."""
        return self._entries(sql.SQL("state IN ('planned', 'inserted')").format())

    def _entries(self, where: sql.Composed) -> list[Entry]:
        query = sql.SQL(
            "SELECT run, data_type, batch, state, target, kinds, xid, inserted, removed FROM {} WHERE {}"
            " ORDER BY run, data_type, batch"
        ).format(self.table, where)
        return list(_read(self.connection.execute(query).fetchall()))


def _read(rows: Iterable[Sequence[Any]]) -> Iterable[Entry]:
    for run, data_type, batch, state, where, kinds, xid, inserted, removed in rows:
        parts = tuple(kinds.split(","))
        kind = key_type(parts if len(parts) > 1 else parts[0])
        yield Entry(
            run=run,
            data_type=data_type,
            batch=batch,
            step=Step(state),
            target=where,
            kinds=parts,
            xid=xid,
            inserted=kind.parse(inserted),
            removed=kind.empty() if removed is None else kind.parse(removed),
        )
