"""Compare one data type over two snapshots, in bounded memory; only what differs is kept.

The sets themselves come from `reconciler.probe` span by span; the windowed strategies cut what is read.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from reconciler import probe
from reconciler.announced import AnnouncedReader, Heard
from reconciler.ports import Say
from reconciler.probe import Reader, Side
from reconciler.probe.reader import Plan as Plans
from reconciler.probe.tables import not_null
from reconciler.proofs.shown import Needles
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from reconciler.window import Plan, microseconds
from schemas.keys import Key, KeySet

#: So many of the newest announced creations are looked for in the source.
NEWEST = 1000
#: So many of them are dated, where a window is read by an index on time.
DATED = 50
#: Where of so many settled ones not one is there while older ones are, the source is no longer what announced them.
LATEST = 20


@dataclass(slots=True)
class Differences:
    """One data type's compare: counts of S, S∩E and S∩R, and the keys that differ."""

    rows: int
    announced: int
    registered: int
    recent: int  #: source rows announced by segments that reach into the window
    announced_only: int
    missing: KeySet  #: S − R
    unheard: KeySet  #: (S ∩ R) − E
    lacking: KeySet  #: source rows that a copy of it does not hold
    surplus: int = 0  #: rows of the copy alone
    needles: Needles = field(default_factory=Needles)
    spans: list[probe.Range] = field(default_factory=list)  #: the ranges that were compared, where it went by range


class _Heard:
    """What was announced in each span, kept from the guess until the span is judged."""

    def __init__(self, reader: AnnouncedReader) -> None:
        self.reader = reader
        self.spans: dict[Key | None, tuple[probe.Span, Heard]] = {}

    def __call__(self, span: probe.Span) -> KeySet:
        heard = self.reader.span(span)
        self.spans[_begin(span)] = span, heard  # in the place of a longer span that begins there, which will not come
        guess = heard.credited | heard.words.unsure
        return guess if self.reader.verified is None else guess | self.reader.verified.span(span)

    def pop(self, span: probe.Span) -> Heard:
        known, heard = self.spans.pop(_begin(span))
        assert known == span
        return heard


def _begin(span: probe.Span) -> Key | None:
    return span.number if isinstance(span, probe.Bucket) else span.low


def compare(
    subject: Subject, source: Snapshot, registry: Snapshot, reader: AnnouncedReader, plan: Plan, say: Say
) -> Differences:
    """The differences within the plan's reach. Raises UnavailableError where a table cannot be read to its end."""
    if plan.strategy == "created_at_index":
        found = _indexed(subject, source, registry, reader, plan)
    else:
        low: Key | None = None
        if plan.strategy == "key_bisect":
            assert plan.since_us is not None
            low = probe.key_bisect(Reader(source.first, subject.source.table), plan.since_us)
        if plan.strategy == "key_bisect" and low is None:  # no row is dated in the window, says the operator's `monotonic`
            found = nothing(subject)
            _direct_needle(found, subject, source, window=True)
        else:
            found = _by_spans(subject, source, registry, reader, low, say)
    look_for_newest(found.needles, subject, source, reader)
    return found


def look_for_newest(needles: Needles, subject: Subject, source: Snapshot, reader: AnnouncedReader) -> None:
    """Do the log and the table speak of the same rows?"""
    newest = reader.newest(NEWEST)
    latest = reader.latest(LATEST, microseconds(source.at) - reader.settle_us)
    needles.newest = len(newest)
    needles.latest = LATEST if len(latest) == LATEST else 0
    if len(newest):
        present = probe.present(Reader(source.first, subject.source.table), newest | latest)
        needles.newest_found = len(present & newest)
        needles.latest_found = len(present & latest)


def _by_spans(
    subject: Subject, source: Snapshot, registry: Snapshot, reader: AnnouncedReader, low: Key | None, say: Say
) -> Differences:
    total = nothing(subject)
    heard_of = _Heard(reader)
    sides = [
        Side(table=subject.registry.table, connections=registry.connections, where=subject.accepted),
        *_copy(subject, source),
        Side(table=subject.source.table, connections=source.connections, where=subject.scope),
    ]
    witness = probe.Witness(sides, subject.key_type)
    with closing(probe.learn(sides, subject.key_type, heard_of, low=low)) as parts:  # type: ignore[type-var]
        for part in parts:
            witness.note(part)
            heard = heard_of.pop(part.span)
            ours, *copies, theirs = part.sets
            _add(total, theirs, ours, heard)
            for copied in copies:
                _hold_against(total, theirs, copied)
            source.may_be_held()
            total.needles.pushed += part.needles
            if isinstance(part.span, probe.Range):
                total.spans.append(part.span)
            say.advance(total.rows, None)
    there, lost = witness.lost()
    total.needles.pushed += there
    total.needles.lost += lost
    _direct_needle(total, subject, source, window=low is not None)
    return total


