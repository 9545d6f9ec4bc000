"""Insert what a pass found missing, as a cutover does, and remove orphans where the settings say so; give way to a cutover."""

from __future__ import annotations

from collections.abc import Sequence

from databases.connect import connect, renamed
from reconciler import lease, proofs, removal
from reconciler.backfill.journal import Journal
from reconciler.examine import Run
from reconciler.lease import Rank
from reconciler.outcome import TypeOutcome
from reconciler.ports import some
from reconciler.probe import Reader, condition, present
from reconciler.proofs import Claim, withheld
from reconciler.repair import Order, carry_out, doors, finish_earlier, guarded, unsure_of_the_source
from schemas.errors import CatalogError, RefusedRows, RefusedWrite
from schemas.keys import KeySet


def insert(r: Run, outcomes: Sequence[TypeOutcome], max_backfill: int | None) -> str:
    """A sentence on what was done. Raises RefusedWrite where the registry may not be written at all."""
    held = lease.acquire(r.ledger, r.id, rank=Rank.BACKGROUND)
    if isinstance(held, lease.Taken):
        return f"nothing was inserted: registry rows are being written by {held.described}"
    with held:
        try:
            finish_earlier(r, held)
            _finish_removals(r, held)
            order = Order(dry_run=False, plan=None, max_backfill=max_backfill)
            done = carry_out(r, outcomes, order, held, guarded=guarded(r, outcomes))
            _remove(r, outcomes, held, max_backfill)
            return done
        except RefusedWrite as refused:
            if not held.lost:
                raise
            _journalled(r, outcomes)
            return f"gave way in the middle: {refused}; what was inserted until then stands, the next pass does the rest"


def _journalled(r: Run, outcomes: Sequence[TypeOutcome]) -> None:
    """How far we had come when another took the lease: only the journal knows."""
    with connect(r.ledger.dsn, "the ledger") as connection, renamed("read the backfill's journal"):
        entries = Journal(connection, r.ledger).of_run(r.id)
    for t in outcomes:
        mine = [entry for entry in entries if entry.data_type == t.subject.name]
        t.backfilled = sum(len(entry.inserted - entry.removed) for entry in mine)


def _finish_removals(r: Run, held: lease.Held) -> None:
    """Ask again about what a crashed sweep removed; under the same doubts as a backfill's leftovers."""
    if not removal.unfinished(r.ledger) or unsure_of_the_source(r):
        return
    count, back, left = removal.finish_unfinished(r.ledger, r.scene.subjects, **doors(r), lease=held)
    r.notes.append(
        f"finished {some(count, 'batch', 'batches')} of orphans that earlier runs removed, put back {some(back, 'row')} of them"
    )
    r.notes.extend(f"not finished: {words}" for words in left)


def _remove(r: Run, outcomes: Sequence[TypeOutcome], held: lease.Held, most: int | None) -> None:
    """Orphans of the types whose settings say so, where the claim `deletes` was held for that type."""
    jobs = [job for t in outcomes if (job := _job(r, t)) is not None]
    if not jobs:
        return
    registry = next(met.now for met in r.shown.met if met.now.side == "registry")
    plan = removal.plan(registry, jobs)
    inserted = sum(t.backfilled for t in outcomes)
    if most is not None and plan.total + inserted > most:
        r.notes.append(
            f"{some(plan.total, 'orphan')} would be removed, and --max-backfill allows {some(most, 'row')} in all: none was"
        )
        return
    r.say.phase(f"removing {some(plan.total, 'orphan')}")
    refused: dict[str, RefusedRows | CatalogError] = {}
    done = removal.remove(
        r.settings.backfill,
        r.ledger,
        r.id,
        jobs,
        **doors(r),
        lease=held,
        progress=r.say.advance,
        on_refused=lambda name, error: refused.update({name: error}),
    )
    if any(len(told.removed) for told in done.values()):
        r.notes.append(f"orphans were removed by plan {plan.hash}; `fencepost undo {r.id}` puts them back")
    for t in outcomes:
        if (told := done.get(t.subject.name)) is not None and t.orphans is not None:
            t.orphans.removed += len(told.removed)
            if len(told.removed):
                t.notes.append(f"{_orphans(len(told.removed))} {_words(t)} (registry.orphans)")
            if (why := refused.get(t.subject.name)) is not None:
                t.notes.append(f"{_orphans(len(told.left))} left: {why}" + (f"; try: {why.hint}" if why.hint else ""))
            elif len(told.left) or len(told.put_back):
                t.notes.append(
                    f"{_orphans(len(told.left))} left: the source row had come back, or the registry's was changed"
                    f" meanwhile or kept by a trigger; {len(told.put_back)} put back, for the source row came back right after"
                )


def _job(r: Run, t: TypeOutcome) -> removal.Job | None:
    """What of this type may be removed; what stands against it is noted."""
    policy = t.subject.data_type.registry.orphans
    if policy == "list" or t.orphans is None or not t.orphans.count:
        return None
    failed = withheld(r.shown, proofs.judge(r.shown), Claim.DELETES, t.subject.name)
    against = [f"{proof.name}: {proof.seen}" for proof in failed] + list(removal.forbidden(r.scene, t.subject))
    if len(t.orphans.in_flight):
        against.append("some orphans were not seen twice yet")
    if against:
        t.notes.append(f"{_orphans(t.orphans.count)} not removed: {'; '.join(against)}")
        return None
    keys = t.subject.key_type.empty()
    for found in t.orphans.by_class.values():
        keys = keys | found
    try:
        already = _done_before(r, t, keys)
    except CatalogError as error:
        t.notes.append(f"{_orphans(t.orphans.count)} not removed: {error}; `fencepost check` tells more")
        return None
    if len(already):
        t.orphans.removed = len(already)
        t.notes.append(f"{some(len(already), 'orphan')} had that state before (registry.orphans): left as set")
    return removal.Job(subject=t.subject, keys=keys - already) if len(already) < len(keys) else None


def _done_before(r: Run, t: TypeOutcome, keys: KeySet) -> KeySet:
    """Those in the state that they would get: set again, an undo of the run that set them would find them touched since."""
    policy = t.subject.data_type.registry.orphans
    if isinstance(policy, str):
        return t.subject.key_type.empty()
    ((name, value),) = policy.items()
    column = t.subject.registry.relation.column("the registry", name)
    where = condition((), {column.name: (value,)})
    registry = r.scene.registry
    with renamed(f"read the states of the orphans of {t.subject.registry.table.qualified}"), registry.transaction():
        registry.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return present(Reader(registry, t.subject.registry.table, where), keys)


def _orphans(count: int) -> str:
    return f"{some(count, 'orphan')} {'was' if count == 1 else 'were'}"


def _words(t: TypeOutcome) -> str:
    policy = t.subject.data_type.registry.orphans
    if isinstance(policy, str):
        return "deleted"
    ((column, value),) = policy.items()
    return f"set to {column} = {value}"
