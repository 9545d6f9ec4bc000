"""Finish what a crash left, and take back what a run inserted. Both work from the journal alone.

Neither needs to trust the process that wrote it: a row counts as ours only while its `xmin` is the journalled
transaction, on the journalled server.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from databases.connect import connect, renamed
from databases.ledger import Ledger
from reconciler.backfill.batches import Batch, Mask
from reconciler.backfill.ghosts import delete_untouched, take_back
from reconciler.backfill.journal import Entry, Journal, Step
from reconciler.backfill.plan import Job
from reconciler.backfill.run import SILENT, Open, Progress, Tally, opened
from reconciler.backfill.source import Source
from reconciler.backfill.standing import standing
from reconciler.backfill.writer import Writer
from reconciler.identity import Identity, contradiction, recorded
from reconciler.lease import Held
from reconciler.probe import Table
from schemas.errors import FencepostError, RefusedWrite
from schemas.keys import KeySet, KeyType

#: The registry ends an idle transaction sooner than this.
_OPEN_FOR_S = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What an earlier run had left to do, and what became of it."""

    batches: int = 0
    taken_back: dict[str, KeySet]  #: by data type: ghosts of the earlier runs
    left: tuple[str, ...] = ()  #: batches that could not be looked at, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What an undo did to one data type's rows."""

    removed: KeySet
    touched: KeySet  #: somebody changed the row since, wrote one of his own, or refers to it: left alone
    gone: KeySet  #: no row stands any more
    key_type: KeyType


