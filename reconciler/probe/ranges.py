"""Compare tables that can be read in key order, range by range: each worker takes the next range of its part.

Where the keys of a range lie dense, they are learned as bits (`ints`); integers in islands far apart from a guess that
knows the islands (`far`); everything else is read, so many rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock

from reconciler.probe.blobs import extremes, first_keys, ranked
from reconciler.probe.board import Board, Part
from reconciler.probe.far import learn_far, worth
from reconciler.probe.int_forms import GuessTooPoor
from reconciler.probe.ints import WIDTH, Habit, learn_ints
from reconciler.probe.reader import Reader
from reconciler.probe.spans import Announced, Range, Slice
from reconciler.probe.threads import together
from schemas.errors import FencepostError
from schemas.keys import BIAS, INT64_MAX, IntKeys, Key, KeySet, KeyType

#: Rows of one span where it is cut by rows.
ROWS = 1 << 16
#: Integers are learned as bits where at least one in so many is a row of one side.
SPARSE = 64
#: So many rows are looked ahead to tell.
FAR_GLANCE = WIDTH // SPARSE
#: A table with so many times the rows of another cuts the span.
CROWD = 4
#: After a guess that was of no use so many ranges are read before one is tried again.
_PATIENCE = 16


@dataclass(slots=True)
class _Worker:
    """The readers of one thread, which may not be its alone, and what it learned about the keys so far."""

    number: int
    readers: list[Reader]
    key_type: KeyType
    board: Board
    announced: Announced
    lock: Lock
    keep_going: Callable[[], bool]
    habits: list[Habit] = field(default_factory=list)
    filled: bool = False  #: the last slice that was learned as bits held enough rows to be worth it
    reads: int = 0  #: ranges to be read before a guess is tried again

    def claim(self, part: Part, high: Key | None) -> Range:
        """Another worker may have taken the far end meanwhile: what lies there is its to read."""
        return Range(part.at, self.board.claim(self.number, high))

    def known(self, span: Range) -> KeySet:
        with self.lock:
            return self.announced(span)

    def slice(self, span: Range, sets: list[KeySet], known: KeySet | None = None, needles: int = 0) -> Slice:
        known = self.known(span) if known is None else known
        return Slice(span=span, announced=known, sets=tuple(_shared(known, sets)), needles=needles)

    def nothing(self, span: Range) -> Slice:
        return self.slice(span, [self.key_type.empty() for _ in self.readers])


def by_range(
    readers: list[list[Reader]], key_type: KeyType, announced: Announced, low: Key | None, high: Key | None
) -> Iterator[Slice]:
    found = [ends for reader in readers[0] if (ends := extremes(reader, low, high)) is not None]
    empty = key_type.empty()
    if not found:
        whole_span = Range(low, high)
        yield Slice(span=whole_span, announced=announced(whole_span), sets=(empty,) * len(readers[0]), needles=0)
        return
    first, last = min(f for f, _ in found), max(t for _, t in found)
    if low is None or low < first:  # type: ignore[operator]
        before = Range(low, first)
        yield Slice(span=before, announced=announced(before), sets=(empty,) * len(readers[0]), needles=0)
    board, lock = Board(key_type.kind, first, high, last), Lock()

    def work(number: int, keep_going: Callable[[], bool]) -> Iterator[Slice]:
        mine = readers[number % len(readers)]
        habits = [Habit() for _ in mine]
        worker = _Worker(number, mine, key_type, board, announced, lock, keep_going, habits)
        step = _ints if key_type.kind == "int" else _rows
        while keep_going() and (part := board.take(number)) is not None:
            yield from step(worker, part)

    # As many workers share a set of connections as there are tables: while one waits for the registry, another keeps the
    # source busy, and what the client computes in between costs neither server a pause.
    yield from _tiled(together(len(readers) * len(readers[0]), work), first, high)


# ---- one step: claim the next range of a part, and learn it


def _ints(worker: _Worker, part: Part) -> Iterator[Slice]:
    if worker.filled:  # most likely this one is too: to look ahead would cost more than to be wrong once
        yield _bits(worker, part, int(part.at))
        return
    if worker.reads:  # nor while keys lie far apart: what was read tells whether they still do
        worker.reads -= 1
        for piece in _rows(worker, part):
            if any(map(_dense, piece.sets)):
                worker.reads = 0
            yield piece
        return
    heads, dense = _glance(worker, part)
    there = [head for head in heads if head is not None]
    if not there:
        yield worker.nothing(worker.claim(part, part.end))
    elif dense:
        yield _bits(worker, part, min(there))
    elif not all(reader.table.unique for reader in worker.readers):
        worker.reads = _PATIENCE
        yield from _rows(worker, part, min(there))
    else:
        yield from _islands(worker, part, heads, min(there))


def _dense(keys: KeySet) -> bool:
    """Whether bits would have suited these keys."""
    return len(keys) >= FAR_GLANCE and int(keys.max()) - int(keys.min()) < len(keys) * SPARSE


def _glance(worker: _Worker, part: Part) -> tuple[list[int | None], bool]:
    """The next integer that each table holds, and whether bits suit what follows the least of them."""
    found = [ranked(reader, part.at, part.end, 0) for reader in worker.readers]
    heads = [None if head is None else int(head) for head in found]
    start = min((head for head in heads if head is not None), default=None)
    if start is None:
        return heads, False
    for reader in worker.readers:
        later = ranked(reader, start, part.end, FAR_GLANCE - 1)
        if later is not None and int(later) - start < FAR_GLANCE * SPARSE:
            return heads, True
    return heads, False


def _bits(worker: _Worker, part: Part, start: int) -> Slice:
    stop = start // WIDTH * WIDTH + WIDTH
    span = worker.claim(part, part.end if stop > INT64_MAX else stop)
    known = worker.known(span)
    high = min(stop, BIAS if span.high is None else int(span.high))
    sets: list[KeySet] = [IntKeys() for _ in worker.readers]
    needles = 0
    if start < high:
        assert isinstance(known, IntKeys)
        guess = known
        for at, (reader, habit) in enumerate(zip(worker.readers, worker.habits, strict=True)):
            with reader.turn:
                found, used = learn_ints(reader, guess, start, high, habit)
            sets[at], guess, needles = found, guess | found, needles + used
    worker.filled = max(map(len, sets)) >= FAR_GLANCE
    return worker.slice(span, sets, known, needles)


def _islands(worker: _Worker, part: Part, heads: list[int | None], start: int) -> Iterator[Slice]:
    """So many rows at once, from a guess; read where the guess turns out to be of no use."""
    span = worker.claim(part, _rows_on(worker.readers, start, part.end))
    if span.high is not None and start >= int(span.high):
        yield worker.nothing(span)
        return
    known = worker.known(span)
    assert isinstance(known, IntKeys)
    guess, high = known.cut(start, None), None if span.high is None else int(span.high)
    sets: list[KeySet] = []
    needles = 0
    try:
        for reader, head in zip(worker.readers, heads, strict=True):
            if not worth(guess):
                raise GuessTooPoor
            with reader.turn:
                found, used = learn_far(reader, guess, start, high, head)
            sets.append(found)
            guess, needles = guess | found, needles + used
    except GuessTooPoor:
        worker.reads = _PATIENCE
        yield from _claimed(worker, span, known, start)
    else:
        yield worker.slice(span, sets, known, needles)


def _rows_on(readers: list[Reader], start: int, end: Key | None) -> Key | None:
    """Where the span ends that begins at `start` and holds ROWS rows of a table; `end` where all hold fewer."""
    for reader in readers:
        later = ranked(reader, start, end, ROWS)
        if later is not None:
            return later
    return end


def _claimed(worker: _Worker, span: Range, known: KeySet, start: Key) -> Iterator[Slice]:
    """Read all of a span that is ours already, in as many pieces as its rows make necessary."""
    low = span.low
    while True:
        sets, end = _read(worker.readers, worker.key_type, start, span.high)
        piece = Range(low, end)
        yield worker.slice(piece, sets, known if piece == span else None)
        if end == span.high or not worker.keep_going():
            return
        assert end is not None
        low = start = end


def _rows(worker: _Worker, part: Part, start: Key | None = None) -> Iterator[Slice]:
    """Read the next rows of a part. No table holds a key between its low end and `start`."""
    sets, end = _read(worker.readers, worker.key_type, part.at if start is None else start, part.end)
    span = worker.claim(part, end)
    yield worker.slice(span, sets if span.high == end else [keys.cut(None, span.high) for keys in sets])


def _shared(known: KeySet, sets: list[KeySet]) -> list[KeySet]:
    """Equal sets as one object: most are equal, and algebra on one object is nearly free, in time and in memory."""
    seen, out = [known], []
    for keys in sets:
        out.append(next((one for one in seen if one is keys or (len(one) == len(keys) and one == keys)), keys))
        seen.append(out[-1])
    return out


def _read(readers: list[Reader], key_type: KeyType, start: Key, end: Key | None) -> tuple[list[KeySet], Key | None]:
    """Read a bounded number of keys from `start` on, of every table up to the same end, and tell that end."""
    limit = ROWS if key_type.kind != "text" else ROWS // 2
    free = [at for at, reader in enumerate(readers) if reader.where is None]
    if not free:
        # Under a condition the first n rows may lie far apart, so the end is found among rows of any state.
        past = [key for reader in readers if (key := ranked(reader, start, end, limit)) is not None]
        if past:
            # The row there begins the next span; where one key is repeated that often, the span is that key alone.
            end = key_type.after(start) if min(past) == start else min(past)
    order = sorted(range(len(readers)), key=lambda at: readers[at].where is not None)
    sets: dict[int, KeySet] = {}
    for at in order:
        keys, all_of_them = first_keys(readers[at], start, end, limit if at == order[0] and free else CROWD * limit)
        sets[at] = keys
        if not all_of_them:
            end = key_type.after(keys.max())
    return [sets[at].cut(None, end) for at in range(len(readers))], end


def _tiled(parts: Iterator[Slice], low: Key, high: Key | None) -> Iterator[Slice]:
    """Pass all parts on; then insist that they tile [low, high)."""
    starts: dict[Key, Key | None] = {}
    for part in parts:
        assert isinstance(part.span, Range)
        assert part.span.low is not None
        starts[part.span.low] = part.span.high
        yield part
    at: Key | None = low
    while starts:
        if at is None or at not in starts:
            raise FencepostError(f"the ranges of a compare do not join at {at!r}; this is an error in fencepost")
        at = starts.pop(at)
    if at != high:
        raise FencepostError(f"the ranges of a compare end at {at!r}, not {high!r}; this is an error in fencepost")
