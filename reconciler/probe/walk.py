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
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import psycopg
from psycopg import sql

from reconciler.probe.heap import Pages, pages, read_pages, relation_bytes
from reconciler.probe.ranges import by_range
from reconciler.probe.reader import Reader
from reconciler.probe.spans import Announced, Bucket, Slice, Span
from reconciler.probe.spill import Spill, buckets_for
from reconciler.probe.tables import Table
from reconciler.probe.threads import together
from schemas.keys import Key, KeySet, KeyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One table with its connections, one for each worker, all inside one shared snapshot."""

    table: Table
    connections: Sequence[psycopg.Connection[Any]]
    where: sql.Composed | None = None


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
        return by_range(readers, key_type, announced, low, high)
    return _by_bucket(readers, key_type, announced, low, high, count)


def buckets(readers: Sequence[Reader]) -> int | None:
    """How many buckets a compare of these tables uses; None where it goes by range."""
    if all(reader.table.by_range for reader in readers):
        return None
    # A key is never larger than its row, and tables are mostly more than keys: a guess on the safe side.
    total = max(sum(relation_bytes(reader, part) for part in reader.table.parts) for reader in readers)
    return buckets_for(total // 4)


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

        for _ in together(len(readers), work):
            pass
        for number in range(count):
            span = Bucket(number, count, low, high)
            sets = tuple(spill.take(side, number) for side in sides)
            yield Slice(span=span, announced=announced(span), sets=sets, needles=0)
