"""Exact sets of canonical keys with fast algebra: nothing is ever approximated.

What every set can do, and byte strings in sorted arrays (`ByteKeys`); integers are `schemas.int_keys`. How a value becomes
a canonical key, and how it is printed, is `schemas.keys`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from schemas.int_keys import BIAS, BITS_END, INT64_MAX, INT64_MIN, IntKeys, joined_ints, spread

#: A canonical key: int for integer keys, bytes for all others.
Key: TypeAlias = int | bytes
Column: TypeAlias = npt.NDArray[Any]
K = TypeVar("K", bound="KeySet")

__all__ = [
    "BIAS", "BITS_END", "INT64_MAX", "INT64_MIN", "UUID_BYTES", "WIDTHS", "ByteKeys", "Column", "IntKeys", "K", "Key",
    "KeySet", "by_width", "joined", "width_of",
]  # fmt: skip


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
    def some(self, count: int) -> list[Key]:
        """A few keys from all over the set, its ends among them; about `count`, fewer only where it holds fewer."""
        ...

    def column(self) -> Column:
        """All keys, ascending: int64, or an `S` array."""
        ...

    def __iter__(self) -> Iterator[Key]: ...
    def serialize(self) -> bytes: ...


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

    def some(self, count: int) -> list[Key]:
        return [bytes(a[at]) for a in self.classes.values() for at in spread(len(a), count)]

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
#: Keys of two stretches that are looked up at once.
FEW = 2048
#: From so many sorted runs on they are not merged but sorted.
MANY_RUNS = 12


def width_of(length: int) -> int:
    """The width class of a key of so many bytes."""
    return next(w for w in WIDTHS if length <= w)


def by_width(column: npt.NDArray[np.bytes_]) -> dict[int, npt.NDArray[np.bytes_]]:
    """Cut an `S` column into its width classes."""
    if column.dtype.itemsize <= WIDTHS[0]:
        return {WIDTHS[0]: column.astype(f"S{WIDTHS[0]}", copy=False)} if len(column) else {}
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
        ints = [keys for keys in sets if isinstance(keys, IntKeys)]
        total = joined_ints(ints)
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
    # Numbers are compared several times faster than bytes, and the first eight bytes mostly decide. A stable sort merges the
    # runs that it finds: 25 times faster on two joined columns, slower than a plain one on very many.
    runs = np.count_nonzero(heads[1:] < heads[:-1])
    order = np.argsort(heads, kind="stable" if runs < MANY_RUNS else None)
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
    out = np.ones(len(a), np.bool_)
    _tell_strangers(a, b, out)
    return out


def _tell_strangers(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_], out: npt.NDArray[np.bool_]) -> None:
    """Clear what of a is not in b. Two sets of one compare differ in a handful of keys: what is alike at either end of a
    stretch is passed over, and what lies between is halved, until there is little left to look up."""
    begin, end = _alike(a, b)
    a, b, out = a[begin : len(a) - end], b[begin : len(b) - end], out[begin : len(a) - end]
    if not FEW < len(a) < 2 * len(b) or not len(b) < 2 * len(a):
        out[:] = _member_of(a, b)
        return
    half = len(a) // 2
    place = int(np.searchsorted(b, a[half]))
    _tell_strangers(a[:half], b[:place], out[:half])
    _tell_strangers(a[half:], b[place:], out[half:])


def _alike(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_]) -> tuple[int, int]:
    """How many keys two columns of one width have in common at their beginning, and how many at their end; none twice."""
    lanes, count = a.dtype.itemsize // 8, min(len(a), len(b))
    if a is b or not count:
        return count, 0
    ours, theirs = (np.ascontiguousarray(column).view(np.uint64) for column in (a, b))
    unlike = ours[: count * lanes] != theirs[: count * lanes]
    begin = int(unlike.argmax()) // lanes if unlike.any() else count
    left = (count - begin) * lanes
    if not left:
        return begin, 0
    unlike = (ours[-left:] != theirs[-left:])[::-1]
    return begin, int(unlike.argmax()) // lanes if unlike.any() else count - begin


def _member_of(a: npt.NDArray[np.bytes_], b: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
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
    return int(a.searchsorted(np.array([bound[:width]], a.dtype), side="right" if above else "left")[0])
