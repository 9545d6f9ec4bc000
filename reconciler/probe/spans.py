"""The parts a compare is cut into: ranges of keys, or hash buckets where no index gives an order.

Spans of one compare tile all keys: no key lies in two, none outside all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.keys import ByteKeys, IntKeys, Key, KeySet

K = TypeVar("K", bound=KeySet)


@dataclass(frozen=True, slots=True)
class Range:
    """Keys in [low, high); None is unbounded."""

    low: Key | None
    high: Key | None

    def select(self, keys: K) -> K:
        """The keys of a set that belong to this span."""
        return keys.cut(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Keys whose hash falls into bucket `number` of `of`, a power of two; [low, high) cuts them further."""

    number: int
    of: int
    low: Key | None = None
    high: Key | None = None

    def select(self, keys: K) -> K:
        keys = keys.cut(self.low, self.high)
        out: KeySet
        if isinstance(keys, IntKeys):
            column = keys.column()
            out = IntKeys.of(column[buckets_of(column, self.of) == self.number])
        else:
            assert isinstance(keys, ByteKeys)
            out = ByteKeys({w: a[buckets_of(a, self.of) == self.number] for w, a in keys.classes.items()})
        return out  # type: ignore[return-value]


Span: TypeAlias = Range | Bucket
#: What was announced of one span. Called by one thread at a time; a span may be asked for again, shortened at its end.
Announced: TypeAlias = Callable[[Span], KeySet]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What was learned of one span."""

    span: Span
    announced: KeySet
    sets: tuple[KeySet, ...]  #: in the order of the sides
    needles: int  #: keys left out of a guess on purpose that came back


def buckets_of(column: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.int64]:
    """The bucket of each key: of an int64 column, or of an `S` column of one width class, so that padding is settled."""
    lanes = np.ascontiguousarray(column).view(np.uint64).reshape(len(column), column.dtype.itemsize // 8)
    mixed = np.zeros(len(column), np.uint64)
    for lane in range(lanes.shape[1]):
        mixed = (mixed ^ lanes[:, lane]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray((mixed >> np.uint64(40)) & np.uint64(count - 1), np.int64)
