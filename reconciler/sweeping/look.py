"""Look at one range under one short snapshot a side: the registry first, the source after it.

In that order a row created and registered in between is in the source and no orphan; it may look missing, and so is seen
a second time before it is judged, as every first sighting. The reverse direction asks without scope and state, as
`reconciler.orphans` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler import probe, stale
from reconciler.announced import AnnouncedReader
from reconciler.look import same_servers
from reconciler.probe import Bucket, Range, Reader, Side, Slice, Span
from reconciler.probe.blobs import between
from reconciler.probe.reader import Plan
from reconciler.probe.tables import not_null
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene, Subject, subject_of
from reconciler.snapshot import Limits, Snapshot, snapshot
from reconciler.sweeping.cut import Size, end_of
from reconciler.sweeping.verified import Verified
from schemas.errors import UnavailableError
from schemas.key_sets import joined
from schemas.keys import Key, KeySet
from schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What was seen of one range, or of one bucket."""

    low: Key | None
    high: Key | None
    bucket: tuple[int, int] | None  #: its number, of how many
    at: datetime  #: by the source's clock
    lsn: str
    rows: int
    registered: int
    announced: int
    needles: int
    size: int  #: rows of the larger table
    verified: KeySet
    missing: KeySet
    surplus: KeySet
    stale: KeySet


class Hidden(Exception):
    """Rows of the type are hidden from us: it cannot be swept."""


