"""Read back from the ledger what the log announced: last words on the keys of a range, and what the log covers.

Reads only; memory follows the range asked for. Folding is `schemas.announced`, judging is `reconciler.classify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler.coverage import Coverage, Lost
from reconciler.probe import Range, Span
from reconciler.shelf import Chunk, Offsets, Segment, Shelf
from reconciler.sweeping.verified import Verified
from schemas import ledger as tables
from schemas.announced import Announced, fold, union
from schemas.key_sets import joined
from schemas.keys import Key, KeySet, KeyType
from schemas.ledger import LEFT_OUT, Said, Settled
from schemas.log_state import LogState

#: A segment may hold a single row that lived for a second only: so many are looked at for the newest creations.
LOOKED_AT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The last words on a key range. `recent` are the creations of segments that reach into the window; where all do, they
    are told as `credited`, for those alone are ever asked about."""

    words: Announced
    credited: KeySet
    recent: KeySet


class AnnouncedReader:
    """One data type's announcements, as of the moment they were first asked for. Without a shelf the log says nothing."""

    def __init__(
        self, shelf: Shelf | None, key_type: KeyType, *, ordered: bool, since_us: int | None = None, settle_us: int = 0
    ) -> None:
        """`settle_us`: how long after its event a row may become visible."""
        self.shelf, self.key_type, self.settle_us = shelf, key_type, settle_us
        self.ordered, self.since_us = ordered, since_us
        self.verified: Verified | None = None  #: what a sweep verified, as a better guess of what is there

    @property
    def ledger(self) -> Ledger | None:
        return None if self.shelf is None else self.shelf.ledger

    def range(self, low: Key | None, high: Key | None) -> Heard:
        """Last words on the keys in [low, high)."""
        if self.shelf is None:
            return self.range_of_nothing()
        return self._heard(self.shelf.range(low, high))

    def of(self, keys: KeySet) -> Heard:
        """Last words on these keys alone."""
        if self.shelf is None or not len(keys):
            return self.range_of_nothing()
        return self._heard((chunk, keys & found) for chunk, found in self._around(keys))

    def span(self, span: Span) -> Heard:
        """Last words on the keys of one part of a compare."""
        if isinstance(span, Range):
            return self.range(span.low, span.high)
        if self.shelf is None:
            return self.range_of_nothing()
        return self._heard((chunk, span.select(found)) for chunk, found in self.shelf.range(span.low, span.high))

    def newest(self, count: int) -> KeySet:
        """Some of the newest announced creations that no deletion followed, newest segments first."""
        return self._newest(count, lambda chunk: chunk.said in (Said.CREATED, Said.RECREATED), lambda words: words.credited)

    def latest(self, count: int, before_us: int) -> KeySet:
        """The same, of keys of which no deletion was ever announced, and of segments all of whose events are dated, and
        not later than `before_us`: an id that is used again may have had another row long before."""

        def settled(chunk: Chunk) -> bool:
            last_us = chunk.segment.last_us
            return chunk.said is Said.CREATED and last_us is not None and last_us <= before_us

        return self._newest(count, settled, lambda words: words.created)

    def _newest(self, count: int, wanted: Callable[[Chunk], bool], kept: Callable[[Announced], KeySet]) -> KeySet:
        found = self.key_type.empty()
        if self.shelf is None:
            return found
        chunks = [chunk for chunk in self.shelf.chunks if wanted(chunk)]
        for chunk in sorted(chunks, key=lambda c: (c.segment.number, c.number), reverse=True)[:LOOKED_AT]:
            if len(found) < count:
                some = self.key_type.keys(self.shelf.whole(chunk).column()[len(found) - count :])
                found = found | kept(self.of(some).words)
        return found

    def range_of_nothing(self) -> Heard:
        words = Announced.nothing(self.key_type)
        return Heard(words=words, credited=words.credited, recent=words.credited)

    def bounds(self) -> tuple[Key, Key] | None:
        """The lowest and highest key ever announced, inclusive."""
        found = None if self.shelf is None else self.shelf.bounds()
        return None if found is None else (self.key_type.from_bound(found[0]), self.key_type.from_bound(found[1]))

    def spans(self, keys: KeySet) -> list[tuple[KeySet, Said, int | None, int | None, Offsets]]:
        """Per segment that speaks of any of these keys: which, its word, its span of event times, its offsets."""
        if self.shelf is None or not len(keys):
            return []
        out = []
        for chunk, found in self._around(keys):
            hit = keys & found
            if len(hit):
                out.append((hit, chunk.said, chunk.segment.first_us, chunk.segment.last_us, chunk.segment.offsets))
        return out

    def _around(self, keys: KeySet) -> Iterator[tuple[Chunk, KeySet]]:
        assert self.shelf is not None
        return self.shelf.range(keys.min(), self.key_type.after(keys.max()))

    def _heard(self, parts: Iterable[tuple[Chunk, KeySet]]) -> Heard:
        sets: dict[Segment, dict[Said, list[KeySet]]] = {}
        for chunk, keys in parts:
            if len(keys):
                sets.setdefault(chunk.segment, {}).setdefault(chunk.said, []).append(keys)
        # Asked for every span of a compare and every segment: most say one thing, in one chunk.
        silent = dict.fromkeys((said.value for said in Said), self.key_type.empty())
        segments = [
            Announced(
                first_us=segment.first_us,
                last_us=segment.last_us,
                **silent | {said.value: joined(keys) for said, keys in of.items()},
            )
            for segment, of in sets.items()
        ]
        words = fold(self.key_type, segments, ordered=self.ordered)
        credited, since_us = words.credited, self.since_us
        if since_us is None:  # a key is credited by a segment that created it, and all of them count
            return Heard(words=words, credited=credited, recent=credited)
        near = [s for s in segments if s.last_us is None or s.last_us >= since_us]
        recent = union(self.key_type, [keys for s in near for keys in (s.created, s.recreated)])
        return Heard(words=words, credited=credited, recent=recent)


