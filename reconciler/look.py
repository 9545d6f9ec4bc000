"""One look: a snapshot a side, every data type compared over it, the candidates dated and placed in the window.

A look yields what is missing or unheard now; whether that is a gap is `reconciler.judge`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler import copies, identity, replay, stale
from reconciler.announced import AnnouncedReader
from reconciler.compare import Differences, compare, nothing
from reconciler.coverage import Coverage
from reconciler.dates import date, dated_since
from reconciler.fence import Fence
from reconciler.judge import Candidates, Dates, in_window, silent
from reconciler.ports import Say
from reconciler.probe import Reader, count_keyless, present
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene, Subject, subject_of
from reconciler.snapshot import Limits, Snapshot, snapshot
from reconciler.states import count_states
from reconciler.unreadable import named_in_quarantine
from reconciler.window import Evidence, Plan, Since, microseconds, plan
from schemas.keys import KeySet
from schemas.verdict import Cause, utc

#: More candidates than this are not looked up one by one: the table is asked for its newer part instead.
LOOKED_UP_MOST = 200_000


@dataclass(slots=True)
class Sight:
    """What one look saw of one data type."""

    plan: Plan
    differences: Differences
    candidates: Candidates
    unaccepted: KeySet
    coverage: Coverage
    states: dict[str, int] = field(default_factory=dict)
    took_s: float | None = None  #: how long it took to compare the two tables


@dataclass(slots=True)
class Look:
    at: datetime  #: by the source's clock
    sights: dict[str, Sight]
    sees: tuple[str | None, str | None]  #: what source and registry showed, as `Snapshot.sees`


@contextmanager
def both(scene: Scene, shown: Shown | None, say: Say | None = None) -> Iterator[tuple[Snapshot, Snapshot]]:
    """A snapshot of the source, then one of the registry: what registers meanwhile is no gap. A copy's lies in between.
    With `say` a standby is waited for; without, whoever asks knows how far it has come."""
    if shown is not None and say is not None:
        replay.follow(scene, shown, say)
    s = scene.settings.source
    limits, kept = Limits.of(s), scene.kept
    with ExitStack() as stack:
        what = "the source" if scene.copy is None else "the copy's origin"
        source = stack.enter_context(snapshot(s.rows, what, scene.source_tables, limits, kept=kept))
        if scene.copy is not None:
            copy = stack.enter_context(snapshot(s.dsn, "the copy", scene.copy_tables, limits, kept=kept))
            source = replace(source, copy=copy)
        registry = stack.enter_context(
            snapshot(scene.settings.registry.dsn, "the registry", scene.registry_tables, limits, kept=kept)
        )
        if shown is not None:
            _tell(shown, source, registry)
            same_servers(scene, shown, source=source, registry=registry)
        yield source, registry


def subjects_in(scene: Scene, shown: Shown | None, source: Snapshot, registry: Snapshot) -> list[Subject]:
    """The subjects as these snapshots have them; what hides rows there is remembered."""
    out = []
    for known in scene.subjects:
        copy = None if source.copy is None else source.copy.first
        subject = subject_of(known.name, known.data_type, source.first, registry.first, copy)
        if shown is not None:
            shown.snapshot_faults += [fault for fault in _replaced(known, subject) if fault not in shown.snapshot_faults]
            told = shown.types[known.name]
            faults = [*subject.shown().hidden, *_keyless(subject, source)]
            told.hidden += [fault for fault in faults if fault not in told.hidden]
        out.append(subject)
    return out


def _replaced(known: Subject, subject: Subject) -> list[str]:
    """Tables that are others of their names by now: the fence waited for the writers of those that were there before."""
    before, now = [known.source, known.registry], [subject.source, subject.registry]
    if known.copy is not None and subject.copy is not None:
        before, now = [*before, known.copy.facts], [*now, subject.copy.facts]
    return [
        f"{b.table.qualified} was replaced by another table of its name during the run (oid {b.oid}, now {a.oid})"
        for b, a in zip(before, now, strict=True)
        if b.oid != a.oid
    ]


def _keyless(subject: Subject, source: Snapshot) -> list[str]:
    """A source row whose key is NULL can be in no key set: it would be passed over without a word."""
    if not subject.source.nullable or subject.source.hidden:
        return []
    count = count_keyless(Reader(source.first, subject.source.table, subject.scope))
    named = ", ".join(subject.source.nullable)
    return [f"{count} rows of {subject.source.table.qualified} have no key ({named} is NULL)"] if count else []


def _tell(shown: Shown, source: Snapshot, registry: Snapshot) -> None:
    for side in filter(None, (source, source.copy, registry)):
        shown.snapshots.append(
            f"{side.what} at {utc(side.at)}, LSN {side.lsn}, {len(side.connections)} connections, tables locked first"
        )


def same_servers(scene: Scene, shown: Shown, *, source: Snapshot, registry: Snapshot) -> None:
    """A snapshot has connections of its own: they must have reached the servers we met, past the fence."""
    for side, snap in (("source", source), ("copy", source.copy), ("registry", registry)):
        if snap is None:
            continue
        met = next(met.now for met in scene.met if met.now.side == side)
        fault = identity.contradiction(met, identity.identify(snap.first, side))
        if fault is None and side == "source" and shown.fence is not None:
            fault = _before_the_fence(snap, shown.fence)
        if fault is not None and fault not in shown.snapshot_faults:
            shown.snapshot_faults.append(fault)


def _before_the_fence(snap: Snapshot, fence: Fence) -> str | None:
    if snap.lsn and identity.lsn_number(snap.lsn) >= fence.lsn_number:
        return None
    return f"the source's snapshot at {snap.lsn or 'no LSN'} does not lie past the fence at {fence.lsn}"


def look(
    scene: Scene,
    shown: Shown,
    readers: Mapping[str, AnnouncedReader],
    coverages: Mapping[str, Coverage],
    *,
    since: Since,
    say: Say,
    whole: bool = False,
) -> Look:
    """Compare every subject once. Raises UnavailableError where a side cannot be read to the end."""
    with both(scene, shown, say) as (source, registry):
        sights = {}
        for subject in subjects_in(scene, shown, source, registry):
            say.phase(f"comparing {subject.name}")
            name = subject.name
            rests_on = shown.types[name].rests_on if since.auto else None
            asked = (readers[name], coverages[name], since, say, whole, rests_on)
            began = time.monotonic()
            sights[name] = _sight(scene, shown, subject, source, registry, *asked)
            sights[name].took_s = time.monotonic() - began
        shown.looked_at = shown.looked_at or source.at
        return Look(at=source.at, sights=sights, sees=(source.sees, registry.sees))


def _sight(
    scene: Scene,
    shown: Shown,
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    reader: AnnouncedReader,
    coverage: Coverage,
    since: Since,
    say: Say,
    whole: bool,
    rests_on: Evidence | None,
) -> Sight:
    chosen = plan(
        scene.source,
        subject.data_type,
        subject.source.table,
        since=since.start(source.at),
        until=source.at,
        indexed=subject.source.created_at_index is not None,
        always_dated=subject.source.always_dated,
        whole=whole or subject.copy is not None,  # a copy's own dates may be of yesterday: keys are compared, none left out
        rests_on=rests_on,
    )
    reader.since_us = chosen.since_us
    reader.verified = None if rests_on is None else rests_on.verified
    if subject.shown().hidden:
        # The proof `visible` fails: what the server lets us see is no answer, and it would refuse the reading anyway.
        empty = subject.key_type.empty()
        return Sight(
            plan=chosen,
            differences=nothing(subject),
            candidates=Candidates(missing=empty, unheard=empty, stale=empty),
            unaccepted=empty,
            coverage=coverage,
        )
    differences = compare(subject, source, registry, reader, chosen, say)
    copies.judge(scene, subject, shown.types[subject.name], differences, source.lsn, say)
    candidates = candidates_of(subject, source, differences, reader, coverage, chosen)
    skew = scene.settings.fence.skew
    late = stale.find(subject, source, registry, differences.spans, skew=skew, since_us=chosen.since_us)
    add_stale(candidates, subject, source, late)
    return Sight(
        plan=chosen,
        differences=differences,
        candidates=candidates,
        unaccepted=unaccepted(subject, registry, candidates.missing),
        coverage=coverage,
        states=count_states(subject, registry),
    )


def candidates_of(
    subject: Subject,
    source: Snapshot,
    differences: Differences,
    reader: AnnouncedReader,
    coverage: Coverage,
    chosen: Plan,
) -> Candidates:
    missing, unheard = differences.missing, differences.unheard
    doubtful = missing
    if chosen.since_us is None and len(missing) > LOOKED_UP_MOST:
        # Nobody asks when these were created but for the few that were never announced.
        doubtful = missing - reader.of(missing).credited
    dates_missing = date(subject, source, doubtful)
    missing = in_window(subject, chosen, missing, dates_missing)
    if coverage.start_us is None:
        unheard = subject.key_type.empty()
    elif len(unheard) > LOOKED_UP_MOST and subject.source.table.created_at:
        unheard = dated_since(subject, source, coverage.start_us, unheard, lambda span: reader.span(span).credited)
    dates = date(subject, source, (missing & doubtful) | unheard) if len(unheard) else dates_missing
    unheard = in_window(subject, chosen, unheard, dates)
    bounds = reader.bounds()
    speechless = silent(subject, coverage, (missing & doubtful) | unheard, dates, bounds[0] if bounds else None)
    named = {}
    if reader.ledger is not None and coverage.unreadable:
        named = named_in_quarantine(reader.ledger, subject.data_type, subject.key_type, (missing & doubtful) | unheard)
        speechless[Cause.QUARANTINED] = subject.key_type.of(named)
    for keys in speechless.values():
        unheard = unheard - keys
    return Candidates(
        missing=missing,
        unheard=unheard,
        stale=subject.key_type.empty(),
        dates=dates,
        silent=speechless,
        named=named,
        until_us=microseconds(source.at),
    )


def add_stale(candidates: Candidates, subject: Subject, source: Snapshot, keys: KeySet) -> None:
    """Among the candidates, with their dates: a gap's creation is told, whatever its class."""
    candidates.stale = keys
    if len(keys) <= LOOKED_UP_MOST:
        candidates.dates = candidates.dates.joined(date(subject, source, keys - subject.key_type.keys(candidates.dates.keys)))


