"""Insert the planned keys, batch by batch, beside live writers.

Per batch: ask the source which keys still have a row; insert those in one transaction that skips what is already there;
journal it before the commit; after the commit ask the source again, and take back our own untouched rows whose source
row is gone. Two databases cannot be checked and written at once; this order leaves a ghost only until the second look.
The source is asked one batch ahead and one behind, in its own thread, so that the registry never waits for it.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from databases.connect import renamed
from databases.ledger import Ledger
from reconciler.backfill import ghosts, journal, values
from reconciler.backfill.batches import Batch, Mask, batches, key_values, unnested
from reconciler.backfill.journal import Step
from reconciler.backfill.plan import Job
from reconciler.backfill.source import Look, Source
from reconciler.backfill.standing import duplicates, meddled, standing, still_unique
from reconciler.backfill.writer import Writer
from reconciler.lease import Held
from reconciler.ports import Silent, names, some
from schemas.errors import CatalogError, FencepostError, RefusedRows, RefusedWrite, RowRefused, SomeRefused
from schemas.keys import Column, KeySet, KeyType
from schemas.settings import BackfillSettings

Open = Callable[[], psycopg.Connection[Any]]
Progress = Callable[[int, int | None], None]
#: Told of a data type whose rows the registry will not have.
OnRefused = Callable[[Job, RefusedRows | CatalogError], None]
SILENT: Progress = Silent().advance
#: Rows that the registry refuses and that are passed over; more of them are no exception, and the data type is left there.
REFUSED_MOST = 20
#: Batches whose second look is journalled together. After a crash at most so many are looked at once more.
_TOGETHER = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one data type's keys: each is in `inserted`, `vanished` or `already`, or the registry refused it."""

    inserted: KeySet
    vanished: KeySet  #: the source row was gone, or out of scope, right before the insert
    already: KeySet  #: something stood in the way: a row of that key, or one that another unique index conflicts with
    taken_back: KeySet  #: inserted, and removed again, for the source row went meanwhile
    duplicates: int  #: keys that stand in more than one row; only looked for without a unique index

    @property
    def backfilled(self) -> int:
        return len(self.inserted) - len(self.taken_back)


@dataclass(slots=True)
class Tally:
    """A `Done` in the making."""

    key_type: KeyType
    columns: dict[str, list[Column]] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, name: str, batch: Batch, mask: Mask) -> None:
        if mask.any():
            self.columns.setdefault(name, []).append(batch.column[mask])

    def done(self) -> Done:
        return Done(
            inserted=self.keys("inserted"),
            vanished=self.keys("vanished"),
            already=self.keys("already"),
            taken_back=self.keys("taken_back"),
            duplicates=self.duplicates,
        )

    def keys(self, name: str) -> KeySet:
        columns = self.columns.get(name)
        return self.key_type.keys(np.concatenate(columns)) if columns else self.key_type.empty()


