"""Remember the newest answers, within bounds: what strangers can name without end must not be kept without end.

Schema ids come out of records, and whoever may write records writes any of four thousand million of them. What was
forgotten is asked for again: that costs time, never an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by number. Those not asked for the longest go first; the newest stays, however heavy it is."""

    def __init__(self, *, count: int, weight: int) -> None:
        """At most `count` values, which weigh `weight` together."""
        self._count, self._weight = count, weight
        self._kept: OrderedDict[int, tuple[T, int]] = OrderedDict()
        self._heavy = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, number: int) -> T | None:
        found = self._kept.get(number)
        if found is None:
            return None
        self._kept.move_to_end(number)
        return found[0]

    def put(self, number: int, value: T, weight: int = 1) -> None:
        _, before = self._kept.pop(number, (None, 0))
        self._kept[number] = value, weight
        self._heavy += weight - before
        while len(self._kept) > 1 and (len(self._kept) > self._count or self._heavy > self._weight):
            _, (_, lighter) = self._kept.popitem(last=False)
            self._heavy -= lighter

    def clear(self) -> None:
        self._kept.clear()
        self._heavy = 0
