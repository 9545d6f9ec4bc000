"""Remove orphans, batch by batch, beside live writers.

Per batch: read the registry rows as they stand; ask the source, without the scope, which keys have no row; remove those
registry rows in one transaction, but only while each is still the very version that was read before the source was asked;
journal them whole before the commit; ask the source again, and put back what has a row after all. A key that is used again
in between has another registry row, or its old one is put back. Two databases cannot be checked and written at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import sql

from databases.connect import renamed
from databases.ledger import Ledger
from reconciler.backfill import Pace
from reconciler.backfill.batches import Batch, Mask, batches, mask_of, unnested
from reconciler.backfill.journal import Step, target
from reconciler.backfill.run import SILENT, Open, Progress, opened
from reconciler.backfill.source import Source
from reconciler.backfill.standing import named, same_key
from reconciler.backfill.writer import Writer
from reconciler.lease import Held
from reconciler.removal.back import restore
from reconciler.removal.job import Job, setting
from reconciler.removal.journal import Journal
from schemas.errors import CatalogError, RefusedRows
from schemas.keys import KeySet
from schemas.settings import BackfillSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What became of one data type's orphans."""

    removed: KeySet
    put_back: KeySet  #: their source row was there right after
    left: KeySet  #: their source row had come back, or the registry row was changed or gone


@dataclass(frozen=True, slots=True)
class _Version:
    """A registry row as it stood: where, by whom, and what of it an undo needs."""

    table: str
    xmin: str
    place: str
    before: str | None


def remove(
    settings: BackfillSettings,
    ledger: Ledger,
    run: str,
    jobs: Sequence[Job],
    *,
    source: Open,
    registry: Open,
    lease: Held,
    progress: Progress = SILENT,
    on_refused: Callable[[str, RefusedRows | CatalogError], None],
) -> dict[str, Removed]:
    """Raises RefusedWrite or UnavailableError; what was committed until then is in the journal. Where the registry's own rules
    refuse the orphans of one data type, `on_refused` is told, and the other types go on."""
    total, out, done = sum(len(job.keys) for job in jobs), dict[str, Removed](), 0
    with opened(ledger, lease, source, registry) as (writer, asked):
        journal = Journal(writer.journal.connection, ledger)
        for job in jobs:
            remover = _Remover(writer, asked, journal, run, job)
            pace = Pace(settings.rate)
            table = job.subject.registry.table
            try:
                for batch in batches(job.keys, job.subject.key_type, table.kinds, size=pace.batch(settings.batch)):
                    pace.spend(len(batch))
                    remover.take(batch)
                    done += len(batch)
                    progress(done, total)
            except (RefusedRows, CatalogError) as refused:
                on_refused(job.name, refused)
            out[job.name] = remover.told()
    return out


class _Remover:
    """One job at work."""

    def __init__(self, writer: Writer, source: Source, journal: Journal, run: str, job: Job) -> None:
        self.writer, self.source, self.journal, self.run, self.job = writer, source, journal, run, job
        self.table = job.subject.registry.table
        self.target = target(writer.server, self.table, source.asked(job.subject.source.table))
        self.removed = self.put_back = job.subject.key_type.empty()

    def told(self) -> Removed:
        left = self.job.keys - self.removed
        return Removed(removed=self.removed - self.put_back, put_back=self.put_back, left=left)

    def take(self, batch: Batch) -> None:
        versions = self._versions(batch)
        standing = np.array([version is not None for version in versions], np.bool_)
        orphaned = standing & ~self._there(batch)
        if not orphaned.any():
            return
        gone = batch.chosen(orphaned)
        mine = [v for v, chosen in zip(versions, orphaned, strict=True) if chosen and v is not None]
        what = f"remove {len(gone)} orphans from {self.table.qualified}"
        mask, xid = self.writer.transaction(what, self.table.qualified, lambda: self._remove(gone, mine))
        if not mask.any():
            return
        taken = gone.chosen(mask)
        self.removed = self.removed | taken.keys
        before = [v.before for v, chosen in zip(mine, mask, strict=True) if chosen]
        self._look_again(taken, before, xid)

    def _there(self, batch: Batch) -> Mask:
        return self.source.look(self.job.subject.data_type, self.job.subject.source.table, batch, scoped=False).result().there

    def _versions(self, batch: Batch) -> list[_Version | None]:
        """Read before the source is asked: who changes one of these rows afterwards knows something that we do not."""
        action = self.job.action
        before = sql.SQL("t::text") if "delete" in action else sql.SQL("t.{}::text").format(sql.Identifier(action["column"]))
        query = sql.SQL(
            "SELECT u.n::int4, t.tableoid::text, t.xmin::text, t.ctid::text, {before} FROM {keys} JOIN {table} AS t ON {match}"
        ).format(before=before, keys=unnested(batch.kinds), table=named(self.table), match=same_key(self.table))
        found: list[_Version | None] = [None] * len(batch)
        with renamed(f"read the orphans of {self.table.qualified}"):
            for n, *version in self.writer.registry.execute(query, batch.arrays()):
                found[n - 1] = _Version(*version)
        return found

    def _remove(self, gone: Batch, versions: list[_Version]) -> tuple[Mask, int]:
        """Inside a transaction: which rows were still as they had been read, and its id."""
        action = self.job.action
        same = sql.SQL(
            "{} AND t.tableoid = u.o::pg_catalog.oid AND t.xmin = u.x::pg_catalog.xid AND t.ctid = u.c::pg_catalog.tid"
            " AND EXISTS (SELECT FROM held)"
        ).format(same_key(self.table))
        keys, table = unnested(gone.kinds, "o", "x", "c"), named(self.table)
        if "delete" in action:
            change = sql.SQL("DELETE FROM {} AS t USING {} WHERE {} RETURNING u.n").format(table, keys, same)
        else:
            change = sql.SQL("UPDATE {} AS t SET {} FROM {} WHERE {} RETURNING u.n").format(table, setting(action), keys, same)
        query = sql.SQL(
            "WITH held AS MATERIALIZED ({held}), gone AS ({change})"
            " SELECT pg_catalog.string_agg(pg_catalog.int4send(n::int4), ''::bytea) FROM gone"
        ).format(held=self.writer.lease(), change=change)
        more = [[v.table for v in versions], [v.xmin for v in versions], [v.place for v in versions]]
        with self.writer.registry.cursor(binary=True) as cursor:
            row = cursor.execute(query, [*gone.arrays(), *more]).fetchone()
        mask = mask_of(row[0] if row else None, len(gone))
        self.writer.wrote(int(mask.sum()))
        xid = self.writer.xid()
        if mask.any():
            self.journal.write(
                run=self.run,
                data_type=self.job.name,
                step=Step.INSERTED if self.writer.inside else Step.PLANNED,
                target=self.target,
                xid=xid,
                action=action,
                removed=gone.chosen(mask),
                before=[v.before for v, chosen in zip(versions, mask, strict=True) if chosen],
            )
        return mask, xid

    def _look_again(self, taken: Batch, before: list[str | None], xid: int) -> None:
        there = self._there(taken)
        back = self.job.subject.key_type.empty()
        if there.any():
            mine = [text for text, chosen in zip(before, there, strict=True) if chosen]
            again = taken.chosen(there)
            back = again.chosen(restore(self.writer, self.table, self.job.action, again, mine, xid)).keys
            self.put_back = self.put_back | back
        with renamed("write the journal of removals"):
            self.journal.move(self.run, self.job.name, taken.number, Step.REREAD, back)