def _current(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    newest = sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()
    return (table.c.incarnation == newest,)


def _not_yet(state: LogState, topics: tuple[str, ...]) -> list[Lost]:
    """Ends of partitions that were not read, as behind an open transaction: their silence means nothing either."""
    return [Lost(from_us=p.event_us, to_us=None) for p in state.of(topics) if not p.drained]


def read_coverage(ledger: Ledger | None, name: str, state: LogState | None, topics: tuple[str, ...]) -> Coverage:
    """From when on the log speaks about a data type, less its holes and unreadable records."""
    if ledger is None or state is None:
        return Coverage.nothing()
    c, p, q = tables.coverage, tables.position, tables.quarantine
    join = c.join(p, sa.and_(p.c.incarnation == c.c.incarnation, p.c.topic == c.c.topic, p.c.partition == c.c.partition))
    firsts = (
        sa.select(c.c.first_us, c.c.first_offset, p.c.start_offset).select_from(join).where(*_current(c), c.c.data_type == name)
    )
    with ledger.begin("read the log's coverage") as connection:
        rows = connection.execute(firsts).all()
        starts = connection.execute(sa.select(p.c.start_offset).where(*_current(p), p.c.topic.in_(topics))).scalars().all()
        # Accepting a loss ends the question, not the loss: such a record still speaks of the keys that its bytes name.
        lost = (*_current(q), q.c.topic.in_(topics), q.c.state != Settled.RESOLVED)
        unread = connection.execute(sa.select(sa.func.count()).select_from(q).where(*lost)).scalar_one()
    # What lies before the first event was deleted, or nobody looked for it: another partition's earlier event vouches for none.
    broken_off = any(row.first_offset == LEFT_OUT for row in rows)
    trimmed = [
        row.first_us for row in rows if (row.start_offset > 0 or row.first_offset == LEFT_OUT) and row.first_us is not None
    ]
    known = [row.first_us for row in rows if row.first_us is not None]
    holes = [h for h in state.holes if h.topic in topics]
    return Coverage(
        start_us=max([min(known), *trimmed]) if known else None,
        from_the_beginning=bool(starts) and all(start == 0 for start in starts) and not holes and not broken_off,
        trimmed=any(start > 0 for start in starts),
        lost=(*(Lost(from_us=h.from_us, to_us=h.to_us) for h in holes), *_not_yet(state, topics)),
        unreadable=int(unread),
    )
