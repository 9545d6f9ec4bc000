"""One look at one data type: what is new, what waited, what can be judged now. Reads only; `book` keeps it.

What makes it exact:

- A row is new where no look has seen its key. A look reads from a mark up that no late commit and no prepared transaction
  can fall below, or the whole key set where there is no such mark (`reach`). A key that comes in below the mark all the
  same is seen by the next whole look: late, and once.
- What was there at the first look was there before the audit, and is in no rate; `gaps` and `sweep` judge it.
- A key enters rows and drops once: when it is judged first. One in registry and log is judged at first sight, for nothing
  can make it a drop. One that is missing from either waits.
- It is judged missing once it was missing in two snapshots `settle` apart, by the source's clock, and, where the log does not
  announce it, once the log has told of something later than the first sighting. A log that is silent, or that catches
  up on what it had not told, leaves it waiting: that is blindness, and no drop.
- A row that is gone before it could be judged is in no count.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import probe
from reconciler.announced import AnnouncedReader, Heard, read_coverage
from reconciler.auditing import book, judging, orphaned, tell
from reconciler.auditing import reach as reaching
from reconciler.auditing.book import UNJUDGED, Looked, State, Waiting
from reconciler.auditing.judging import Due
from reconciler.auditing.orphaned import Orphaned
from reconciler.auditing.reach import Marks, Reach
from reconciler.auditing.seen import Seen
from reconciler.coverage import Coverage
from reconciler.look import both
from reconciler.ports import Locate
from reconciler.probe import Reader, Side, Span
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene, Subject, source_faults, subject_of
from reconciler.shelf import Shelf
from reconciler.snapshot import Snapshot
from reconciler.window import microseconds
from schemas import ledger as log_tables
from schemas.errors import UnavailableError
from schemas.keys import Key, KeySet
from schemas.log_state import LogState
from schemas.metrics import LATE, Blind
from schemas.verdict import Cause


class Follow(Protocol):
    """Bring the ledger up to the log's ends of now."""

    def __call__(self) -> LogState | None:
        """None where the log cannot be asked."""
        ...


@dataclass(slots=True)
class Eyes:
    """What one look asks of the world outside this room, and its limits."""

    scene: Scene
    ledger: Ledger
    log: LogState | None = None
    locate: Locate | None = None
    marks: Marks = field(default_factory=Marks)  #: of the look before; those of this one when it has ended

    @property
    def skew(self) -> timedelta:
        return self.scene.settings.fence.skew


@dataclass(slots=True)
class Found:
    """What both snapshots showed of the keys asked about."""

    there: KeySet
    registered: KeySet
    new: KeySet
    highest: Key | None = None  #: of the source's rows that were read
    surplus: KeySet | None = None  #: of a whole look: in the registry, not in the source


def look(eyes: Eyes, state: State | None, seen: Seen | None, follow: Follow) -> Looked:
    """Look once. Raises UnavailableError where source or registry cannot be read to the end."""
    scene, (subject,) = eyes.scene, eyes.scene.subjects
    shown = Shown(
        kind="audit",
        types={subject.name: subject.shown()},
        deletes=False,
        without_log=False,
        met=scene.met,
        pipeline=scene.settings.fence.pipeline,
        snapshot_faults=source_faults(scene, "audit"),
    )
    _same_servers(shown)
    asked = 0 if state is None else len(_asked(subject, state))
    far = reaching.reach(scene, subject, state, eyes.marks, asked)
    with both(scene, shown) as (source, registry):
        _same_servers(shown)
        subject = subject_of(subject.name, subject.data_type, source.first, registry.first)
        if hidden := [*subject.source.hidden, *subject.registry.hidden]:
            raise UnavailableError(f"rows of {subject.name} are hidden from us: {'; '.join(hidden)}")
        bound = f"{scene.met[0].now.system}/{scene.met[0].now.database_oid}/{subject.source.oid}"
        if state is not None and state.bound != bound:
            raise UnavailableError(
                f"{subject.data_type.source.table} is another table than the audit of {subject.name} has looked at",
                hint="run `fencepost gaps`, then delete the data type's row from the ledger's table audit to begin anew",
            )
        if state is None or seen is None:
            found, looked = _first(eyes, subject, source, registry, bound)
        else:
            found = _read(eyes, subject, source, registry, state, seen, far)
            # After the snapshots: what was announced of the rows in them has more time to arrive.
            eyes.log = follow()
            looked = _judge(eyes, subject, source, registry, state, seen, found, far)
        highest = found.highest if found.highest is not None else eyes.marks.high
        eyes.marks = reaching.remembered(far, eyes.marks, looked.state.look, highest, source)
        return looked


def _same_servers(shown: Shown) -> None:
    faults = [*shown.snapshot_faults, *(met.contradiction for met in shown.met if met.contradiction)]
    if faults:
        raise UnavailableError("; ".join(str(fault) for fault in faults), hint="fencepost check tells more")


