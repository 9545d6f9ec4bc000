"""Which numbers of a sequence are missing among those that were read: ranges, counted exactly. Pure.

Ranges are int64 arrays of two columns, first and last number, ascending and apart. Numbers come in blocks, so that a leap of
a sequence costs nothing and no step holds more than one block. Doubles, order and who read what play no part: numbers are
a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.events import Int64s
from schemas.int_keys import IntKeys, joined_ints

Ranges: TypeAlias = npt.NDArray[np.int64]

#: Numbers of one block: a bitmap of 128 KiB at most.
BLOCK = 1 << 20
#: Numbers of one flush in more blocks than this are those of no sequence: drawn at random, or a time.
MAX_BLOCKS = 64
#: More numbers missing in a row are a leap: the sequence was set anew, or has a range for each server. No gap is told of it.
LEAP = 1 << 30
#: So many ranges are kept in one place; the rest is only counted.
MAX_RANGES = 10_000
NONE: Ranges = np.empty((0, 2), np.int64)


def blocks(numbers: Sequence[Int64s]) -> list[tuple[int, IntKeys]] | None:
    """What was read, cut into blocks; None where it is spread over too many to be a sequence."""
    column = np.unique(np.concatenate(numbers))
    of = column // BLOCK
    starts = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]]))
    if len(starts) > MAX_BLOCKS:
        return None
    return [(int(part[0]) // BLOCK, IntKeys.from_sorted(part)) for part in np.split(column, starts[1:].tolist()) if len(part)]


def missing(held: Iterable[int], read: Callable[[int], Sequence[IntKeys]], low: int, high: int) -> Iterator[Ranges]:
    """The ranges of [low, high] that were not read, ascending. `held`: the blocks of which something was."""
    at = low
    for block in sorted({block for block in held if low // BLOCK <= block <= high // BLOCK}):
        column = joined_ints(read(block)).cut(low, high + 1).column()
        if not len(column):
            continue
        edges = np.concatenate([[at - 1], column])
        before = np.flatnonzero(np.diff(edges) > 1)
        at = int(column[-1]) + 1
        yield np.stack([edges[before] + 1, edges[before + 1] - 1], axis=1)
    if at <= high:
        yield np.array([[at, high]], np.int64)


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing: how many numbers, how many were passed over in leaps, and some of the ranges."""

    count: int = 0
    leapt: int = 0
    ranges: Ranges = field(default_factory=lambda: NONE)


def summed(parts: Iterable[Ranges], keep: int, *, newest: bool) -> Gaps:
    """Of the ranges `keep` are kept, the newest or the lowest: all of a partition that lags would be millions."""
    found, leapt, ranges = 0, 0, NONE
    for part in parts:
        leap = part[:, 1] - part[:, 0] >= LEAP
        leapt += count(part[leap])
        part = part[~leap]
        found += count(part)
        if newest or len(ranges) < keep:
            ranges = np.concatenate([ranges, part])
            ranges = ranges[-keep:] if newest else ranges[:keep]
    return Gaps(found, leapt, ranges)


def count(ranges: Ranges) -> int:
    return int((ranges[:, 1] - ranges[:, 0] + 1).sum())


def without(ranges: Ranges, numbers: Int64s) -> tuple[Ranges, int]:
    """The ranges less these numbers, and how many of them lay there."""
    if not len(ranges) or not len(numbers):
        return ranges, 0
    numbers = np.unique(numbers)
    at = np.searchsorted(ranges[:, 0], numbers, side="right") - 1
    came = numbers[(at >= 0) & (numbers <= ranges[at, 1])]
    if not len(came):
        return ranges, 0
    # Each one ends a range before it and begins another behind it; sorted, ends and beginnings belong together again.
    first = np.sort(np.concatenate([ranges[:, 0], came + 1]))
    last = np.sort(np.concatenate([ranges[:, 1], came - 1]))
    left = np.stack([first, last], axis=1)
    return left[first <= last], len(came)


def packed(ranges: Ranges) -> bytes:
    """For the ledger: the newest `MAX_RANGES`."""
    return ranges[-MAX_RANGES:].astype("<i8").tobytes()


def unpacked(data: bytes) -> Ranges:
    return np.frombuffer(data, "<i8").astype(np.int64).reshape(-1, 2)