def unaccepted(subject: Subject, registry: Snapshot, missing: KeySet) -> KeySet:
    """Those of the missing keys that do have a registry row, in a state that does not count."""
    if subject.accepted is None or not len(missing):
        return subject.key_type.empty()
    return present(Reader(registry.first, subject.registry.table), missing)


@dataclass(slots=True)
class Second:
    """What a second look at the candidates of one data type left of them."""

    missing: KeySet
    unaccepted: KeySet
    stale: KeySet


def again(scene: Scene, shown: Shown, looked: Look, readers: Mapping[str, AnnouncedReader], say: Say) -> dict[str, Second]:
    """Second sighting of the candidates alone, in new snapshots."""
    say.phase("looking at the candidates again")
    out = {}
    with both(scene, shown, say) as (source, registry):
        # No transaction ended on either side: the second snapshots hold what the first held, to the last row, and the
        # catalogs too.
        if looked.sees == (source.sees, registry.sees) and None not in looked.sees:
            return {name: _as_before(sight) for name, sight in looked.sights.items()}
        for subject in subjects_in(scene, shown, source, registry):
            sight = looked.sights[subject.name]
            missing = still_missing(subject, source, registry, sight, readers[subject.name], say)
            out[subject.name] = Second(
                missing=missing,
                unaccepted=unaccepted(subject, registry, missing),
                stale=stale.still(subject, source, registry, sight.candidates.stale, scene.settings.fence.skew),
            )
    return out


def _as_before(sight: Sight) -> Second:
    found = sight.candidates
    return Second(missing=found.missing, unaccepted=sight.unaccepted, stale=found.stale)


def still_missing(
    subject: Subject, source: Snapshot, registry: Snapshot, sight: Sight, reader: AnnouncedReader, say: Say
) -> KeySet:
    missing = sight.candidates.missing
    if not len(missing):
        return missing
    if len(missing) > LOOKED_UP_MOST and sight.plan.strategy != "created_at_index":
        # So many are found quicker by comparing everything once more than one by one.
        return compare(subject, source, registry, reader, sight.plan, say).missing & missing
    there = present(Reader(source.first, subject.source.table, subject.scope), missing)
    return there - present(Reader(registry.first, subject.registry.table, subject.accepted), there)


__all__ = ["Dates", "Look", "Sight", "again", "both", "look"]