def _first(eyes: Eyes, subject: Subject, source: Snapshot, registry: Snapshot, bound: str) -> tuple[Found, Looked]:
    """Everything that is there now was there before the audit."""
    before = Waiting(
        look=0, class_=UNJUDGED, since=source.at, seen_at=source.at, incarnation=0, heard=0, keys=subject.key_type.empty()
    )
    state = State(
        look=0,
        bound=bound,
        looked_at=source.at,
        judged_until=source.at,
        low=None,
        whole_at=source.at,
        heard=0,
        waiting=(before,),
    )
    found = _compare(eyes, subject, source, registry, state, None, None)
    _, heard = book.last_segment(eyes.ledger, subject.name)
    swept, told = orphaned.swept(eyes.ledger, subject.name, subject.key_type, None)
    waiting = orphaned.before(subject, found.surplus, told, replace(before, look=1))
    return found, Looked(state=replace(state, look=1, heard=heard, swept=swept, waiting=waiting), seen=found.new)


def _read(eyes: Eyes, subject: Subject, source: Snapshot, registry: Snapshot, state: State, seen: Seen, far: Reach) -> Found:
    """What this look must read, and the keys that wait wherever they lie."""
    asked = _asked(subject, state)
    if far.since_us is not None:
        dated = probe.keys_since(Reader(source.first, subject.source.table, subject.scope), far.since_us)
        new = seen.without(dated)
        found = Found(there=new, registered=subject.key_type.empty(), new=new)
        elsewhere = asked - new
    else:
        found = _compare(eyes, subject, source, registry, state, seen, far.low)
        elsewhere = subject.key_type.empty() if far.low is None else asked.cut(None, far.low)
    if len(elsewhere):
        found.there = found.there | probe.present(Reader(source.first, subject.source.table, subject.scope), elsewhere)
    rest = found.there if far.since_us is not None else found.there & elsewhere
    if len(rest):
        accepted = Reader(registry.first, subject.registry.table, subject.accepted)
        found.registered = found.registered | probe.present(accepted, rest)
    return found


def _asked(subject: Subject, state: State) -> KeySet:
    """Rows that wait for something. Orphans are asked for apart."""
    asked = subject.key_type.empty()
    for waiting in orphaned.rows_alone(state).waiting:
        asked = asked | waiting.keys
    return asked


def _compare(
    eyes: Eyes, subject: Subject, source: Snapshot, registry: Snapshot, state: State, seen: Seen | None, low: Key | None
) -> Found:
    """Both tables from `low` up, span by span; kept is only what is new or was asked about."""
    empty = subject.key_type.empty()
    asked = _asked(subject, state)
    recent = AnnouncedReader(
        Shelf(eyes.ledger, subject.name, subject.key_type, log_tables.segment.c.last_number > state.heard),
        subject.key_type,
        ordered=False,
    )
    known: dict[Span, KeySet] = {}

    def guess(span: Span) -> KeySet:
        known[span] = empty if seen is None else seen.span(span)
        return known[span] | recent.span(span).credited

    found = Found(there=empty, registered=empty, new=empty)
    parts = probe.compare(
        Side(table=subject.source.table, connections=source.connections, where=subject.scope),
        Side(table=subject.registry.table, connections=registry.connections, where=subject.accepted),
        subject.key_type,
        guess,
        low=low,
    )
    with closing(parts):  # type: ignore[type-var]
        for part in parts:
            source.may_be_held()
            new = part.source - known.pop(part.span)
            wanted = new | (part.span.select(asked) & part.source)
            found.new = found.new | new
            found.there = found.there | wanted
            found.registered = found.registered | (wanted & part.registry)
            # Under a scope every row outside of it would be one: those are a sweep's to find.
            if low is None and not subject.scope and len(over := part.registry - part.source):
                found.surplus = over if found.surplus is None else found.surplus | over
            if len(part.source) and (found.highest is None or part.source.max() > found.highest):  # type: ignore[operator]
                found.highest = part.source.max()
    return found


