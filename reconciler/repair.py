"""The cutover's middle: plan the missing registry rows, ask whether they may be written, write them under the lease."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from databases.connect import connect, renamed
from reconciler import backfill, lease, proofs
from reconciler.backfill.writer import switched_off
from reconciler.examine import Run
from reconciler.identity import Identity, contradiction, identify
from reconciler.outcome import TypeOutcome
from reconciler.ports import some
from reconciler.proofs import Claim, withheld
from reconciler.report.words import DRY_RUN
from reconciler.scene import Subject
from schemas.errors import CatalogError, RefusedRows, RefusedWrite, SomeRefused
from schemas.keys import KeySet
from schemas.verdict import GapClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the operator allows."""

    dry_run: bool
    plan: str | None
    max_backfill: int | None


def finish_earlier(r: Run, held: lease.Held) -> None:
    """Finish what a crashed run left half-way, before anything is compared."""
    if not backfill.unfinished(r.ledger):
        return
    if faults := unsure_of_the_source(r):
        # Asked in the wrong place, a row that stands would seem gone, and its registry row would be taken back.
        r.notes.append(f"what an earlier run left half-way was not finished: {'; '.join(faults)}")
        return
    r.say.phase("finishing what an earlier run left half-way")
    jobs = [_job(subject, subject.key_type.empty()) for subject in r.scene.subjects]
    done = backfill.finish_unfinished(r.ledger, jobs, **doors(r), lease=held)
    taken_back = sum(len(keys) for keys in done.taken_back.values())
    r.notes.append(f"finished {done.batches} batches of earlier runs, took back {taken_back} of their rows")
    r.notes.extend(f"not finished: {words}" for words in done.left)


def unsure_of_the_source(r: Run) -> list[str]:
    """Why the source cannot be asked which rows are gone: not the server that was recorded, a copy, rows hidden from us."""
    met = [met.contradiction for met in r.shown.met if met.contradiction]
    return [*met, *r.shown.snapshot_faults, *(fault for told in r.shown.types.values() for fault in told.hidden)]


def doors(r: Run) -> dict[str, Any]:
    # A standby replays late, and so does a copy: whether a row still exists is asked where it was created.
    source = partial(connect, r.settings.source.writable, "the source", read_only=True)
    registry = partial(connect, r.settings.registry.dsn, "the registry")
    met = {met.now.side: met.now for met in r.shown.met}
    return {"source": partial(_same, source, met["source"]), "registry": partial(_same, registry, met["registry"])}


def _same(opened: Callable[[], psycopg.Connection[Any]], met: Identity) -> psycopg.Connection[Any]:
    """A connection to the server that this run has met. A name or a pooler may lead to another one by now: there a row that
    stands would seem gone, or rows would be written in the wrong place. Raises RefusedWrite."""
    connection = opened()
    try:
        if (why := contradiction(met, identify(connection, met.side))) is not None:
            raise RefusedWrite(f"nothing more is written: {why}", hint="run the command again, once it is known who is who")
    except BaseException:
        connection.close()
        raise
    return connection


def guarded(r: Run, outcomes: Sequence[TypeOutcome]) -> dict[str, list[str]]:
    """By data type, the failed proofs that forbid to write anything."""
    guards = ("identity", "snapshot", "visible", "window", "control")
    found = proofs.judge(r.shown)
    return {
        t.subject.name: [p.seen for p in withheld(r.shown, found, Claim.CREATES, t.subject.name) if p.name in guards]
        for t in outcomes
    }


