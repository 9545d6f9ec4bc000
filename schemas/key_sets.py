"""Exact sets of canonical keys with fast algebra: nothing is ever approximated.

Integers live in 64-bit roaring bitmaps (`IntKeys`), byte strings in sorted arrays (`ByteKeys`). How a value becomes a
canonical key, and how it is printed, is `schemas.keys`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

#: Signed int64 -> unsigned, order kept, so that a bitmap of unsigned numbers holds negative keys too.
BIAS = 1 << 63
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

#: A canonical key: int for integer keys, bytes for all others.
Key: TypeAlias = int | bytes
Column: TypeAlias = npt.NDArray[Any]
K = TypeVar("K", bound="KeySet")


@runtime_checkable
class KeySet(Protocol):
    """A set of canonical keys of one type. Operators return new sets; both sides must be of one kind."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool: ...
    def __or__(self, other: Self) -> Self: ...
    def __and__(self, other: Self) -> Self: ...
    def __sub__(self, other: Self) -> Self: ...
    def cut(self, low: Key | None, high: Key | None) -> Self:
        """The keys in [low, high); None is unbounded. Order is numeric for ints, bytewise otherwise."""
        ...

    def min(self) -> Key: ...
    def max(self) -> Key: ...
    def column(self) -> Column:
        """All keys, ascending: int64, or an `S` array."""
        ...

    def __iter__(self) -> Iterator[Key]: ...
    def serialize(self) -> bytes: ...


class IntKeys:
    """Signed 64-bit integers in a roaring bitmap; dense runs cost nearly nothing.

    `serialize` is the portable 64-bit roaring format over keys biased by 2**63.
    """

    __slots__ = ("bits",)

    def __init__(self, bits: BitMap64 | None = None) -> None:
        self.bits = BitMap64() if bits is None else bits

    @classmethod
    def of(cls, column: npt.NDArray[np.int64]) -> IntKeys:
        """From an int64 column, in any order, with repeats."""
        column = np.ascontiguousarray(column, np.int64)
        return cls(_bits(column.view(np.uint64) ^ np.uint64(BIAS)))

    @classmethod
    def range(cls, low: int, high: int) -> IntKeys:
        """Every integer in [low, high). Cost grows with (high - low) / 65536."""
        return cls(_run(low + BIAS, high + BIAS))

    @classmethod
    def parse(cls, data: bytes) -> IntKeys:
        return cls(BitMap64.deserialize(data))

    def __len__(self) -> int:
        return len(self.bits)

    def __contains__(self, key: object) -> bool:
        return type(key) is int and INT64_MIN <= key <= INT64_MAX and key + BIAS in self.bits

    def __or__(self, other: IntKeys) -> IntKeys:
        return IntKeys(self.bits | other.bits)

    def __and__(self, other: IntKeys) -> IntKeys:
        return IntKeys(self.bits & other.bits)

    def __sub__(self, other: IntKeys) -> IntKeys:
        return IntKeys(self.bits - other.bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntKeys) and self.bits == other.bits

    __hash__ = None  # type: ignore[assignment]

    def cut(self, low: Key | None, high: Key | None) -> IntKeys:
        first = 0 if low is None else int(low) + BIAS
        end = 1 << 64 if high is None else int(high) + BIAS
        if not self.bits or first >= end:
            return IntKeys()
        if first <= self.bits.min() and self.bits.max() < end:
            return self
        first, end = max(first, self.bits.min()), min(end, self.bits.max() + 1)
        if end - first <= _DENSE_CUT:
            return IntKeys(self.bits & _run(first, end))
        # A mask over a huge sparse range would need a container per 65,536 numbers; the keys themselves are fewer.
        column = np.frombuffer(self.bits.to_array(), np.uint64)
        lo, hi = np.searchsorted(column, np.array([first, end - 1], np.uint64), side="left")
        hi += int(hi < len(column) and int(column[hi]) == end - 1)
        return IntKeys(_bits(column[lo:hi]))

    def min(self) -> int:
        return int(self.bits.min()) - BIAS

    def max(self) -> int:
        return int(self.bits.max()) - BIAS

    def column(self) -> npt.NDArray[np.int64]:
        if not self.bits:
            return np.empty(0, np.int64)
        biased = np.frombuffer(self.bits.to_array(), np.uint64)
        return (biased ^ np.uint64(BIAS)).view(np.int64)

    def __iter__(self) -> Iterator[int]:
        return (key - BIAS for key in self.bits)

    def serialize(self) -> bytes:
        self.bits.run_optimize()
        return bytes(self.bits.serialize())

    def __repr__(self) -> str:
        return f"IntKeys({list(islice(self, 5))}{'…' if len(self) > 5 else ''}, n={len(self)})"


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
_DENSE_CUT = 1 << 28  # a mask of so many numbers takes 4096 containers

