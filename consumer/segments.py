"""Fold decoded batches into one segment per data type and flush: per key, the last operation.

Pure. Within a partition the offset orders; between partitions the event time does, and where it ties or is unknown and
the partitions disagree, the key is UNSURE. Only keys that occur in deletions take the slow path: a flush of creations is
one key set built from one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.announced import Announced
from schemas.events import NO_TIME, EventBatch, Op
from schemas.keys import KeySet, KeyType

Bools = npt.NDArray[np.bool_]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One data type's last words in one flush, and where they were read."""

    data_type: str
    said: Announced
    creates: int
    deletes: int
    offsets: dict[str, dict[int, tuple[int, int]]]  #: [first, next) per partition, of this type's events
    firsts: dict[Place, tuple[int, int | None]]  #: offset and time of the first event per partition
    newest: dict[Place, int]  #: the newest event time per partition

    @property
    def events(self) -> int:
        return self.creates + self.deletes


def fold_batches(key_type: KeyType, batches: Sequence[EventBatch]) -> Segment:
    """Fold the batches of one data type, those of a partition in offset order."""
    events = sum(map(len, batches))
    deletes = sum(int(np.count_nonzero(b.ops != Op.CREATE)) for b in batches)
    first_us, last_us = _span(batches)
    if deletes:
        said = _last_words(key_type, batches)
    else:
        nothing = key_type.empty()
        created = key_type.keys(np.concatenate([b.keys for b in batches]))
        said = {"created": created, "deleted": nothing, "recreated": nothing, "unsure": nothing}
    return Segment(
        data_type=batches[0].data_type,
        said=Announced(**said, first_us=first_us, last_us=last_us),
        creates=events - deletes,
        deletes=deletes,
        offsets=_offsets(batches),
        firsts=_firsts(batches),
        newest=_newest(batches),
    )


def _last_words(key_type: KeyType, batches: Sequence[EventBatch]) -> dict[str, KeySet]:
    removals = [b.ops != Op.CREATE for b in batches]
    deleted = key_type.keys(np.concatenate([b.keys[m] for b, m in zip(batches, removals, strict=True)]))
    created = key_type.keys(np.concatenate([b.keys[~m] for b, m in zip(batches, removals, strict=True)]))
    both = created & deleted
    recreated, unsure = _contested(key_type, batches, both) if len(both) else (both, both)
    return {
        "created": created - both,
        "deleted": deleted - recreated - unsure,
        "recreated": recreated,
        "unsure": unsure,
    }


def _contested(key_type: KeyType, batches: Sequence[EventBatch], both: KeySet) -> tuple[KeySet, KeySet]:
    """Of the keys that were created and deleted: those whose last word is a creation, and those where nobody can say."""
    wanted = both.column()
    codes: dict[Place, int] = {}
    columns: list[tuple[Any, ...]] = []
    for batch in batches:
        chosen = np.flatnonzero(np.isin(batch.keys, wanted))
        if len(chosen):
            code = codes.setdefault((batch.topic, batch.partition), len(codes))
            place = np.full(len(chosen), code, np.int32)
            columns.append((batch.keys[chosen], place, batch.offsets[chosen], batch.times[chosen], batch.ops[chosen]))
    keys, places, offsets, times, ops = (np.concatenate(column) for column in zip(*columns, strict=True))
    # The last event per key and partition; lexsort is stable, so two entries of one offset keep their order.
    order = np.lexsort((offsets, places, keys))
    keys, places, times, ops = keys[order], places[order], times[order], ops[order]
    last = _ends(keys) | _ends(places)
    keys, times, ops = keys[last], times[last], ops[last]
    # Between partitions the event time decides; NO_TIME is the least of all numbers, so it never wins by itself.
    order = np.lexsort((times, keys))
    keys, times, ops = keys[order], times[order], ops[order]
    ends = np.flatnonzero(_ends(keys))
    starts = np.concatenate([[0], ends[:-1] + 1])
    unsure = _unsure(times, ops, starts, ends)
    alive = (ops[ends] == Op.CREATE) & ~unsure
    return key_type.keys(keys[ends][alive]), key_type.keys(keys[ends][unsure])


def _unsure(times: Any, ops: Any, starts: Any, ends: Any) -> Bools:
    """Per group: do partitions disagree, and time does not tell them apart?"""
    disagree = np.minimum.reduceat(ops, starts) != np.maximum.reduceat(ops, starts)
    group = np.repeat(np.arange(len(ends)), ends - starts + 1)
    top = times == times[ends][group]
    rivals = np.maximum.reduceat((top & (ops != ops[ends][group])).astype(np.uint8), starts) > 0
    unknown = times[starts] == NO_TIME
    return np.asarray(disagree & (rivals | unknown))


def _ends(column: npt.NDArray[Any]) -> Bools:
    """Where a run of equal values ends."""
    return np.concatenate([column[1:] != column[:-1], [True]])


def _span(batches: Sequence[EventBatch]) -> tuple[int | None, int | None]:
    """The span of event times; none at all when one event is undated, for it might lie anywhere."""
    first = min(int(b.times.min()) for b in batches)
    if first == NO_TIME:
        return None, None
    return first, max(int(b.times.max()) for b in batches)


def _offsets(batches: Sequence[EventBatch]) -> dict[str, dict[int, tuple[int, int]]]:
    out: dict[str, dict[int, tuple[int, int]]] = {}
    for b in batches:
        topic = out.setdefault(b.topic, {})
        first, _ = topic.get(b.partition, (int(b.offsets[0]), 0))
        topic[b.partition] = (first, int(b.offsets[-1]) + 1)
    return out


def _firsts(batches: Sequence[EventBatch]) -> dict[Place, tuple[int, int | None]]:
    out: dict[Place, tuple[int, int | None]] = {}
    for b in batches:
        if (b.topic, b.partition) not in out:
            time = int(b.times[0])
            out[b.topic, b.partition] = (int(b.offsets[0]), None if time == NO_TIME else time)
    return out


def _newest(batches: Sequence[EventBatch]) -> dict[Place, int]:
    out: dict[Place, int] = {}
    for b in batches:
        place, newest = (b.topic, b.partition), int(b.times.max())
        if newest != NO_TIME:
            out[place] = max(newest, out.get(place, newest))
    return out