class Pace:
    """Holds rows to so many a second, by a clock that never steps back."""

    def __init__(
        self, rate: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.rate, self._clock, self._sleep = rate, clock, sleep
        self._free_at = clock()

    def batch(self, size: int) -> int:
        """A batch is never more than a second's worth."""
        return size if self.rate is None else min(size, self.rate)

    def spend(self, rows: int) -> None:
        """So many rows are about to be written: wait for their turn."""
        self.wait()
        self.charge(rows)

    def wait(self) -> None:
        """Until all that was charged has had its time."""
        if self.rate is None:
            return
        now = self._clock()
        if now < self._free_at:
            self._sleep(self._free_at - now)
        self._free_at = max(now, self._free_at)

    def charge(self, rows: int) -> None:
        """So many rows take their time, from when the last wait ended."""
        if self.rate is not None:
            self._free_at += rows / self.rate


def backfill(
    settings: BackfillSettings,
    ledger: Ledger,
    run: str,
    jobs: Sequence[Job],
    *,
    source: Open,
    registry: Open,
    lease: Held,
    progress: Progress = SILENT,
    pace: Pace | None = None,
    on_refused: OnRefused | None = None,
) -> dict[str, Done]:
    """Insert the jobs' keys, and account for each. What cannot work is refused before the first row of any job.

    With `on_refused` a data type whose rows the registry refuses does not keep the others from being written: it is told,
    and its `Done` accounts for what was written before. Without, RefusedRows or CatalogError is raised.

    Raises RefusedWrite or UnavailableError; what was committed until then is in the journal, and `finish_unfinished` of the
    next run completes it.
    """
    jobs = [job for job in jobs if len(job.keys)]
    for job in jobs:
        guarded(job)
    total, before = sum(len(job.keys) for job in jobs), 0
    out: dict[str, Done] = {}
    with opened(ledger, lease, source, registry) as (writer, asked):
        rows: dict[str, values.Row] = {}
        for job in jobs:
            with _telling(job, on_refused):
                rows[job.name] = values.row(asked.connection, writer.registry, job)
        for job in jobs:
            if (row := rows.get(job.name)) is None:
                continue
            filler = Filler(writer, asked, run, job, row)

            def told(done: int, before: int = before) -> None:
                progress(before + done, total)

            with _telling(job, on_refused):
                filler.fill(settings.batch, pace or Pace(settings.rate), told)
            out[job.name] = filler.tally.done()
            before += len(job.keys)
    return out


@contextlib.contextmanager
def _telling(job: Job, on_refused: OnRefused | None) -> Iterator[None]:
    try:
        yield
    except (RefusedRows, CatalogError) as refused:
        if on_refused is None:
            raise
        on_refused(job, refused)


def guarded(job: Job) -> None:
    """Without a unique index a live applier and we would both insert. Raises RefusedWrite."""
    declared = job.data_type.registry
    if not job.unique and not declared.appliers_stopped:
        key = ", ".join(job.registry.key)
        raise RefusedWrite(
            f"{job.name}: no valid unique index on exactly ({key}) of {job.registry.qualified}: beside live appliers"
            " a backfill could insert rows twice",
            hint=f"CREATE UNIQUE INDEX CONCURRENTLY ON {job.registry.qualified} ({key}); or stop the appliers and say so:"
            " registry.appliers_stopped: true",
        )


@contextlib.contextmanager
def opened(ledger: Ledger, lease: Held, source: Open, registry: Open) -> Iterator[tuple[Writer, Source]]:
    """Both sides, each on a connection of its own."""
    with contextlib.ExitStack() as stack:
        reading = stack.enter_context(contextlib.closing(source()))
        writing = stack.enter_context(contextlib.closing(registry()))
        writer = stack.enter_context(contextlib.closing(Writer(ledger, lease, writing)))
        yield writer, stack.enter_context(Source(reading))


class Filler:
    """One job at work."""

    def __init__(self, writer: Writer, source: Source, run: str, job: Job, row: values.Row) -> None:
        self.writer, self.source, self.run, self.job, self.row = writer, source, run, job, row
        self.tally = Tally(job.key_type)
        self.target = journal.target(writer.server, job.registry, source.asked(job.source, job.data_type.source.scope))
        plain, careful = (
            values.statement(
                job,
                row,
                held=writer.lease(),
                keys=unnested(job.registry.kinds, *row.arrays),
                key=key_values(job.registry.kinds),
                careful=careful,
            )
            for careful in (False, True)
        )
        self._plain, self._stepping_over = plain, careful
        self._careful = False
        self._meddled = meddled(writer.registry, job.registry)
        self._looked_again: list[int] = []
        self._numbers = itertools.count()
        self._refused: list[tuple[str, RowRefused]] = []

    def fill(self, size: int, pace: Pace, told: Callable[[int], None]) -> None:
        """Insert the job's keys; `tally` accounts for them, also where this raises."""
        job, done = self.job, 0
        with renamed("read the backfill's journal"):
            self._numbers = itertools.count(self.writer.journal.next_batch(self.run, job.name))
        parts = batches(job.keys, job.key_type, job.registry.kinds, size=pace.batch(size))
        # With a rate the batches are far apart: then a look one batch ahead would be an old one.
        ahead = self._ahead(parts) if pace.rate is None else ((part, None) for part in parts)
        again: deque[tuple[Batch, int, Future[Look]]] = deque()
        try:
            for batch, asked in ahead:
                if asked is None:
                    pace.spend(len(batch))
                    asked = self._ask(batch)
                for inserted, xid in self._write(batch, asked.result()):
                    again.append((inserted, xid, self.source.look(job.data_type, job.source, inserted)))
                while again and again[0][2].done():
                    self._look_again(*again.popleft())
                done += len(batch)
                told(done)
            while again:
                self._look_again(*again.popleft())
            self._settle()
        except FencepostError:
            self._save(again)
            raise
        if self._refused:
            raise self._some_refused()

    def _ask(self, batch: Batch) -> Future[Look]:
        return self.source.look(self.job.data_type, self.job.source, batch, self.row.from_source)

    def _ahead(self, parts: Iterator[Batch]) -> Iterator[tuple[Batch, Future[Look]]]:
        waiting: tuple[Batch, Future[Look]] | None = None
        for part in parts:
            following = (part, self._ask(part))
            if waiting:
                yield waiting
            waiting = following
        if waiting:
            yield waiting

    def _write(self, batch: Batch, look: Look) -> Iterator[tuple[Batch, int]]:
        """Insert what is there; the rows that are ours now, and the transaction they came with."""
        self.tally.add("vanished", batch, ~look.there)
        wanted = batch.chosen(look.there)
        if len(wanted):
            yield from self._written(wanted, look.values)

    def _written(self, wanted: Batch, found: list[list[str | None]]) -> Iterator[tuple[Batch, int]]:
        """In one transaction, or in halves of it down to the row that the registry refuses."""
        wanted = replace(wanted, number=next(self._numbers))
        try:
            mask, xid = self._in_one(wanted, found)
        except RowRefused as refused:
            if not self.writer.inside:  # refused at the commit, when its journal stood elsewhere
                with renamed("write the backfill's journal"):
                    self.writer.journal.removed(self.run, self.job.name, wanted.number, wanted.keys, Step.REREAD)
            if len(wanted) == 1:
                self._pass_over(wanted, refused)
                return
            middle = len(wanted) // 2
            for part in (slice(None, middle), slice(middle, None)):
                half = replace(wanted, column=wanted.column[part])
                yield from self._written(half, [values[part] for values in found])
            return
        if mask.any():
            yield wanted.chosen(mask), xid

    def _pass_over(self, row: Batch, refused: RowRefused) -> None:
        self._refused.append((next(iter(self.job.key_type.texts(row.keys, 1))), refused))
        if len(self._refused) > REFUSED_MOST:
            raise refused

    def _some_refused(self) -> SomeRefused:
        keys = names([repr(key) for key, _ in self._refused])
        first = self._refused[0][1]
        told = f"{some(len(self._refused), 'row')} could not be inserted, the first because: {first}"
        return SomeRefused(f"{told} (keys {keys})", hint=first.hint)

    def _in_one(self, wanted: Batch, found: list[list[str | None]]) -> tuple[Mask, int]:
        job, writer = self.job, self.writer
        what = f"insert {some(len(wanted), 'row')} into {job.registry.qualified}"
        mask, xid, twice = writer.transaction(
            what, job.registry.qualified, lambda: self._insert_rows(wanted, found), self._collided
        )
        self.tally.duplicates += twice
        self.tally.add("inserted", wanted, mask)
        self.tally.add("already", wanted, ~mask)
        return mask, xid

    def _collided(self) -> bool:
        """Somebody registered one of our keys meanwhile: from now on step over such rows."""
        before, self._careful = self._careful, True
        return not before

    def _insert_rows(self, wanted: Batch, found: list[list[str | None]]) -> tuple[Mask, int, int]:
        """Inside a transaction: which rows are ours, its id, and how many keys now stand in several rows."""
        job, writer = self.job, self.writer
        if not job.unique:
            lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
            writer.registry.execute(lock.format(sql.Identifier(job.registry.schema, job.registry.name)))
        statement = self._stepping_over if self._careful else self._plain
        rows = writer.registry.execute(statement, [*wanted.arrays(), *found]).rowcount
        writer.wrote(rows)
        if job.unique and not still_unique(writer.registry, job.registry):
            raise RefusedRows(
                f"the unique index on {job.registry.qualified} was dropped while rows were inserted; the batch was rolled back",
                hint="beside live appliers rows could be doubled without it: make it again, then run again",
            )
        xid = writer.xid()
        mask = np.ones(len(wanted), np.bool_)
        if rows != len(wanted) or self._meddled:
            mask = standing(writer.registry, job.registry, wanted, ghosts.inserted_by(xid))
        if self._meddled:
            self._under_their_keys(rows, int(mask.sum()))
        twice = 0 if job.unique else duplicates(writer.registry, job.registry, wanted)
        if mask.any():
            writer.journal.write(
                run=self.run,
                data_type=job.name,
                step=Step.INSERTED if writer.inside else Step.PLANNED,
                target=self.target,
                xid=xid,
                planned=wanted,
                inserted=wanted.chosen(mask),
            )
        return mask, xid, twice

    def _under_their_keys(self, rows: int, standing: int) -> None:
        """Rows under keys that we did not mean are nobody's: no undo would find them, and no compare expects them."""
        if rows != standing:
            raise RefusedRows(
                f"of {rows} rows inserted into {self.job.registry.qualified} {standing} stand there under their keys:"
                f" {self._meddled} changes keys, or sends rows elsewhere; the batch was rolled back",
                hint="let rows be inserted as they are, or disable that trigger or rule for our role",
            )

    def _look_again(self, inserted: Batch, xid: int, look: Future[Look]) -> None:
        gone = ~look.result().there
        if gone.any():
            ghost = inserted.chosen(gone)
            taken = ghosts.take_back(self.writer, self.job.registry, self.run, self.job.name, ghost, xid)
            self.tally.add("taken_back", ghost, taken)
            return
        self._looked_again.append(inserted.number)
        if len(self._looked_again) >= _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        if self._looked_again:
            with renamed("write the backfill's journal"):
                self.writer.journal.move(self.run, self.job.name, self._looked_again, Step.REREAD)
            self._looked_again = []

    def _save(self, again: deque[tuple[Batch, int, Future[Look]]]) -> None:
        """On the way out: what was committed is still held against the source, as far as that works."""
        with contextlib.suppress(FencepostError):
            while again:
                self._look_again(*again.popleft())
            self._settle()
