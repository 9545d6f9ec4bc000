"""Write down, batch by batch, what is removed and how it stood before, before it is committed.

As the journal of a backfill: part of the registry's own transaction where the ledger is in reach of it, else committed to
the ledger first, as planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from databases.ledger import Ledger
from reconciler.backfill.batches import Batch, batches
from reconciler.backfill.journal import Step
from schemas import ledger as tables
from schemas.keys import KeySet, KeyType, key_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One batch as the journal has it. `Step.INSERTED` means removed, and the source not asked again yet."""

    run: str
    data_type: str
    batch: int
    step: Step
    target: Mapping[str, Any]
    kinds: tuple[str, ...]
    xid: int
    action: Mapping[str, Any]
    keys: KeySet
    before: list[str | None]
    restored: KeySet

    @property
    def key_type(self) -> KeyType:
        return key_type(self.kinds if len(self.kinds) > 1 else self.kinds[0])

    def as_batch(self) -> Batch:
        (found,) = batches(self.keys, self.key_type, self.kinds, size=len(self.keys), first=self.batch)
        return found


class Journal:
    """The ledger's `removal` table, over the connection that the backfill's journal uses."""

    def __init__(self, connection: psycopg.Connection[Any], ledger: Ledger) -> None:
        self.connection = connection
        self.table = sql.Identifier(ledger.schema, tables.removal.name)

    def write(
        self,
        *,
        run: str,
        data_type: str,
        step: Step,
        target: Mapping[str, Any],
        xid: int,
        action: Mapping[str, Any],
        removed: Batch,
        before: Sequence[str | None],
    ) -> None:
        query = sql.SQL(
            "INSERT INTO {} AS r (run, data_type, batch, state, target, kinds, xid, action, keys, before)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %b, %s) ON CONFLICT (run, data_type, batch) DO UPDATE SET"
            " xid = excluded.xid, keys = excluded.keys, before = excluded.before WHERE r.state = 'planned'"
        ).format(self.table)
        kinds = ",".join(removed.kinds)
        values = [run, data_type, removed.number, step, Jsonb(dict(target)), kinds, xid, Jsonb(dict(action))]
        self.connection.execute(query, [*values, removed.keys.serialize(), Jsonb(list(before))])

    def move(self, run: str, data_type: str, batch: int, step: Step, restored: KeySet) -> None:
        """These of a batch's keys stand again, in all, or were never removed."""
        query = sql.SQL("UPDATE {} SET state = %s, restored = %b WHERE run = %s AND data_type = %s AND batch = %s")
        self.connection.execute(query.format(self.table), [step, restored.serialize(), run, data_type, batch])

    def of_run(self, run: str) -> list[Entry]:
        return self._entries(sql.SQL("run = {}").format(sql.Literal(run)))

    def unfinished(self) -> list[Entry]:
        """Batches of any run whose keys were not asked for in the source again."""
        return self._entries(sql.SQL("state IN ('planned', 'inserted')").format())

    def _entries(self, where: sql.Composed) -> list[Entry]:
        query = sql.SQL(
            "SELECT run, data_type, batch, state, target, kinds, xid, action, keys, before, restored FROM {} WHERE {}"
            " ORDER BY run, data_type, batch"
        ).format(self.table, where)
        out = []
        for run, data_type, batch, state, target, kinds, xid, action, keys, before, restored in self.connection.execute(query):
            parts = tuple(kinds.split(","))
            kind = key_type(parts if len(parts) > 1 else parts[0])
            out.append(
                Entry(
                    run=run, data_type=data_type, batch=batch, step=Step(state), target=target, kinds=parts, xid=xid,
                    action=action, keys=kind.parse(keys), before=before,
                    restored=kind.empty() if restored is None else kind.parse(restored),
                )
            )  # fmt: skip
        return out