def _add(total: Differences, s: KeySet, r: KeySet, heard: Heard) -> None:
    """Few keys differ, so what is counted are the differences: each is one pass over two sets, the rest is nearly free."""
    credited = heard.credited
    unregistered, unannounced = s - r, s - credited
    announced = len(s) - len(unannounced)
    total.rows += len(s)
    total.registered += len(s) - len(unregistered)
    total.announced += announced
    total.recent += announced if heard.recent is credited else len((s - unannounced) & heard.recent)
    if announced != len(credited):
        total.announced_only += len(credited - s - r)
    if len(unregistered):
        total.missing = total.missing | unregistered
    unheard = (unannounced & r) - heard.words.unsure
    if len(unheard):
        total.unheard = total.unheard | unheard


def _copy(subject: Subject, source: Snapshot) -> list[Side]:
    """The source's copy, where the settings name one: learned before its origin, as the best guess of it."""
    if subject.copy is None or source.copy is None:
        return []
    return [Side(table=subject.copy.facts.table, connections=source.copy.connections, where=subject.copy.scope)]


def _hold_against(total: Differences, origin: KeySet, copied: KeySet) -> None:
    if copied is origin:
        return
    if len(lacking := origin - copied):
        total.lacking = total.lacking | lacking
    total.surplus += len(copied - origin)


def nothing(subject: Subject) -> Differences:
    """No differences seen yet."""
    empty = subject.key_type.empty()
    return Differences(
        rows=0, announced=0, registered=0, recent=0, announced_only=0, missing=empty, unheard=empty, lacking=empty
    )


def _direct_needle(total: Differences, subject: Subject, source: Snapshot, *, window: bool) -> None:
    """Where the spans are read whole there is no guess to leave a needle out of: ask for one row another way.

    A window without rows is fine where the table has some outside of it.
    """
    if total.needles.pushed and total.rows:
        return
    reader = Reader(source.first, subject.source.table, subject.scope)
    query = reader.sql(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {table} WHERE {not_null}{where} LIMIT 1) AS x",
        not_null=not_null(subject.source.table),
    )
    there = reader.row(query, plan=Plans.FREE)[0] == 1
    if there and window and not total.rows:
        total.needles.outside += 1
    elif there or total.rows:
        total.needles.pushed += 1
        if not (there and total.rows):
            total.needles.lost.append("a row read by another plan")


def _indexed(subject: Subject, source: Snapshot, registry: Snapshot, reader: AnnouncedReader, plan: Plan) -> Differences:
    """The window is a small part of the table: read it by its index on time, and look its keys up in the registry."""
    assert plan.since_us is not None
    total = nothing(subject)
    s = probe.keys_since(Reader(source.first, subject.source.table, subject.scope), plan.since_us)
    if len(s):
        r = probe.present(Reader(registry.first, subject.registry.table, subject.accepted), s)
        _add(total, s, r, reader.of(s))
    _dated_needles(total, subject, source, reader, plan.since_us, s)
    _direct_needle(total, subject, source, window=True)
    return total


def _dated_needles(
    total: Differences, subject: Subject, source: Snapshot, reader: AnnouncedReader, since_us: int, s: KeySet
) -> None:
    """Rows found by their keys, and dated in the window, must be among those that came by their dates."""
    theirs = Reader(source.first, subject.source.table, subject.scope)
    known = reader.newest(DATED)
    if subject.source.table.by_range and (ends := probe.extremes(theirs, None, None)) is not None:
        known = known | subject.key_type.of(ends)
    for column, times in probe.dates(theirs, known):
        inside = subject.key_type.keys(column[(times >= since_us) | (times <= probe.MINUS_INFINITY)])
        total.needles.pushed += len(inside)
        total.needles.lost += [subject.key_type.text(key) for key in inside - s]


def surplus(subject: Subject, source: Snapshot, registry: Snapshot, reader: AnnouncedReader, say: Say) -> KeySet:
    """R − S over the whole key range, whatever scope and state. Raises UnavailableError."""
    out = subject.key_type.empty()
    heard_of = _Heard(reader)
    sides = [
        Side(table=subject.registry.table, connections=registry.connections),
        Side(table=subject.source.table, connections=source.connections),
    ]
    witness, done = probe.Witness(sides, subject.key_type), 0
    with closing(probe.learn(sides, subject.key_type, heard_of)) as parts:  # type: ignore[type-var]
        for part in parts:
            witness.note(part)
            heard_of.pop(part.span)
            source.may_be_held()
            ours, theirs = part.sets
            done += len(ours)
            out = out | (ours - theirs)
            say.advance(done, None)
    witness.insist()
    return out
