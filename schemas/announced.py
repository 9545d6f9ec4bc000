"""What the log announced: the algebra of last words on keys, over segments in number order.

Pure. A segment holds, per key, the last operation of one flush; folding segments gives the last operation of all. The
number of a segment is when we read it, not when it happened: where partitions were read at different speeds, a later
segment can hold an earlier event. So two segments whose event times overlap contradict each other on a key that one
created and the other deleted, unless there is only one partition: such a key is `unsure`, neither credit nor blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.key_sets import joined
from schemas.keys import Key, KeySet, KeyType
from schemas.ledger import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Four disjoint key sets by last word, and the span of event times behind them (µs, None where unknown)."""

    created: KeySet
    deleted: KeySet
    recreated: KeySet
    unsure: KeySet
    first_us: int | None = None
    last_us: int | None = None

    @classmethod
    def nothing(cls, key_type: KeyType) -> Announced:
        empty = key_type.empty()
        return cls(created=empty, deleted=empty, recreated=empty, unsure=empty)

    @property
    def credited(self) -> KeySet:
        """E of design §2: the log's last word on these keys is a creation."""
        return self.created | self.recreated

    @property
    def silent(self) -> bool:
        """Whether nothing was announced."""
        return not any(len(keys) for keys in self.sets().values())

    def sets(self) -> dict[Said, KeySet]:
        return {
            Said.CREATED: self.created,
            Said.DELETED: self.deleted,
            Said.RECREATED: self.recreated,
            Said.UNSURE: self.unsure,
        }

    def cut(self, low: Key | None, high: Key | None) -> Announced:
        return Announced(
            created=self.created.cut(low, high),
            deleted=self.deleted.cut(low, high),
            recreated=self.recreated.cut(low, high),
            unsure=self.unsure.cut(low, high),
            first_us=self.first_us,
            last_us=self.last_us,
        )

    def then(self, later: Announced, contested: KeySet | None = None) -> Announced:
        """The last words when `later` follows; keys in `contested` become unsure."""
        known = later.created | later.deleted | later.recreated | later.unsure
        was_deleted = self.deleted | self.recreated | self.unsure
        first_us, last_us = self._span_with(later)
        recreated = (self.recreated - known) | later.recreated | (later.created & was_deleted)
        out = Announced(
            created=(self.created - known) | (later.created - was_deleted),
            deleted=(self.deleted - known) | later.deleted,
            recreated=recreated,
            unsure=(self.unsure - known) | later.unsure,
            first_us=first_us,
            last_us=last_us,
        )
        return out if contested is None or not len(contested) else out._doubt(contested)

    def _span_with(self, later: Announced) -> tuple[int | None, int | None]:
        """The span of both: unknown as soon as one side's is, unless that side says nothing."""
        if self.silent or later.silent:
            said = later if self.silent else self
            return said.first_us, said.last_us
        spans = (self.first_us, self.last_us, later.first_us, later.last_us)
        if any(time is None for time in spans):
            return None, None
        known = [time for time in spans if time is not None]
        return min(known), max(known)

    def _doubt(self, keys: KeySet) -> Announced:
        return replace(
            self,
            created=self.created - keys,
            deleted=self.deleted - keys,
            recreated=self.recreated - keys,
            unsure=self.unsure | keys,
        )

    def contradicted_by(self, later: Announced) -> KeySet:
        """Keys on which the order of the two matters."""
        lives = self.created | self.recreated
        return (
            (lives & later.deleted)
            | (self.deleted & (later.created | later.recreated))
            | (self.unsure & (later.created | later.deleted | later.recreated))
        )


def fold(key_type: KeyType, segments: Sequence[Announced], *, ordered: bool) -> Announced:
    """Fold segments in number order. `ordered`: all events came through one partition, so numbers order them."""
    first_us, last_us = _span(segments)
    turned = union(key_type, [keys for s in segments for keys in (s.deleted, s.recreated, s.unsure)])
    created = union(key_type, [s.created for s in segments])
    if not len(turned):
        return replace(Announced.nothing(key_type), created=created, first_us=first_us, last_us=last_us)
    # Words on one key do not depend on any other key: all but a few were only ever created, whatever the order.
    few = _fold(key_type, [replace(s, created=s.created & turned) for s in segments], ordered=ordered)
    return replace(few, created=few.created | (created - turned), first_us=first_us, last_us=last_us)


def _fold(key_type: KeyType, segments: Sequence[Announced], *, ordered: bool) -> Announced:
    total = Announced.nothing(key_type)
    earliest_ahead = _suffix_least([s.first_us for s in segments])
    overlapping: list[Announced] = []
    for index, segment in enumerate(segments):
        contested: KeySet | None = None
        if not ordered:
            for earlier in overlapping:
                if _overlap(earlier, segment):
                    found = earlier.contradicted_by(segment)
                    contested = found if contested is None else contested | found
            overlapping.append(segment)
            horizon = earliest_ahead[index + 1]
            overlapping = [s for s in overlapping if s.last_us is None or horizon is None or s.last_us >= horizon]
        total = total.then(segment, contested)
    return total


def _span(segments: Sequence[Announced]) -> tuple[int | None, int | None]:
    """The span of event times of all: unknown as soon as one is, of those that say anything."""
    spoken = [s for s in segments if not s.silent] or segments[-1:]
    if len(spoken) == 1:
        return spoken[0].first_us, spoken[0].last_us
    firsts, lasts = (
        [t for t in times if t is not None] for times in ((s.first_us for s in spoken), (s.last_us for s in spoken))
    )
    if not spoken or len(firsts) < len(spoken) or len(lasts) < len(spoken):
        return None, None
    return min(firsts), max(lasts)


def _overlap(earlier: Announced, later: Announced) -> bool:
    """Whether event times fail to prove that `earlier` came first."""
    return earlier.last_us is None or later.first_us is None or earlier.last_us >= later.first_us


def _suffix_least(times: Sequence[int | None]) -> list[int | None]:
    """For each place, the least time from there on; None where any is unknown. The entry past the end is +infinity."""
    out: list[Any] = [float("inf")]
    for time in reversed(times):
        out.append(None if time is None or out[-1] is None else min(time, out[-1]))
    return out[::-1]


def union(key_type: KeyType, sets: Iterable[KeySet]) -> KeySet:
    """All keys of the sets."""
    spoken = [keys for keys in sets if len(keys)]
    return joined(spoken) if spoken else key_type.empty()
