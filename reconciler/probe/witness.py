"""Needles of every slice: keys that ought to be there are looked up once more, each alone, and must have come with their slice.

A needle left out of a guess (`ints`, `far`) shows that no guess is taken for an answer; where rows are simply read there is
no guess to leave one out of. So of each slice and table some keys are noted that the log or another table holds, and when
the compare has ended they are looked up in the same snapshots. A slice that came back short is shown by the first of
them that its table has after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.ports import names
from reconciler.probe.reader import Reader
from reconciler.probe.rows import present
from reconciler.probe.spans import Slice
from reconciler.probe.walk import Side
from schemas.errors import UnavailableError
from schemas.keys import Key, KeySet, KeyType

#: Keys noted of a slice, of each set that may know one; of a table of very many slices, one is enough.
PICKED, MANY = 3, 1000


@dataclass(slots=True)
class _Noted:
    """Keys that one table may have, and those of them that came with their slices."""

    expected: list[Key] = field(default_factory=list)
    came: list[Key] = field(default_factory=list)


class Witness:
    """Told every slice of a compare, asked once at its end."""

    def __init__(self, sides: Sequence[Side], key_type: KeyType) -> None:
        self.sides, self.key_type = sides, key_type
        self._noted = [_Noted() for _ in sides]
        self._slices = 0

    def note(self, part: Slice) -> None:
        self._slices += 1
        count = PICKED if self._slices <= MANY else 1
        for at, own in enumerate(part.sets):
            others = [part.announced, *(keys for other, keys in enumerate(part.sets) if other != at)]
            for keys in _distinct(others):
                for key in keys.some(count):
                    self._noted[at].expected.append(key)
                    if key in own:
                        self._noted[at].came.append(key)

    def lost(self) -> tuple[int, list[str]]:
        """How many of the noted keys are there, and which of those had not come. Raises UnavailableError."""
        there, lost = 0, list[str]()
        for side, noted in zip(self.sides, self._noted, strict=True):
            reader = Reader(side.connections[0], side.table, side.where)
            found = present(reader, self.key_type.of(noted.expected))
            there += len(found)
            lost += [f"{self.key_type.text(key)} of {side.table.qualified}" for key in found - self.key_type.of(noted.came)]
        return there, lost

    def insist(self) -> int:
        """How many of the noted keys are there, all of which had come. Raises UnavailableError where one had not."""
        there, lost = self.lost()
        if lost:
            raise UnavailableError(
                f"cannot trust what was read: {len(lost)} of {there} keys that are there were not among it: {names(lost)}",
                hint="look for a corrupt index (pg_amcheck), and report this as a bug where there is none",
            )
        return there


def _distinct(sets: Sequence[KeySet]) -> list[KeySet]:
    """Most sets of a slice are one object."""
    return list({id(keys): keys for keys in sets}.values())
