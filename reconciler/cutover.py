"""`fencepost cutover`: fence, compare, backfill, compare again, verdict.

fence       every earlier writer has ended, the log is read past it
compare     one snapshot a side; no youth: what is missing now is a gap
backfill    planned, capped, under the lease; only where identity, snapshot and visibility were proved
compare     again, in new snapshots; the verdict is dated by it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from databases.ledger import Ledger
from reconciler import captain, copies, fence, history, lease, orphans, pipelines, proofs, replay, writers
from reconciler.announced import AnnouncedReader
from reconciler.coverage import Coverage
from reconciler.examine import WAIT, Run, begin, type_outcomes
from reconciler.examine import words as words_of
from reconciler.look import Look, look
from reconciler.outcome import Outcome, TypeOutcome
from reconciler.ports import CatchUp, Locate, Say, Topics
from reconciler.repair import Order, carry_out, finish_earlier, guarded
from reconciler.window import Since
from schemas.errors import FencepostError
from schemas.settings import Settings


def run(
    settings: Settings,
    ledger: Ledger,
    *,
    names: Sequence[str] = (),
    since: str | None = None,
    deletes: bool = False,
    dry_run: bool = False,
    plan: str | None = None,
    max_backfill: int | None = None,
    wait: timedelta | None = None,
    without_log: bool = False,
    topics: Topics | None = None,
    catch_up: CatchUp | None = None,
    locate: Locate | None = None,
    say: Say,
) -> Outcome:
    """Make the target whole, and say whether it is. Raises FencepostError where a side cannot be read, RefusedWrite
    where the plan is not the one approved or another holds the lease."""
    asked, order = Since.read(since), Order(dry_run=dry_run, plan=plan, max_backfill=max_backfill)
    words = [*words_of(names, since, deletes=deletes), *_allowed(plan, max_backfill, without_log=without_log)]
    mine = history.settings_hash(settings, words)
    if not dry_run and (followed := captain.follow(ledger, mine, say)) is not None:
        return followed
    with begin(
        settings,
        ledger,
        captain.KIND,
        names,
        asked=words,
        since=asked,
        deletes=deletes,
        wait=wait,
        without_log=without_log,
        topics=topics,
        catch_up=catch_up,
        say=say,
    ) as r:
        if dry_run:
            return _cut_over(r, asked, order, None, locate)
        held = lease.acquire(ledger, r.id)
        if isinstance(held, lease.Held):
            with held:
                return _cut_over(r, asked, order, held, locate)
        r.stand_down(f"{held.described} was quicker; its report is ours")
    followed = captain.follow(ledger, mine, say)
    if followed is None:
        raise FencepostError(f"the cutover at work, {held.described}, left no report", hint="run the cutover again")
    return followed


def _allowed(plan: str | None, max_backfill: int | None, *, without_log: bool) -> list[str]:
    """What else was asked: whoever allowed less, or asked for more proof, must not be answered with another's report."""
    asked = {"plan": plan, "max_backfill": max_backfill, "without_log": without_log or None}
    return [f"{name}={value}" for name, value in asked.items() if value is not None]


def _cut_over(r: Run, asked: Since, order: Order, held: lease.Held | None, locate: Locate | None) -> Outcome:
    """The recipe itself, under the lease; without one it is a dry run."""
    if held is not None:
        finish_earlier(r, held)
    _fence(r)
    readers, coverages = r.logbook.readers(), r.logbook.coverages()
    r.logbook.note(coverages)
    whole = r.shown.deletes
    first = look(r.scene, r.shown, readers, coverages, since=asked, say=r.say, whole=whole)
    outcomes = type_outcomes(r, first.sights, readers, {}, locate)
    r.notes.append(carry_out(r, outcomes, order, held, guarded=guarded(r, outcomes)))
    _again(r, outcomes, readers, coverages, asked)
    if r.shown.deletes:
        _deletes(r, outcomes, readers, locate)
    return r.finish(proofs.judge(r.shown), outcomes)


def _fence(r: Run) -> None:
    """Wait for earlier writers, then for the pipeline, then read the log past both."""
    r.say.phase("waiting for earlier writers to end")
    wait_s = (WAIT if r.wait is None else r.wait).total_seconds()
    oids = [s.source.oid for s in r.scene.subjects]
    r.shown.fence = fence.take(r.scene.fence_at, oids, wait_s=wait_s, say=r.say)
    if not replay.reached(r.scene, r.shown.fence.lsn, wait_s, r.say):
        r.shown.snapshot_faults.append(replay.behind(r.scene, r.shown.fence.lsn, "the fence's LSN"))
    if (fault := copies.follow(r.scene, r.shown.fence.lsn, wait_s, r.say)) is not None:
        r.shown.snapshot_faults.append(fault)
    if not r.shown.without_log:
        _pipeline(r, wait_s)
        r.logbook.follow()


def _pipeline(r: Run, wait_s: float) -> None:
    """Events trail the commit: wait for whoever announces them to pass the fence, as far as that can be told."""
    if (taken := r.shown.fence) is not None:
        r.say.phase("waiting for the pipeline to pass the fence")
        asked = pipelines.Asked(settings=r.settings, scene=r.scene, lsn=taken.lsn, wait_s=wait_s, say=r.say)
        pipelines.note(r.shown, pipelines.passed(asked))


def _again(
    r: Run,
    outcomes: Sequence[TypeOutcome],
    readers: Mapping[str, AnnouncedReader],
    coverages: Mapping[str, Coverage],
    asked: Since,
) -> None:
    """The second compare, over everything the first looked at."""
    r.say.phase("comparing again")
    # The window's start was fixed by the first look: a second `now` would let rows slip out at its lower edge.
    second: Look = look(r.scene, r.shown, readers, coverages, since=_fixed(asked, outcomes), say=r.say, whole=r.shown.deletes)
    for t in outcomes:
        sight = second.sights[t.subject.name]
        t.remaining = len(sight.candidates.missing) + len(sight.candidates.stale)
        if t.inserted is not None and (count := len(sight.unaccepted & t.inserted)):
            t.notes.append(
                f"{count} of the inserted rows are in a state that does not count: registry.accepted does not hold what"
                " registry.insert, a default or a trigger gave them"
            )
        told = r.shown.types[t.subject.name]
        told.remaining = t.remaining
        told.needles.pushed += sight.differences.needles.pushed
        told.needles.lost += sight.differences.needles.lost
    r.shown.reread_at = second.at
    r.shown.writes = _writes(r)


def _fixed(asked: Since, outcomes: Sequence[TypeOutcome]) -> Since:
    if asked.auto:  # it rests on the same sweep as the first, and has no edge in time
        return asked
    starts = [t.sight.plan.window.since for t in outcomes if t.sight.plan.window.since is not None]
    return Since(at=min(starts)) if starts else asked


def _writes(r: Run) -> str:
    """Who may still create rows; a promise the database may break is told as such."""
    return writers.standing(r.scene.fence_at, [s.source.oid for s in r.scene.subjects]).described


def _deletes(r: Run, outcomes: Sequence[TypeOutcome], readers: Mapping[str, AnnouncedReader], locate: Locate | None) -> None:
    found = orphans.standing(r.scene, r.shown, readers, r.say)
    for t in outcomes:
        keys = found[t.subject.name]
        asked = locate if r.logbook.readable else None
        t.orphans = orphans.judge(t.subject, keys, t.subject.key_type.empty(), readers[t.subject.name], asked)
