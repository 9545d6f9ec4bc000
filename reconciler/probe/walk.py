"""Compare a source with a registry, span by span, in bounded memory: the whole of both key sets, exactly.

    for part in compare(source, registry, key_type, announced):
        ...  # part.announced, part.registry, part.source: E, R and S of design §2, cut to part.span

Where both tables can be read in key order, spans are ranges: the registry is learned from what was announced, the source
from what the registry holds. Else both are read in the order of their pages into hash buckets (`spill`), and spans are
buckets; `buckets(...)` tells beforehand how many, so that the caller can sort a large ledger the same way.

Spans tile all keys. A compare that ends without an error has yielded all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Any

import psycopg
from psycopg import sql

from reconciler.probe.blobs import extremes, first_keys, ranked
from reconciler.probe.board import Board, Part
from reconciler.probe.heap import Pages, pages, read_pages, relation_bytes
from reconciler.probe.ints import WIDTH, Habit, learn_ints
from reconciler.probe.reader import Reader
from reconciler.probe.spans import Bucket, Range, Span
from reconciler.probe.spill import Spill, buckets_for
from reconciler.probe.tables import Table
from schemas.errors import FencepostError
from schemas.keys import BIAS, INT64_MAX, IntKeys, Key, KeySet, KeyType

#: Rows of one span where it is cut by rows.
ROWS = 1 << 16
#: Integers are learned as bits where at least one in so many is a row of one side.
SPARSE = 64
_GLANCE = 256
#: A table with so many times the rows of another cuts the span.
CROWD = 4

#: E of one span. Called by one thread at a time.
Announced = Callable[[Span], KeySet]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One table with its connections, one for each worker, all inside one shared snapshot."""

    table: Table
    connections: Sequence[psycopg.Connection[Any]]
    where: sql.Composed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What was learned of one span."""

    span: Span
    announced: KeySet
    sets: tuple[KeySet, ...]  #: in the order of the sides
    needles: int  #: keys left out of a guess on purpose that came back


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """E, R and S of one span."""

    span: Span
    announced: KeySet
    registry: KeySet
    source: KeySet
    needles: int


def compare(
    source: Side, registry: Side, key_type: KeyType, announced: Announced, *, low: Key | None = None, high: Key | None = None
) -> Iterator[Compared]:
    """All of both tables in [low, high), in no order. Close the iterator when leaving it early."""
    for part in learn([registry, source], key_type, announced, low=low, high=high):
        ours, theirs = part.sets
        yield Compared(span=part.span, announced=part.announced, registry=ours, source=theirs, needles=part.needles)


def learn(
    sides: Sequence[Side], key_type: KeyType, announced: Announced, *, low: Key | None = None, high: Key | None = None
) -> Iterator[Slice]:
    """The key sets of one or more tables, each learned from what is known before it."""
    workers = min(len(side.connections) for side in sides)
    readers = [[Reader(side.connections[at], side.table, side.where) for side in sides] for at in range(workers)]
    count = buckets(readers[0])
    if count is None:
        return _by_range(readers, key_type, announced, low, high)
    return _by_bucket(readers, key_type, announced, low, high, count)


def buckets(readers: Sequence[Reader]) -> int | None:
    """How many buckets a compare of these tables uses; None where it goes by range."""
    if all(reader.table.by_range for reader in readers):
        return None
    # A key is never larger than its row, and tables are mostly more than keys: a guess on the safe side.
    total = max(sum(relation_bytes(reader, part) for part in reader.table.parts) for reader in readers)
    return buckets_for(total // 4)


# ---- ranges


@dataclass(slots=True)
class _Worker:
    """The readers of one thread and what it learned about forms."""

    readers: list[Reader]
    habits: list[Habit] = field(default_factory=list)


def _by_range(
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
        worker = _Worker(readers[number], [Habit() for _ in readers[number]])
        while keep_going() and (part := board.take(number)) is not None:
            yield _step(worker, number, key_type, board, part, announced, lock)

    yield from _tiled(_together(len(readers), work), first, high)


def _step(worker: _Worker, number: int, key_type: KeyType, board: Board, part: Part, announced: Announced, lock: Lock) -> Slice:
    """Claim the next range of a part, and learn it."""
    readers = worker.readers
    start, dense = _glance(readers, part.at, part.end) if key_type.kind == "int" else (part.at, False)
    sets: list[KeySet] = [key_type.empty() for _ in readers]
    needles = 0
    if start is None:
        span = Range(part.at, board.claim(number, part.end))
    elif dense:
        stop = int(start) // WIDTH * WIDTH + WIDTH
        span = Range(part.at, board.claim(number, part.end if stop > INT64_MAX else stop))
    else:
        sets, end = _read(readers, key_type, start, part.end)
        # Another worker may have taken the far end meanwhile: what lies there is its to read.
        span = Range(part.at, board.claim(number, end))
        sets = [keys if span.high == end else keys.cut(None, span.high) for keys in sets]
    with lock:
        known = announced(span)
    high = BIAS if span.high is None or not dense else int(span.high)
    if dense and start is not None and int(start) < high:
        assert isinstance(known, IntKeys)
        guess, high = known, min(int(start) // WIDTH * WIDTH + WIDTH, high)
        for at, (reader, habit) in enumerate(zip(readers, worker.habits, strict=True)):
            found, used = learn_ints(reader, guess, int(start), high, habit)
            sets[at], guess, needles = found, guess | found, needles + used
    return Slice(span=span, announced=known, sets=tuple(_shared(known, sets)), needles=needles)


def _shared(known: KeySet, sets: list[KeySet]) -> list[KeySet]:
    """Equal sets as one object: most are equal, and algebra on one object is nearly free, in time and in memory."""
    seen, out = [known], []
    for keys in sets:
        out.append(next((one for one in seen if one is keys or (len(one) == len(keys) and one == keys)), keys))
        seen.append(out[-1])
    return out


def _glance(readers: list[Reader], at: Key, end: Key | None) -> tuple[Key | None, bool]:
    """The next integer that any table holds, and whether bits suit what follows it."""
    heads = [ranked(reader, at, end, 0) for reader in readers]
    there = [head for head in heads if head is not None]
    if not there:
        return None, False
    start = min(there)
    for reader in readers:
        later = ranked(reader, start, end, _GLANCE - 1)
        if later is not None and int(later) - int(start) < _GLANCE * SPARSE:
            return start, True
    return start, False


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


# ---- buckets


def _by_bucket(
    readers: list[list[Reader]], key_type: KeyType, announced: Announced, low: Key | None, high: Key | None, count: int
) -> Iterator[Slice]:
    sides = range(len(readers[0]))
    todo: Queue[tuple[int, Pages]] = Queue()
    for side in sides:
        for some in pages(readers[0][side]):
            todo.put((side, some))
    with closing(Spill(key_type, count)) as spill:

        def work(number: int, keep_going: Callable[[], bool]) -> Iterator[None]:
            while keep_going():
                try:
                    side, some = todo.get_nowait()
                except Empty:
                    return
                spill.add(side, read_pages(readers[number][side], some).cut(low, high))
                yield None

        for _ in _together(len(readers), work):
            pass
        for number in range(count):
            span = Bucket(number, count, low, high)
            sets = tuple(spill.take(side, number) for side in sides)
            yield Slice(span=span, announced=announced(span), sets=sets, needles=0)


# ---- threads


def _together(workers: int, work: Callable[[int, Callable[[], bool]], Iterator[Any]]) -> Iterator[Any]:
    """Run one generator for each worker in a thread of its own, and pass on what they yield. The first error ends all."""
    if workers == 1:
        yield from work(0, lambda: True)
        return
    stop, done = Event(), object()
    out: Queue[Any] = Queue(maxsize=workers)

    def put(item: Any) -> None:
        while True:
            try:
                return out.put(item, timeout=0.1)
            except Full:
                if stop.is_set():
                    return None

    def run(number: int) -> None:
        try:
            for item in work(number, lambda: not stop.is_set()):
                put(item)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            put(error)
        put(done)

    threads = [Thread(target=run, args=(number,), name=f"probe-{number}", daemon=True) for number in range(workers)]
    try:
        for thread in threads:
            thread.start()
        left = workers
        while left:
            item = out.get()
            if item is done:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        # Statements are short: each worker ends the one it is in, so that its connection stays usable.
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
