"""Read portable 64-bit roaring bitmaps whose keys lie far apart straight into a sorted column. Pure.

A bitmap of such keys has a container for nearly each of them: to build it takes ten times the time and the memory of its
keys. What is not plainly of this shape is left to the library: `None` is never wrong, only slower.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: The usual bucket: the high half of its one key, then a bitmap of one container that holds one value.
_LONE = np.dtype([("high", "<u4"), ("cookie", "<u4"), ("containers", "<u4"), ("middle", "<u2"), ("more", "<u2"),
                  ("offset", "<u4"), ("low", "<u2")])  # fmt: skip
#: Of a bitmap without runs, as the format has it.
_COOKIE = 12346
#: Where the values of a bitmap's only container begin.
_OFFSET = 16
#: Buckets looked at in one step, and bytes that there must be for each bucket of another shape.
_STEP, _PATIENCE = 4096, 256
_ARRAY = 4096  # a container with more values than this is no array of them

Column = npt.NDArray[np.uint64]


def column_of(data: bytes) -> Column | None:
    """The numbers, ascending; None where this is not a bitmap of few numbers to a container, or an empty one."""
    if len(data) < 8:
        return None
    left, at = int.from_bytes(data[:8], "little"), 8
    others = len(data) // _PATIENCE + 16
    parts: list[Column] = []
    while left:
        lone = _lone(data, at, min(left, _STEP))
        if len(lone):
            parts.append(lone)
            left, at = left - len(lone), at + len(lone) * _LONE.itemsize
            continue
        found = _bucket(data, at) if others else None
        if found is None:
            return None
        part, at = found
        parts.append(part)
        left, others = left - 1, others - 1
    if not parts:
        return None
    column = np.concatenate(parts)
    return column if at == len(data) and (column[:-1] < column[1:]).all() else None


def _lone(data: bytes, at: int, most: int) -> Column:
    """The numbers of the usual buckets that follow, until one that is not."""
    rows = np.frombuffer(data, _LONE, min(most, (len(data) - at) // _LONE.itemsize), at)
    usual = (rows["cookie"] == _COOKIE) & (rows["containers"] == 1) & (rows["more"] == 0) & (rows["offset"] == _OFFSET)
    if not usual.all():
        rows = rows[: int(np.argmin(usual))]
    return rows["high"].astype(np.uint64) << np.uint64(32) | _joined(rows["middle"], rows["low"])


def _bucket(data: bytes, at: int) -> tuple[Column, int] | None:
    """The numbers of one bucket whose containers are short arrays, and where the next one begins."""
    if at + 12 > len(data):
        return None
    high, cookie, containers = np.frombuffer(data, "<u4", 3, at).tolist()
    start = at + 12 + 8 * containers
    if cookie != _COOKIE or not 0 < containers <= 1 << 16 or start > len(data):
        return None
    heads = np.frombuffer(data, "<u2", 2 * containers, at + 12)
    counts = heads[1::2].astype(np.int64) + 1
    offsets = np.frombuffer(data, "<u4", containers, at + 12 + 4 * containers)
    begins = start - at - 4 + 2 * (np.cumsum(counts) - counts)
    end = start + 2 * int(counts.sum())
    if counts.max() > _ARRAY or end > len(data) or not np.array_equal(offsets, begins):
        return None
    lows = np.frombuffer(data, "<u2", int(counts.sum()), start)
    return np.uint64(high) << np.uint64(32) | _joined(np.repeat(heads[::2], counts), lows), end


def _joined(middle: npt.NDArray[np.uint16], low: npt.NDArray[np.uint16]) -> Column:
    return middle.astype(np.uint64) << np.uint64(16) | low.astype(np.uint64)