class Journalled(Protocol):
    """A batch of a journal: this room's, or that of removals."""

    @property
    def run(self) -> str: ...
    @property
    def data_type(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def step(self) -> Step: ...
    @property
    def target(self) -> Mapping[str, Any]: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...
    @property
    def xid(self) -> int: ...


def unfinished(ledger: Ledger) -> int:
    """How many batches of earlier runs wait for `finish_unfinished`; to be asked before the lease is taken."""
    return len(_read(ledger, lambda journal: journal.unfinished()))


def finish_unfinished(ledger: Ledger, jobs: Sequence[Job], *, source: Open, registry: Open, lease: Held) -> Finished:
    """Hold the batches of crashed runs against the source, and take their ghosts back. The jobs' keys do not matter.

    Call it under the lease, before the compare: what such a batch inserted is simply there then.
    """
    entries = _read(ledger, lambda journal: journal.unfinished())
    if not entries:
        return Finished(taken_back={})
    by_name, taken, left, count = {job.name: job for job in jobs}, dict[str, Tally](), list[str](), 0
    with opened(ledger, lease, source, registry) as (writer, asked):
        for entry in entries:
            job = by_name.get(entry.data_type)
            if job is None:
                left.append(f"batch {entry.batch} of {entry.data_type} (run {entry.run}): not among this run's data types")
            elif (why := _another_matter(entry, writer, asked, job)) is not None:
                left.append(f"batch {entry.batch} of {entry.data_type} (run {entry.run}): {why}")
            else:
                count += 1
                batch, ghosts = _finish(writer, asked, entry, job)
                taken.setdefault(job.name, Tally(job.key_type)).add("taken_back", batch, ghosts)
    taken_back = {name: tally.done().taken_back for name, tally in taken.items()}
    return Finished(batches=count, taken_back=taken_back, left=tuple(left))


def _another_matter(entry: Entry, writer: Writer, source: Source, job: Job) -> str | None:
    """Why a batch cannot be finished by this run; None where it can."""
    question = source.asked(job.source, job.data_type.source.scope)
    return elsewhere(entry, writer.server, job.registry) or otherwise(entry, question)


def _finish(writer: Writer, source: Source, entry: Entry, job: Job) -> tuple[Batch, Mask]:
    batch = entry.as_batch(entry.inserted)
    if not landed(writer, entry):
        with renamed("write the backfill's journal"):
            writer.journal.removed(entry.run, entry.data_type, entry.batch, entry.inserted, Step.REREAD)
        return batch, np.zeros(len(batch), np.bool_)
    gone = batch.chosen(~source.look(job.data_type, job.source, batch).result().there)
    if len(gone):
        return gone, take_back(writer, job.registry, entry.run, entry.data_type, gone, entry.xid)
    with renamed("write the backfill's journal"):
        writer.journal.move(entry.run, entry.data_type, [entry.batch], Step.REREAD)
    return gone, np.zeros(0, np.bool_)


def undo(
    ledger: Ledger,
    run: str,
    *,
    registry: Open,
    lease: Held,
    progress: Progress = SILENT,
) -> dict[str, Undone]:
    """Remove exactly what `run` inserted and nobody touched since. A second undo finds nothing to remove.

    Raises RefusedWrite, before the first row, where the run wrote to another server or database than this registry. A failure
    after the first rows carries a note that says how many went.
    """
    entries = _read(ledger, lambda journal: journal.of_run(run))
    if not entries:
        return {}
    total, done, tallies = sum(len(entry.inserted) for entry in entries), 0, dict[str, Tally]()
    connection = registry()
    try:
        writer = Writer(ledger, lease, connection)
        try:
            may_be_undone(ledger, run, entries, writer.server)
            for entry in entries:
                with _told_how_far(tallies, total):
                    batch, removed, standing_now = _undo(writer, entry)
                tally = tallies.setdefault(entry.data_type, Tally(entry.key_type))
                tally.add("removed", batch, removed)
                tally.add("touched", batch, standing_now & ~removed)
                tally.add("gone", batch, ~standing_now & ~removed)
                done += len(entry.inserted)
                progress(done, total)
        finally:
            writer.close()
    finally:
        connection.close()
    return {
        name: Undone(
            removed=tally.keys("removed"), touched=tally.keys("touched"), gone=tally.keys("gone"), key_type=tally.key_type
        )
        for name, tally in tallies.items()
    }


@contextlib.contextmanager
def _told_how_far(tallies: Mapping[str, Tally], total: int) -> Iterator[None]:
    try:
        yield
    except FencepostError as error:
        if taken := sum(len(tally.keys("removed")) for tally in tallies.values()):
            before = f"{taken} of {total} rows were taken back before that, for good"
            error.add_note(f"{before}; the same undo goes on with the others")
        raise


def may_be_undone(ledger: Ledger, run: str, entries: Sequence[Journalled], server: Identity) -> None:
    """Raises RefusedWrite where the rows of a run cannot be told from others' here."""
    for entry in entries:
        if (why := elsewhere(entry, server)) is not None:
            raise RefusedWrite(f"cannot undo run {run}: {why}", hint="check registry.dsn")
    if (why := gone_back(ledger, server)) is not None:
        raise RefusedWrite(
            f"cannot undo run {run}: {why}",
            hint="its rows are told by the transaction that inserted them, and ids of transactions are given out again there",
        )


def _undo(writer: Writer, entry: Entry) -> tuple[Batch, Mask, Mask]:
    """Of one batch: its keys, those deleted now, and those that still have a row."""
    table = table_of(entry)
    # An undone batch is gone through again, so that a second undo says what is there; a ghost was never ours to undo.
    batch = entry.as_batch(entry.inserted if entry.step is Step.UNDONE else entry.inserted - entry.removed)
    landed(writer, entry)

    def work() -> tuple[Mask, Mask]:
        removed = delete_untouched(writer, table, batch, entry.xid)
        left = standing(writer.registry, table, batch)
        if writer.inside:
            _told(writer, entry, batch, left)
        return removed, left

    removed, left = writer.transaction(f"undo {len(batch)} rows of {table.qualified}", table.qualified, work)
    if not writer.inside:
        with renamed("write the backfill's journal"):
            _told(writer, entry, batch, left)
    return batch, removed, left


def _told(writer: Writer, entry: Entry, batch: Batch, left: Mask) -> None:
    keys = entry.removed | batch.chosen(~left).keys
    writer.journal.removed(entry.run, entry.data_type, entry.batch, keys, Step.UNDONE)


def landed(writer: Writer, entry: Journalled) -> bool:
    """Whether the batch's transaction may have committed. Waits while it is open: its client may be dying, or paused."""
    if entry.step is not Step.PLANNED:
        return True
    deadline = time.monotonic() + _OPEN_FOR_S
    while True:
        with renamed("ask the registry what became of a transaction"):
            row = writer.registry.execute(
                "SELECT pg_catalog.pg_xact_status(%s::text::pg_catalog.xid8)", [str(entry.xid)]
            ).fetchone()
        status = row[0] if row else None
        if status != "in progress":
            return status != "aborted"  # NULL: too old to be known; its rows are told by their xmin
        if time.monotonic() >= deadline:
            raise RefusedWrite(
                f"batch {entry.batch} of {entry.data_type} of run {entry.run} is still open in the registry",
                hint=f"end the transaction with backend_xid = {entry.xid & 0xFFFFFFFF} in pg_stat_activity, then run again",
            )
        time.sleep(0.1)


def elsewhere(entry: Journalled, server: Identity, table: Table | None = None) -> str | None:
    """Why an entry is not about this registry; None where it is."""
    wanted = (entry.target["system"], entry.target["database"])
    found = (server.system, server.database_oid)
    if wanted != found:
        return f"its rows went to database {wanted[1]} of server {wanted[0]}; this is database {found[1]} of {found[0]}"
    if table is not None and (entry.target["table"], entry.target["key"]) != (
        [table.schema, table.name],
        list(table.key),
    ):
        return f"its rows went to {'.'.join(entry.target['table'])}; the settings now name {table.qualified}"
    return None


def otherwise(entry: Journalled, asked: Mapping[str, Any]) -> str | None:
    """Why today's answer of the source says nothing about a batch: it was asked something else."""
    if entry.target.get("asked") in (None, asked):
        return None
    what = f"`fencepost undo {entry.run}` takes back what that run did"
    return f"the table, key or scope asked of the source is another by now; {what}"


def gone_back(ledger: Ledger, server: Identity) -> str | None:
    """Why a transaction id may mean another transaction here than the one that was journalled."""
    return contradiction(recorded(ledger, "registry"), server)


def table_of(entry: Journalled) -> Table:
    schema, name = entry.target["table"]
    return Table(schema=schema, name=name, key=tuple(entry.target["key"]), kinds=entry.kinds, unique=False)


def _read(ledger: Ledger, ask: Callable[[Journal], Iterable[Entry]]) -> list[Entry]:
    connection = connect(ledger.dsn, "the ledger")
    try:
        with renamed("read the backfill's journal"):
            return list(ask(Journal(connection, ledger)))
    finally:
        connection.close()
