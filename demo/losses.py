"""Which rows exist in the demo, when they were created, and what becomes of each. Pure: the same seed, the same world.

Every loss is planted here and nowhere else, so that what fencepost finds can be held against it, key by key.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a creation."""

    FINE = "fine"  #: a row, announced, registered
    DROPPED = "dropped"  #: a row; its event was lost, so nobody registered it
    UNAPPLIED = "unapplied"  #: a row, announced; the applier lost it
    HEALED = "healed"  #: a row; its event was lost, but it was registered by another path
    DELETED = "deleted"  #: created and deleted again, both announced and applied
    ROLLED_BACK = "rolled_back"  #: announced from inside a transaction that then rolled back: there never was a row

    @property
    def exists(self) -> bool:
        return self not in (Fate.DELETED, Fate.ROLLED_BACK)

    @property
    def announced(self) -> bool:
        return self not in (Fate.DROPPED, Fate.HEALED)

    @property
    def registered(self) -> bool:
        return self in (Fate.FINE, Fate.HEALED)

    @property
    def missing(self) -> bool:
        """Whether a backfill has to make its registry row."""
        return self.exists and not self.registered


@dataclass(frozen=True, slots=True)
class Creation:
    """One key, and its story."""

    key: int | uuid.UUID
    at: datetime
    fate: Fate


#: What goes wrong, by data type. Debezium reads committed changes only, so no rolled back row is ever announced there.
PLANTED: Mapping[str, Mapping[Fate, int]] = {
    "job_artifact": {
        Fate.DROPPED: 37,
        Fate.UNAPPLIED: 12,
        Fate.HEALED: 25,
        Fate.DELETED: 150,
        Fate.ROLLED_BACK: 20,
    },
    "lfs_object": {Fate.DROPPED: 8, Fate.UNAPPLIED: 30, Fate.HEALED: 11, Fate.DELETED: 90, Fate.ROLLED_BACK: 14},
    "upload": {Fate.DROPPED: 21, Fate.UNAPPLIED: 5, Fate.HEALED: 9, Fate.DELETED: 60},
}
CREATIONS = 20_000
#: Creations are spread over this span, so that `--since 72h` reaches before the first of them.
SPAN = timedelta(hours=48)
#: How old the youngest row is.
YOUNGEST = timedelta(minutes=5)
SEED = 72


def creations(name: str, now: datetime, count: int = CREATIONS) -> list[Creation]:
    """All creations of one data type, the oldest first."""
    drawn = random.Random(f"{SEED} {name}")
    fates = [fate for fate, times in PLANTED[name].items() for _ in range(times)]
    fates += [Fate.FINE] * (count - 1 - len(fates))
    drawn.shuffle(fates)
    # The first is announced: before its first event the log covers nothing, and a loss there would have another name.
    fates.insert(0, Fate.FINE)
    start, step = now - SPAN, (SPAN - YOUNGEST) / count
    return [Creation(_key(name, i, drawn), start + i * step, fate) for i, fate in enumerate(fates)]


def _key(name: str, number: int, drawn: random.Random) -> int | uuid.UUID:
    if name == "upload":
        return uuid.UUID(int=drawn.getrandbits(128), version=4)
    return 1 + number


def keys_of(world: Mapping[str, Sequence[Creation]], *fates: Fate) -> dict[str, set[str]]:
    """By data type, the keys of these fates, as reports write them."""
    return {name: {str(c.key) for c in all_ if c.fate in fates} for name, all_ in world.items()}