def carry_out(
    r: Run,
    outcomes: Sequence[TypeOutcome],
    order: Order,
    held: lease.Held | None,
    *,
    guarded: Mapping[str, list[str]],
) -> str:
    """Insert what is missing, where nothing forbids it; a sentence on what was done. Rows that the registry's own rules
    refuse stay missing, and why is noted at their data type. Raises RefusedWrite."""
    jobs = [_job(t.subject, keys) for t in outcomes if len(keys := _keys(t))]
    registry = next(met.now for met in r.shown.met if met.now.side == "registry")
    plan = backfill.plan(registry, jobs)
    r.plan = plan.hash
    backfill.approve(plan, order.plan)
    if order.dry_run or held is None:
        return f"{DRY_RUN}{some(plan.total, 'registry row')} would be inserted, none was"
    if not jobs:
        return "nothing was missing, so nothing was inserted"
    refusal = backfill.capped(plan, order.max_backfill)
    if refusal is not None:
        return f"{refusal.reason}; {refusal.hint}"
    if (closed := _closed(r)) is not None:
        return f"nothing was written: {closed}"
    allowed = [job for job in jobs if _allowed(job, guarded[job.name], outcomes)]
    if not allowed:
        return "nothing was written: see each data type"
    r.say.phase(f"inserting {sum(len(job.keys) for job in allowed)} registry rows")
    refused: dict[str, RefusedRows | CatalogError] = {}
    done = backfill.backfill(
        r.settings.backfill,
        r.ledger,
        r.id,
        allowed,
        **doors(r),
        lease=held,
        progress=r.say.advance,
        on_refused=lambda job, error: refused.update({job.name: error}),
    )
    for t in outcomes:
        if t.subject.name in done:
            _account(t, done[t.subject.name])
        if t.subject.name in refused:
            _told_of(t, refused[t.subject.name])
    inserted, wanted = sum(t.backfilled for t in outcomes), sum(len(job.keys) for job in allowed)
    if not inserted and refused:
        return "no registry row was inserted: see each data type"
    if not inserted:
        why = "each was there by then, had gone from the source, or was kept out by a trigger"
        return f"none of {wanted} missing registry rows was inserted: {why}"
    told = "registry row was inserted" if inserted == 1 else "registry rows were inserted"
    return f"{inserted} {told}; `fencepost undo {r.id}` takes {'it' if inserted == 1 else 'them'} back"


def _closed(r: Run) -> str | None:
    """Why the registry takes no rows from anybody; None where it does."""
    with renamed("ask the registry whether it takes writes"):
        row = r.scene.registry.execute(
            "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')"
        ).fetchone()
    standby, read_only = row or (False, "off")
    if standby:
        return "the registry is a standby; registry.dsn has to name its primary"
    if (why := switched_off(r.scene.registry)) is not None:
        return why
    if read_only != "off":
        return "the registry is read-only for our role; look at default_transaction_read_only of database and role"
    return None


def _allowed(job: backfill.Job, failed: list[str], outcomes: Sequence[TypeOutcome]) -> bool:
    """Whether one data type may be written. What stands against it is noted there; the others are written all the same."""
    why = f"a proof that guards writes failed ({'; '.join(failed)})" if failed else None
    if why is None:
        try:
            backfill.guarded(job)
        except RefusedWrite as refused:
            why = f"{refused}; {refused.hint}"
    if why is not None:
        notes = next(t.notes for t in outcomes if t.subject.name == job.name)
        notes.append(f"{len(job.keys)} missing registry rows were not inserted: {why}")
    return why is None


def _told_of(t: TypeOutcome, refused: RefusedRows | CatalogError) -> None:
    why = f"{refused}; {refused.hint}" if refused.hint else str(refused)
    if isinstance(refused, SomeRefused):
        t.notes.append(why)
        return
    before = f"the backfill of this type stopped after {t.backfilled} rows" if t.backfilled else "nothing was inserted"
    t.notes.append(f"{before}: {why}")


def _account(t: TypeOutcome, result: backfill.Done) -> None:
    t.backfilled, t.inserted = result.backfilled, result.inserted - result.taken_back
    if len(result.already):
        t.notes.append(
            f"{len(result.already)} rows were not inserted: each was registered by then, conflicts with another row by a"
            " unique index or an exclusion constraint, or was kept out by a trigger"
        )
    if len(result.vanished):
        t.notes.append(f"{len(result.vanished)} rows were gone from the source before they were inserted")
    if len(result.taken_back):
        t.notes.append(f"{len(result.taken_back)} inserted rows were taken back: their source rows had gone")
    if result.duplicates:
        t.notes.append(f"{result.duplicates} keys stand in more than one registry row now; no unique index forbids it")


def _keys(t: TypeOutcome) -> KeySet:
    """What may be inserted: gaps of the classes that a new registry row closes."""
    keys = t.judged.classes.of(*(gap_class for gap_class in GapClass if gap_class.backfilled))
    return t.subject.key_type.empty() if keys is None else keys


def _job(subject: Subject, keys: KeySet) -> backfill.Job:
    return backfill.Job(
        name=subject.name,
        data_type=subject.data_type,
        key_type=subject.key_type,
        source=subject.source.table,
        registry=subject.registry.table,
        keys=keys,
        unique=subject.registry.why_not_unique is None,
    )