UUID_BYTES = 16
#: Byte keys are kept apart by width class, so that one long key does not pad a million short ones.
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class ByteKeys:
    """Byte strings in sorted arrays by width class.

    numpy's `S` dtype pads with NUL and compares unsigned and bytewise, so padding never makes two keys equal: no canonical
    key ends in NUL (text holds none, and a uuid is kept without its last zero bytes). Raw 16-byte uuids may be asked for
    all the same, as keys and as bounds.
    """

    __slots__ = ("classes",)

    def __init__(self, classes: dict[int, npt.NDArray[np.bytes_]] | None = None) -> None:
        self.classes = {w: a for w, a in sorted((classes or {}).items()) if len(a)}

    @classmethod
    def of(cls, column: npt.NDArray[np.bytes_]) -> ByteKeys:
        """From an `S` column, in any order, with repeats."""
        return cls({w: _sorted_unique(part) for w, part in by_width(column).items()})

    @classmethod
    def from_sorted(cls, width: int, column: npt.NDArray[np.bytes_]) -> ByteKeys:
        """From a strictly ascending column of one width class; the caller vouches for the order."""
        return cls({width: column})

    @classmethod
    def parse(cls, data: bytes) -> ByteKeys:
        classes, at = {}, 0
        while at < len(data):
            width, count = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            classes[width] = np.frombuffer(data, f"S{width}", count, at)
            at += width * count
        return cls(classes)

    def __len__(self) -> int:
        return sum(map(len, self.classes.values()))

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes) or len(key) > WIDTHS[-1]:
            return False
        part = self.classes.get(width_of(len(key)))
        if part is None:
            return False
        at = int(np.searchsorted(part, np.array([key], part.dtype))[0])
        return at < len(part) and bool(part[at] == np.array([key], part.dtype)[0])

    def __or__(self, other: ByteKeys) -> ByteKeys:
        return self._merge(
            other, lambda a, b: a if _same(a, b) else _sorted_unique(np.concatenate([a, b])), keep_left=True, keep_right=True
        )

    def __and__(self, other: ByteKeys) -> ByteKeys:
        return self._merge(other, lambda a, b: a[_member(a, b)], keep_left=False, keep_right=False)

    def __sub__(self, other: ByteKeys) -> ByteKeys:
        return self._merge(other, lambda a, b: a[~_member(a, b)], keep_left=True, keep_right=False)

    def _merge(self, other: ByteKeys, both: Any, *, keep_left: bool, keep_right: bool) -> ByteKeys:
        out = {}
        for width in sorted({*self.classes, *other.classes}):
            a, b = self.classes.get(width), other.classes.get(width)
            if a is not None and b is not None:
                out[width] = both(a, b)
            elif a is not None and keep_left:
                out[width] = a
            elif b is not None and keep_right:
                out[width] = b
        return ByteKeys(out)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ByteKeys) or self.classes.keys() != other.classes.keys():
            return False
        return all(_same(a, other.classes[w]) for w, a in self.classes.items())

    __hash__ = None  # type: ignore[assignment]

    def cut(self, low: Key | None, high: Key | None) -> ByteKeys:
        return ByteKeys({w: a[_place(a, low, 0) : _place(a, high, len(a))] for w, a in self.classes.items()})

    def min(self) -> bytes:
        return min(bytes(a[0]) for a in self.classes.values())

    def max(self) -> bytes:
        return max(bytes(a[-1]) for a in self.classes.values())

    def column(self) -> npt.NDArray[np.bytes_]:
        if not self.classes:
            return np.empty(0, "S16")
        if len(self.classes) == 1:
            return next(iter(self.classes.values()))
        widest = max(self.classes)
        return np.sort(np.concatenate([a.astype(f"S{widest}") for a in self.classes.values()]))

    def __iter__(self) -> Iterator[bytes]:
        column = self.column()
        return (bytes(key) for key in column.tolist())

    def serialize(self) -> bytes:
        return b"".join(_HEAD.pack(w, len(a)) + np.ascontiguousarray(a).tobytes() for w, a in self.classes.items())

    def __repr__(self) -> str:
        return f"ByteKeys({list(islice(self, 5))}{'…' if len(self) > 5 else ''}, n={len(self)})"


_HEAD = struct.Struct("<IQ")


def width_of(length: int) -> int:
    """The width class of a key of so many bytes."""
    return next(w for w in WIDTHS if length <= w)


def by_width(column: npt.NDArray[np.bytes_]) -> dict[int, npt.NDArray[np.bytes_]]:
    """Cut an `S` column into its width classes."""
    if column.dtype.itemsize <= WIDTHS[0]:
        return {WIDTHS[0]: column.astype(f"S{WIDTHS[0]}")} if len(column) else {}
    lengths = np.strings.str_len(column)
    out, low = {}, -1
    for width in WIDTHS:
        chosen = (lengths > low) & (lengths <= width)
        if chosen.any():
            out[width] = column[chosen].astype(f"S{width}")
        low = width
    return out