@dataclass(slots=True)
class Eye:
    """Looks at the ranges of one data type."""

    scene: Scene
    shown: Shown
    subject: Subject
    reader: AnnouncedReader
    before: Verified  #: what the last pass verified: the best guess there is
    deletes: bool
    _credited: dict[Span, KeySet] = field(default_factory=dict)

    def look(self, at: Key | None, size: Size) -> Iterator[Part]:
        """The range from `at` on, or all buckets. Raises Hidden, UnavailableError."""
        with _pair(self.scene, self.shown, self.subject) as (source, registry):
            subject = self._as_it_is(source, registry)
            plain = [Reader(registry.first, subject.registry.table), Reader(source.first, subject.source.table)]
            if probe.buckets(plain) is not None:
                yield from self._buckets(subject, source, registry)
                return
            high = end_of(plain, subject.key_type, at, size)
            part = self._range(subject, source, registry, at, high)
        yield part

    def _as_it_is(self, source: Snapshot, registry: Snapshot) -> Subject:
        """Asked again inside every snapshot: between two of them a table may have been swapped for another."""
        known = self.subject
        subject = subject_of(known.name, known.data_type, source.first, registry.first)
        if faults := [*subject.source.hidden, *subject.registry.hidden]:
            told = self.shown.types[known.name]
            told.hidden += [fault for fault in faults if fault not in told.hidden]
            raise Hidden
        if (subject.source.oid, subject.registry.oid) != (known.source.oid, known.registry.oid):
            raise UnavailableError(
                f"a table of {known.name} was replaced by another of its name in the middle of the pass",
                hint="run the sweep again: it begins a new pass over the table that is there now",
            )
        return subject

    def _range(self, subject: Subject, source: Snapshot, registry: Snapshot, low: Key | None, high: Key | None) -> Part:
        found = list[_Seen]()
        spans = list[Range]()
        for part in self._slices(subject, source, registry, low, high):
            assert isinstance(part.span, Range)
            spans.append(part.span)
            found.append(self._seen(part))
        late = self._stale(subject, source, registry, spans, joined([seen.verified for seen in found]))
        direct = _direct_needle(subject, source, sum(s.rows for s in found), sum(s.needles for s in found), low, high)
        return _part(found, source, late, direct, low, high, None)

    def _buckets(self, subject: Subject, source: Snapshot, registry: Snapshot) -> Iterator[Part]:
        rows = needles = 0
        for part in self._slices(subject, source, registry, None, None):
            assert isinstance(part.span, Bucket)
            seen = self._seen(part)
            rows, needles = rows + seen.rows, needles + seen.needles
            last = part.span.number + 1 == part.span.of
            direct = _direct_needle(subject, source, rows, needles, None, None) if last else 0
            late = self._stale(subject, source, registry, (), seen.verified)
            yield _part([seen], source, late, direct, None, None, (part.span.number, part.span.of))

    def _slices(
        self, subject: Subject, source: Snapshot, registry: Snapshot, low: Key | None, high: Key | None
    ) -> Iterator[Slice]:
        """The last one only once the witness has spoken: with it the range counts as seen."""
        sides = _sides(subject, source, registry, deletes=self.deletes)
        witness, last = probe.Witness(sides, subject.key_type), None
        with closing(probe.learn(sides, subject.key_type, self._guess, low=low, high=high)) as parts:  # type: ignore[type-var]
            for part in parts:
                witness.note(part)
                if last is not None:
                    yield last
                last = part
                source.may_be_held()
        if last is not None:
            yield replace(last, needles=last.needles + witness.insist())

    def _guess(self, span: Span) -> KeySet:
        heard = self.reader.span(span)
        self._credited[span] = heard.credited
        return self.before.span(span) | heard.credited | heard.words.unsure

    def _seen(self, part: Slice) -> _Seen:
        registered, rows, accepted, scoped = _sets(self.subject, part.sets, deletes=self.deletes)
        empty = self.subject.key_type.empty()
        missing = scoped - accepted
        return _Seen(
            rows=len(scoped),
            size=max(len(rows), len(registered)),
            announced=len(scoped & self._credited.pop(part.span)),
            needles=part.needles,
            verified=scoped - missing if len(missing) else scoped,
            missing=missing,
            surplus=registered - rows if self.deletes else empty,
        )

    def _stale(
        self, subject: Subject, source: Snapshot, registry: Snapshot, spans: Sequence[Range], verified: KeySet
    ) -> KeySet:
        if subject.registry.table.created_at is None or subject.source.table.created_at is None:
            return subject.key_type.empty()
        skew = self.scene.settings.fence.skew
        if subject.key_type.kind == "int" and spans:
            return stale.find(subject, source, registry, spans, skew=skew, since_us=None)
        return stale.still(subject, source, registry, verified, skew)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one span of a range showed."""

    rows: int
    size: int
    announced: int
    needles: int
    verified: KeySet
    missing: KeySet
    surplus: KeySet


def _direct_needle(subject: Subject, source: Snapshot, rows: int, needles: int, low: Key | None, high: Key | None) -> int:
    """Where spans were read whole there was no guess to leave a needle out of: ask for one row another way.

    Raises UnavailableError where the two ways contradict each other.
    """
    if needles and rows:
        return 0
    reader = Reader(source.first, subject.source.table, subject.scope)
    bounds, params = between(reader, low, high)
    query = reader.sql(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {table} WHERE {not_null}{bounds}{where} LIMIT 1) AS x",
        not_null=not_null(subject.source.table),
        bounds=bounds,
    )
    there = reader.row(query, params, plan=Plan.FREE)[0] == 1
    if there is not bool(rows):
        raise UnavailableError(
            f"cannot trust what {subject.source.table.qualified} answers: read one way a range holds {rows} rows, read"
            f" another way {'some' if there else 'none'}",
            hint="look for a corrupt index (pg_amcheck), and report this as a bug where there is none",
        )
    return int(there)


def _part(
    found: Sequence[_Seen],
    source: Snapshot,
    late: KeySet,
    direct: int,
    low: Key | None,
    high: Key | None,
    bucket: tuple[int, int] | None,
) -> Part:
    verified = joined([seen.verified for seen in found])
    return Part(
        low=low,
        high=high,
        bucket=bucket,
        at=source.at,
        lsn=source.lsn,
        rows=sum(seen.rows for seen in found),
        registered=len(verified),
        announced=sum(seen.announced for seen in found),
        needles=direct + sum(seen.needles for seen in found),
        size=sum(seen.size for seen in found),
        verified=verified - late,
        missing=joined([seen.missing for seen in found]),
        surplus=joined([seen.surplus for seen in found]),
        stale=late,
    )


def _sides(subject: Subject, source: Snapshot, registry: Snapshot, *, deletes: bool) -> list[Side]:
    """What is learned, one from the other: all of both tables, then the rows that count, where that is not all."""
    r, s = subject.registry.table, subject.source.table
    scoped = Side(table=s, connections=source.connections, where=subject.scope)
    accepted = Side(table=r, connections=registry.connections, where=subject.accepted)
    if not deletes:
        return [accepted, scoped]
    sides = [Side(table=r, connections=registry.connections), Side(table=s, connections=source.connections)]
    return sides + [side for side in (accepted, scoped) if side.where is not None]


def _sets(subject: Subject, sets: tuple[KeySet, ...], *, deletes: bool) -> tuple[KeySet, KeySet, KeySet, KeySet]:
    """Of `_sides`: registry and source whole, accepted and in scope."""
    registered, rows, *rest = sets
    accepted = rest.pop(0) if deletes and subject.accepted is not None else registered
    scoped = rest.pop(0) if deletes and subject.scope is not None else rows
    return registered, rows, accepted, scoped


@contextmanager
def _pair(scene: Scene, shown: Shown, subject: Subject) -> Iterator[tuple[Snapshot, Snapshot]]:
    settings: Settings = scene.settings
    s = settings.source
    limits, kept = Limits.of(s), scene.kept
    with (
        snapshot(settings.registry.dsn, "the registry", [subject.registry.table], limits, kept=kept) as registry,
        snapshot(s.dsn, "the source", [subject.source.table], limits, kept=kept) as source,
    ):
        same_servers(scene, shown, source=source, registry=registry)
        if shown.snapshot_faults:
            raise UnavailableError("; ".join(shown.snapshot_faults))
        yield source, registry
