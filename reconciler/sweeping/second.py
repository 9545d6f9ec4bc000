"""The second sighting of a pass's candidates, and the third where something was inserted since.

Only candidates are looked at, in snapshots of their own: the source first and the registry after it, so that what
registers meanwhile is no gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from reconciler import stale
from reconciler.announced import AnnouncedReader
from reconciler.compare import Differences, look_for_newest, nothing
from reconciler.coverage import Coverage
from reconciler.examine import Run
from reconciler.judge import Candidates
from reconciler.look import Sight, add_stale, both, candidates_of, still_missing, subjects_in, unaccepted
from reconciler.outcome import TypeOutcome
from reconciler.proofs.shown import Needles
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from reconciler.states import count_states
from reconciler.sweeping.book import UNDATED, Total
from reconciler.window import Plan
from schemas.events import NO_TIME
from schemas.keys import KeySet
from schemas.verdict import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sighted(
    r: Run, totals: Mapping[str, Total], readers: Mapping[str, AnnouncedReader], coverages: Mapping[str, Coverage]
) -> dict[str, Sight]:
    """What is left of the candidates. A data type without a total was hidden from us."""
    r.say.phase("looking at the candidates again")
    out = {}
    with both(r.scene, r.shown, r.say) as (source, registry):
        for subject in subjects_in(r.scene, r.shown, source, registry):
            reader, coverage = readers[subject.name], coverages[subject.name]
            total = totals.get(subject.name)
            if total is None or subject.source.hidden or subject.registry.hidden:
                out[subject.name] = _unseen(subject, source, coverage)
            else:
                out[subject.name] = _second(r, subject, source, registry, total, reader, coverage)
        r.shown.looked_at = source.at
    return out


def _second(
    r: Run,
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    total: Total,
    reader: AnnouncedReader,
    coverage: Coverage,
) -> Sight:
    first = Sight(
        plan=_everything(subject, source),
        differences=_differences(subject, total),
        candidates=Candidates(missing=total.missing, unheard=subject.key_type.empty(), stale=total.stale),
        unaccepted=subject.key_type.empty(),
        coverage=coverage,
    )
    missing = still_missing(subject, source, registry, first, reader, r.say)
    first.differences.missing = missing
    late = stale.still(subject, source, registry, total.stale, r.settings.fence.skew)
    first.candidates = candidates_of(subject, source, first.differences, reader, coverage, first.plan)
    add_stale(first.candidates, subject, source, late)
    first.unaccepted = unaccepted(subject, registry, missing)
    first.states = count_states(subject, registry)
    look_for_newest(first.differences.needles, subject, source, reader)
    return first


def _differences(subject: Subject, total: Total) -> Differences:
    found = nothing(subject)
    found.rows, found.registered, found.announced = total.rows, total.registered, total.announced
    found.needles = Needles(pushed=total.needles)
    return found


def _everything(subject: Subject, source: Snapshot) -> Plan:
    blind = ["rows that came into scope later without being created"] if subject.data_type.source.scope else []
    blind.append("rows keyed in a range that the pass had left behind when they were inserted: `--since auto` looks at those")
    window = Window(strategy="full", since=None, until=source.at, evidence="full", cannot_see=blind)
    return Plan(strategy="full", since_us=None, window=window)


def _unseen(subject: Subject, source: Snapshot, coverage: Coverage) -> Sight:
    empty = subject.key_type.empty()
    return Sight(
        plan=_everything(subject, source),
        differences=nothing(subject),
        candidates=Candidates(missing=empty, unheard=empty, stale=empty),
        unaccepted=empty,
        coverage=coverage,
    )


def left(r: Run, outcomes: Sequence[TypeOutcome], readers: Mapping[str, AnnouncedReader]) -> dict[str, KeySet]:
    """Which of the gaps that were judged are still open, in snapshots after everything that was inserted."""
    r.say.phase("comparing again what was missing")
    out = {}
    judged = {t.subject.name: t for t in outcomes}
    with both(r.scene, r.shown, r.say) as (source, registry):
        for subject in subjects_in(r.scene, r.shown, source, registry):
            t = judged[subject.name]
            out[subject.name] = subject.key_type.empty()
            if t.judged.gaps and not (subject.source.hidden or subject.registry.hidden):
                late = stale.still(subject, source, registry, t.sight.candidates.stale, r.settings.fence.skew)
                missing = still_missing(subject, source, registry, t.sight, readers[subject.name], r.say)
                out[subject.name] = (missing | late) & _all(t)
    return out


def _all(t: TypeOutcome) -> KeySet:
    total = t.subject.key_type.empty()
    for keys in t.judged.classes.gaps.values():
        total = total | keys
    return total


def oldest(t: TypeOutcome, open_: KeySet) -> datetime | None:
    """Creation of the oldest row that is still missing, or not yet judged; None where none is. Rows that no clock can place
    are in every window, so they do not count; one that was not dated makes it UNDATED."""
    keys = open_ | t.judged.in_flight
    if not len(keys):
        return None
    if t.subject.source.table.created_at is None:
        return UNDATED
    times = [t.sight.candidates.dates.of(key) for key in keys]
    if any(at is None for at in times):
        return UNDATED
    placed = [at for at in times if at is not None and at != NO_TIME]
    try:
        return EPOCH + timedelta(microseconds=min(placed)) if placed else None
    except OverflowError:
        return UNDATED
