"""Exact sets of integer keys, held in whichever way costs less: nothing is ever approximated.

One of the two kinds of `schemas.key_sets.KeySet`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from schemas.sparse_bitmaps import column_of

#: Signed int64 -> unsigned, order kept, so that a bitmap of unsigned numbers holds negative keys too.
BIAS = 1 << 63
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


class IntKeys:
    """Signed 64-bit integers: in a roaring bitmap, where dense runs cost nearly nothing, or in a sorted column where they
    lie so far apart (random numbers, times with a counter) that each would need a container of its own.

    Which of the two is a matter of cost alone. `serialize` is the portable 64-bit roaring format over keys biased by 2**63.
    """

    __slots__ = ("_bits", "_sorted")

    def __init__(self, bits: BitMap64 | None = None) -> None:
        self._bits: BitMap64 | None = BitMap64() if bits is None else bits
        self._sorted: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, column: npt.NDArray[np.int64]) -> IntKeys:
        """From an int64 column, in any order, with repeats."""
        column = np.ascontiguousarray(column, np.int64)
        if len(column) and _far_apart(int(column.min()), int(column.max()), len(column)):
            return cls.from_sorted(column if (column[:-1] < column[1:]).all() else _unique(column))
        return cls(_bits(column.view(np.uint64) ^ np.uint64(BIAS)))

    @classmethod
    def from_sorted(cls, column: npt.NDArray[np.int64]) -> IntKeys:
        """From a strictly ascending int64 column; the caller vouches for the order."""
        if not len(column) or not _far_apart(int(column[0]), int(column[-1]), len(column)):
            return cls(_bits(np.ascontiguousarray(column).view(np.uint64) ^ np.uint64(BIAS)))
        keys = cls.__new__(cls)
        keys._bits, keys._sorted = None, column
        return keys

    @classmethod
    def range(cls, low: int, high: int) -> IntKeys:
        """Every integer in [low, high). Cost grows with (high - low) / 65536."""
        return cls(_run(low + BIAS, high + BIAS))

    @classmethod
    def parse(cls, data: bytes) -> IntKeys:
        biased = column_of(data) if len(data) >= _SPARSE_BYTES else None
        if biased is None or not _far_apart(int(biased[0]), int(biased[-1]), len(biased)):
            return cls(BitMap64.deserialize(data))
        return cls.from_sorted((biased ^ np.uint64(BIAS)).view(np.int64))

    @property
    def bits(self) -> BitMap64:
        """The biased keys as a bitmap, whichever way they are held. Not to be changed."""
        if self._bits is None:
            self._bits = self._as_bits()
        return self._bits

    def _as_bits(self) -> BitMap64:
        return _bits(self.column().view(np.uint64) ^ np.uint64(BIAS))

    def __len__(self) -> int:
        return len(self.bits) if self._sorted is None else len(self._sorted)

    def __contains__(self, key: object) -> bool:
        if type(key) is not int or not INT64_MIN <= key <= INT64_MAX:
            return False
        if self._sorted is None:
            return key + BIAS in self.bits
        at = int(np.searchsorted(self._sorted, np.int64(key)))
        return at < len(self._sorted) and int(self._sorted[at]) == key

    def __or__(self, other: IntKeys) -> IntKeys:
        if not len(other) or not len(self):
            return self if len(self) else other
        ours, theirs = self._columns(other)
        if ours is None or theirs is None:
            return IntKeys(self.bits | other.bits)
        return self if np.array_equal(ours, theirs) else IntKeys.from_sorted(_united([ours, theirs]))

    def __and__(self, other: IntKeys) -> IntKeys:
        if not len(other) or not len(self):
            return IntKeys()
        ours, theirs = self._columns(other)
        if ours is None or theirs is None:
            return IntKeys(self.bits & other.bits)
        return IntKeys.from_sorted(ours[_among(ours, theirs)])

    def __sub__(self, other: IntKeys) -> IntKeys:
        if not len(other) or not len(self):
            return self
        ours, theirs = self._columns(other)
        if ours is None or theirs is None:
            return IntKeys(self.bits - other.bits)
        return IntKeys.from_sorted(ours[~_among(ours, theirs)])

    def _columns(self, other: IntKeys) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | None]:
        """Both as columns, where one is and the other is not many times larger; else nothing, and bitmaps are cheaper."""
        if self._sorted is None and other._sorted is None:
            return None, None
        if self._sorted is None and len(self) > 8 * len(other):
            return None, None
        if other._sorted is None and len(other) > 8 * len(self):
            return None, None
        return self.column(), other.column()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntKeys) or len(self) != len(other):
            return False
        if self._sorted is None or other._sorted is None:
            return bool(self.bits == other.bits)
        return np.array_equal(self._sorted, other._sorted)

    __hash__ = None  # type: ignore[assignment]

    def cut(self, low: int | bytes | None, high: int | bytes | None) -> IntKeys:
        first = 0 if low is None else int(low) + BIAS
        end = 1 << 64 if high is None else int(high) + BIAS
        if not len(self) or first >= end:
            return IntKeys()
        least, most = self.min() + BIAS, self.max() + BIAS
        if first <= least and most < end:
            return self
        first, end = max(first, least), min(end, most + 1)
        if first >= end:
            return IntKeys()
        if self._sorted is None and end - first <= _DENSE_CUT:
            return IntKeys(self.bits & _run(first, end))
        # A mask over a huge sparse range would need a container per 65,536 numbers; the keys themselves are fewer.
        column = self.column()
        at = np.searchsorted(column, np.array([first - BIAS, end - 1 - BIAS], np.int64))
        past = int(at[1]) + int(at[1] < len(column) and int(column[at[1]]) == end - 1 - BIAS)
        return IntKeys.from_sorted(column[int(at[0]) : past])

    def min(self) -> int:
        return int(self.bits.min()) - BIAS if self._sorted is None else int(self._sorted[0])

    def max(self) -> int:
        return int(self.bits.max()) - BIAS if self._sorted is None else int(self._sorted[-1])

    def some(self, count: int) -> list[int | bytes]:
        if self._sorted is not None:
            return [int(self._sorted[at]) for at in spread(len(self._sorted), count)]
        return [int(self.bits[at]) - BIAS for at in spread(len(self.bits), count)]

    def column(self) -> npt.NDArray[np.int64]:
        if self._sorted is not None:
            return self._sorted
        if not self.bits:
            return np.empty(0, np.int64)
        biased = np.frombuffer(self.bits.to_array(), np.uint64)
        return (biased ^ np.uint64(BIAS)).view(np.int64)

    def __iter__(self) -> Iterator[int]:
        return (key - BIAS for key in self.bits) if self._sorted is None else iter(self._sorted.tolist())

    def serialize(self) -> bytes:
        bits = self.bits if self._bits is not None else self._as_bits()
        bits.run_optimize()
        return bytes(bits.serialize())

    def __repr__(self) -> str:
        return f"IntKeys({list(islice(self, 5))}{'…' if len(self) > 5 else ''}, n={len(self)})"


def _unique(column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ascending, each once. Not `np.unique`: at its first call it imports masked arrays, which takes 20 ms."""
    column = np.sort(column)
    fresh = np.ones(len(column), np.bool_)
    fresh[1:] = column[1:] != column[:-1]
    return column[fresh]


