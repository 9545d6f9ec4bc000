"""The table of design §2, pure: which class each key falls into, over key sets. No I/O, no clock.

R closes a gap; E only explains it.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.keys import KeySet
from schemas.verdict import Cause, GapClass, OrphanClass

Explained = dict[tuple[GapClass, Cause], KeySet]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Key sets of one data type. All are subsets of one key space; `silent` maps a cause to keys the log cannot speak of."""

    source: KeySet  #: S: source rows in the window
    accepted: KeySet  #: R: registry rows that count
    unaccepted: KeySet  #: registry rows in a state that does not count
    credited: KeySet  #: E: the log's last word is a creation
    unsure: KeySet  #: the log contradicts itself on the order
    silent: dict[Cause, KeySet]  #: by cause, keys outside the log's coverage
    stale: KeySet  #: accepted rows older than their source row


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    gaps: Explained
    healed: KeySet

    def of(self, *classes: GapClass) -> KeySet | None:
        """All keys of some classes; None where there are none."""
        total: KeySet | None = None
        for (gap_class, _), keys in self.gaps.items():
            if gap_class in classes:
                total = keys if total is None else total | keys
        return total


def classify(seen: Seen) -> Classes:
    """Put every key of S into its class; keys that are fine fall into none."""
    gaps: Explained = {}

    def put(gap_class: GapClass, cause: Cause, keys: KeySet) -> None:
        if len(keys):
            before = gaps.get((gap_class, cause))
            gaps[gap_class, cause] = keys if before is None else before | keys

    unregistered = seen.source - seen.accepted
    put(GapClass.UNACCEPTED, Cause.UNACCEPTED_STATE, unregistered & seen.unaccepted)
    missing = unregistered - seen.unaccepted
    put(GapClass.UNAPPLIED_CREATE, Cause.UNAPPLIED, missing & seen.credited)
    unheard = missing - seen.credited
    put(GapClass.UNHEARD_CREATE, Cause.ORDER_UNKNOWN, unheard & seen.unsure)
    unheard = unheard - seen.unsure
    for cause, keys in seen.silent.items():
        put(GapClass.UNHEARD_CREATE, cause, unheard & keys)
        unheard = unheard - keys
    put(GapClass.DROPPED_CREATE, Cause.NEVER_ANNOUNCED, unheard)
    registered = seen.source & seen.accepted
    stale = registered & seen.stale
    put(GapClass.STALE_REGISTRATION, Cause.STALE, stale)
    healed = registered - stale - seen.credited - seen.unsure
    for keys in seen.silent.values():
        healed = healed - keys
    return Classes(gaps=gaps, healed=healed)


def classify_orphans(orphans: KeySet, deleted: KeySet) -> dict[OrphanClass, KeySet]:
    """Registry rows without a source row, by whether the log announced the deletion."""
    out = {OrphanClass.UNAPPLIED_DELETE: orphans & deleted, OrphanClass.DROPPED_DELETE: orphans - deleted}
    return {orphan_class: keys for orphan_class, keys in out.items() if len(keys)}