def joined(sets: Sequence[K]) -> K:
    """All keys of one or more sets of one kind, at once: cheaper than one after the other."""
    first = sets[0]
    if len(sets) == 1:
        return first
    total: KeySet
    if isinstance(first, IntKeys):
        total = IntKeys(BitMap64.union(*(keys.bits for keys in sets if isinstance(keys, IntKeys))))
    else:
        columns: dict[int, list[npt.NDArray[np.bytes_]]] = {}
        for keys in sets:
            assert isinstance(keys, ByteKeys)
            for width, column in keys.classes.items():
                columns.setdefault(width, []).append(column)
        total = ByteKeys({w: _sorted_unique(np.concatenate(some)) for w, some in columns.items()})
    return total  # type: ignore[return-value]


def _sorted_unique(a: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bytes_]:
    if len(a) < 2:
        return a
    heads = _heads(a)
    if (heads[:-1] < heads[1:]).all() or (a[:-1] < a[1:]).all():
        return a
    # Numbers are compared several times faster than bytes, and the first eight bytes mostly decide.
    order = np.argsort(heads, kind="stable")  # merges sorted runs as it finds them: 25 times faster on two joined columns
    heads, a = heads[order], a[order]
    if (heads[:-1] == heads[1:]).any():
        a = np.sort(a, kind="stable")
        fresh = np.concatenate([[True], a[1:] != a[:-1]])
        a = a if fresh.all() else a[fresh]
    return a


def _heads(a: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each key as a number: where two differ, they order as the keys do."""
    return np.ascontiguousarray(a).view(">u8")[:: a.dtype.itemsize // 8].astype(np.uint64)


def _lane(a: npt.NDArray[np.bytes_], lane: int, lanes: int) -> npt.NDArray[np.uint64]:
    """Eight bytes of each key, to be compared for equality."""
    return np.ascontiguousarray(a).view(np.uint64)[lane::lanes]


def _same(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_]) -> bool:
    """Whether two columns of one width are equal, compared as numbers."""
    if a is b:
        return True
    return len(a) == len(b) and np.array_equal(np.ascontiguousarray(a).view(np.uint64), np.ascontiguousarray(b).view(np.uint64))


def _member(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    """For each of a, is it in b? Both ascending and unique."""
    if _same(a, b):
        return np.ones(len(a), np.bool_)
    if not len(a) or not len(b):
        return np.zeros(len(a), np.bool_)
    if len(b) >= 8 * len(a):
        at = np.searchsorted(b, a)
        at[at == len(b)] = 0
        return np.asarray(b[at] == a)
    if len(a) >= 8 * len(b):
        at = np.searchsorted(a, b)
        at[at == len(a)] = 0
        out = np.zeros(len(a), np.bool_)
        out[at[a[at] == b]] = True
        return out
    return _merged_member(a, b)


def _merged_member(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    """The same by one merge: where both are of one size, several times faster than looking each up."""
    out = np.zeros(len(a), np.bool_)
    ours, theirs = _heads(a), _heads(b)
    if (ours[1:] == ours[:-1]).any() or (theirs[1:] == theirs[:-1]).any():  # the first bytes do not tell keys apart
        both = np.concatenate([b, a])
        order = np.argsort(both, kind="stable")  # of equal keys the one from b comes first
        merged = both[order]
        out[order[1:][merged[1:] == merged[:-1]] - len(b)] = True
        return out
    heads = np.concatenate([theirs, ours])
    order = np.argsort(heads, kind="stable")
    heads = heads[order]
    pairs = np.flatnonzero(heads[1:] == heads[:-1])  # one of b, then one of a
    ours_at, theirs_at = order[pairs + 1] - len(b), order[pairs]
    equal = np.ones(len(pairs), np.bool_)
    lanes = a.dtype.itemsize // 8
    for lane in range(1, lanes):
        equal &= _lane(a, lane, lanes)[ours_at] == _lane(b, lane, lanes)[theirs_at]
    out[ours_at] = equal
    return out


def _place(a: npt.NDArray[np.bytes_], bound: Key | None, default: int) -> int:
    """Where the first key >= bound stands."""
    if bound is None:
        return default
    assert isinstance(bound, bytes)
    width, end = a.dtype.itemsize, len(bound.rstrip(b"\0"))
    # A bound longer than any key here sorts after every key that is its own prefix. One that ends in NUL is no key but
    # lies just above one (`KeyType.after`); only 16 bytes are a raw uuid, which is kept without its last zero bytes.
    above = end > width or (end < len(bound) != UUID_BYTES)
    return int(np.searchsorted(a, np.array([bound[:width]], a.dtype), side="right" if above else "left")[0])
