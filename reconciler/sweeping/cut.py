"""Cut a table into ranges of bounded size, one after the other, by looking at its index alone.

Ranges join: each begins where the one before it ended, the first has no low end and the last no high end, so that a key
that nobody foresaw lies in one of them. No statistics are asked; a wrong size costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.probe import Reader
from reconciler.probe.blobs import ranked
from reconciler.probe.ints import WIDTH
from reconciler.probe.ranges import FAR_GLANCE, SPARSE
from schemas.keys import INT64_MAX, Key, KeyType

#: Rows of one range: integers close together cost next to nothing to hold, other keys their own length.
DENSE_ROWS, ROWS = 1 << 22, 1 << 19
#: Integers of one range at most, where few of them are rows.
WIDEST = 1 << 26
#: With a rate, a range takes about so long.
RATED_S = 5


@dataclass(slots=True)
class Size:
    """How large the next range is to be; it learns from the ranges before."""

    rows: int
    width: int  #: integers, where they lie close together

    @classmethod
    def of(cls, kind: str, rate: int | None) -> Size:
        rows = DENSE_ROWS if kind == "int" else ROWS
        if rate is not None:
            rows = min(rows, max(rate * RATED_S, 1000))
        return cls(rows=rows, width=rows)

    def learn(self, rows: int) -> None:
        """A range of this size held so many rows: a table with holes is read in wider ranges."""
        if rows * 2 <= self.rows:
            self.width = min(self.width * 2, WIDEST)
        elif rows > self.rows:
            self.width = max(self.width // 2, 1)


def end_of(readers: Sequence[Reader], key_type: KeyType, at: Key | None, size: Size) -> Key | None:
    """Where the range that begins at `at` ends; None: no row of any table lies past it."""
    heads = [head for reader in readers if (head := ranked(reader, at, None, 0)) is not None]
    if not heads:
        return None
    start = min(heads)
    high: Key | None = _close(readers, int(start), size) if key_type.kind == "int" else None
    if high is None:
        rows = min(size.rows, ROWS)
        past = [key for reader in readers if (key := ranked(reader, start, None, rows)) is not None]
        if not past:
            return None
        # One key repeated that often is a range of its own.
        high = key_type.after(start) if min(past) == start else min(past)
    if high is None or (key_type.kind == "int" and int(high) > INT64_MAX):
        return None
    return high if any(ranked(reader, high, None, 0) is not None for reader in readers) else None


def _close(readers: Sequence[Reader], start: int, size: Size) -> int | None:
    """The end of a range of integers close together; None where they are not."""
    for reader in readers:
        later = ranked(reader, start, None, FAR_GLANCE - 1)
        if later is not None and int(later) - start < FAR_GLANCE * SPARSE:
            return aligned(start, size.width)
    return None


def aligned(start: int, width: int) -> int:
    """About `width` past `start`, where slices begin (`probe.ints`), for a slice cut in two costs a second look."""
    high = start + width
    return high & -WIDTH if high & -WIDTH > start else high