def _judge(
    eyes: Eyes, subject: Subject, source: Snapshot, registry: Snapshot, state: State, seen: Seen, found: Found, far: Reach
) -> Looked:
    name, now = subject.name, source.at
    reader, coverage = _reader(eyes, subject, found.there), _coverage(eyes, subject)
    heard = reader.of(found.there)
    incarnation, number = book.last_segment(eyes.ledger, name)
    fresh = Waiting(
        look=state.look + 1,
        class_=UNJUDGED,
        since=state.looked_at,
        seen_at=now,
        incarnation=incarnation,
        heard=number,
        keys=found.new,
    )
    fine, due, left, blind = _sorted_out(eyes, subject, [*state.unjudged, fresh], now, found, heard)
    locate = eyes.locate if eyes.log else None
    judged = judging.classes(
        subject,
        source,
        registry,
        due,
        found.registered,
        reader,
        coverage,
        ledger=eyes.ledger,
        locate=locate,
        skew=eyes.skew,
    )
    findings = judging.by_class(judged)
    if early := judging.too_early(due, findings, lambda one: _past(eyes, subject, one)):
        due, findings = judging.without(due, findings, early)
        left, blind = judging.merged([*left, *early]), blind | {Blind.LOG}

    def announced(keys: KeySet) -> KeySet:
        return judging.own(subject, source, keys & heard.credited, reader, locate=locate, skew=eyes.skew)

    old, late = judging.followed_up(orphaned.rows_alone(state), found.there, found.registered, announced, now)
    born = judging.born(state.look + 1, due, findings)
    totals, trials, failed = judging.count(subject, seen, found.new, fine, due, judged, findings)
    if late:
        findings["late", str(Cause.UNKNOWN)] = late[0]
        totals[LATE.name, name, ""] += len(late[0])
    swept, told = orphaned.swept(eyes.ledger, name, subject.key_type, state.swept)
    astray = _orphans(eyes, subject, source, registry, state, fresh, found, told, whole=far.whole)
    astray.count(totals, name)
    findings |= astray.found
    creations = book.creations_since(eyes.ledger, name)
    waiting = (*left, *old, *born, *astray.waiting)
    until = min([w.since for w in left if len(w.keys)], default=now)
    return Looked(
        state=State(
            look=state.look + 1,
            bound=state.bound,
            looked_at=now,
            judged_until=until if state.judged_until is None else max(until, state.judged_until),
            low=reaching.after(subject, far, state, eyes.marks, source, found.new),
            whole_at=now if far.whole else state.whole_at,
            heard=number if incarnation else 0,
            swept=swept,
            waiting=waiting,
        ),
        seen=found.new,
        trials=trials,
        failed=failed,
        creations=creations,
        totals=totals,
        findings=findings,
        told=tell.findings(subject, findings, judged, now, late[1] if late else None) if findings else None,
        blind=",".join(sorted(blind)) or None,
    )


def _orphans(
    eyes: Eyes,
    subject: Subject,
    source: Snapshot,
    registry: Snapshot,
    state: State,
    fresh: Waiting,
    found: Found,
    told: orphaned.Swept,
    *,
    whole: bool,
) -> Orphaned:
    """Registry rows without a source row: what this look and sweeps have seen, and what they saw before."""
    return orphaned.judge(
        subject,
        source,
        registry,
        state,
        fresh.of(subject.key_type.empty() if found.surplus is None else found.surplus),
        told,
        whole=whole,
        settle=subject.data_type.settle_or(eyes.scene.settings.fence.settle),
        past=lambda one: _past(eyes, subject, one),
        reader=lambda keys: _reader(eyes, subject, keys),
        locate=eyes.locate if eyes.log else None,
    )


def _reader(eyes: Eyes, subject: Subject, keys: KeySet) -> AnnouncedReader:
    """What the log announced of these keys: of the ledger only chunks that may hold some are read."""
    k = log_tables.segment_keys
    near: list[sa.ColumnElement[bool]] = [sa.false()]
    if len(keys):
        bound = subject.key_type.bound
        near = [k.c.low <= bound(keys.max()), k.c.high >= bound(keys.min())]
    one = eyes.log is not None and len(eyes.log.of(subject.topics)) == 1
    return AnnouncedReader(Shelf(eyes.ledger, subject.name, subject.key_type, *near), subject.key_type, ordered=one)


def _coverage(eyes: Eyes, subject: Subject) -> Coverage:
    return read_coverage(eyes.ledger if eyes.log else None, subject.name, eyes.log, subject.topics)


def _sorted_out(
    eyes: Eyes, subject: Subject, waiting: list[Waiting], now: datetime, found: Found, heard: Heard
) -> tuple[KeySet, Due, list[Waiting], set[Blind]]:
    """Of what is unjudged: what is fine, what is due, what goes on waiting, and what kept us from judging."""
    settle = subject.data_type.settle_or(eyes.scene.settings.fence.settle)
    fine = subject.key_type.empty()
    due: Due = []
    left: list[Waiting] = []
    blind = set() if _drained(eyes, subject) else {Blind.LOG}
    for one in waiting:
        here = one.keys & found.there
        good = here & found.registered & heard.credited
        fine = fine | good
        rest = here - good
        if not len(rest):
            continue
        ready = subject.key_type.empty()
        if one.look and one.seen_at < now and one.seen_at + settle <= now:
            ready = rest & heard.credited  # announced and not registered: the log has nothing to add
            silent_ones = rest - heard.credited
            if len(silent_ones):
                if _past(eyes, subject, one):
                    ready = ready | silent_ones
                else:
                    blind.add(Blind.LOG)
        if len(ready):
            due.append((one, ready))
        kept = rest - ready if len(ready) else rest
        if len(kept):
            left.append(one if len(kept) == len(one.keys) else one.of(kept))
    return fine, due, left, blind


def _drained(eyes: Eyes, subject: Subject) -> bool:
    return eyes.log is not None and all(p.drained for p in eyes.log.of(subject.topics))


def _past(eyes: Eyes, subject: Subject, one: Waiting) -> bool:
    """Whether the log has passed a first sighting. Publishers' clocks may be ahead of the source's by `skew`."""
    later = microseconds(one.seen_at.astimezone(UTC)) + int(eyes.skew / timedelta(microseconds=1))
    return _drained(eyes, subject) and book.heard_later(eyes.ledger, subject.name, one, later)