def spread(length: int, count: int) -> list[int]:
    """At most `count` places of a sequence, evenly apart, both ends among them; of one place, its middle."""
    if count < 2 or length < 2:
        return [length // 2] if length else []
    return sorted({at * (length - 1) // (count - 1) for at in range(count)})


def _far_apart(least: int, most: int, count: int) -> bool:
    """Whether a bitmap would hold these keys at more cost than a column: fewer than 16 keys to a container of 65,536."""
    return most - least >= count * _APART


def _united(columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """All of some ascending columns, once. The stable sort merges runs as it finds them."""
    both = np.sort(np.concatenate(columns), kind="stable")
    fresh = np.concatenate([[True], both[1:] != both[:-1]])
    return both if fresh.all() else both[fresh]


def _among(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each of a, is it in b? Both ascending, without repeats, not empty."""
    out = np.ones(len(a), np.bool_)
    at = there = 0
    # Most sets that are held against one another are nearly the same: from one difference on to the next, side by side.
    for _ in range(_FEW):
        count = min(len(a) - at, len(b) - there)
        unlike = a[at : at + count] != b[there : there + count]
        step = int(unlike.argmax()) if count else 0
        if not count or not unlike[step]:
            out[at + count :] = False
            return out
        at, there = at + step, there + step
        if a[at] < b[there]:
            out[at] = False
            at += 1
        else:
            there += 1
    out[at:] = _looked_up(a[at:], b[there:])
    return out


def _looked_up(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if not len(a) or not len(b):
        return np.zeros(len(a), np.bool_)
    if len(a) >= 8 * len(b):
        out = np.zeros(len(a), np.bool_)
        at = np.minimum(np.searchsorted(a, b), len(a) - 1)
        out[at[a[at] == b]] = True
        return out
    at = np.minimum(np.searchsorted(b, a), len(b) - 1)
    return np.asarray(b[at] == a)


def _bits(biased: npt.NDArray[np.uint64]) -> BitMap64:
    # Through `array`: pyroaring makes a Python int of each element of anything else, nine times slower.
    return BitMap64(array("Q", biased.tobytes()))


def _run(first: int, end: int) -> BitMap64:
    """All numbers in [first, end)."""
    bits = BitMap64()
    if end > BITS_END - 1:  # pyroaring cannot say 2**64, the end past the last number
        bits.add(BITS_END - 1)
        end = BITS_END - 1
    if first < end:
        bits.add_range(first, end)
    return bits


BITS_END = 1 << 64
#: What is shorter is read as a bitmap in no time.
_SPARSE_BYTES = 1 << 12
#: So many differences are found one by one before all of the rest is looked up.
_FEW = 16
_DENSE_CUT = 1 << 28  # a mask of so many numbers takes 4096 containers
#: Keys this far apart on average are held in a column: 8 bytes each, where a container of few costs some 60.
_APART = 1 << 12


def joined_ints(sets: Sequence[IntKeys]) -> IntKeys:
    sparse = [keys._sorted for keys in sets if keys._sorted is not None]
    if len(sparse) == len(sets):
        return IntKeys.from_sorted(_united(sparse))
    return IntKeys(BitMap64.union(*(keys.bits for keys in sets)))
