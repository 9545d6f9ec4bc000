"""What was read and decoded since the last flush, and the flush it becomes.

No I/O of its own: streams bring readings, decoders decode (and may ask the schema registry), `consumer.ledger` stores.
Every place knows two offsets: where the ledger stands (`stored`) and where reading stands (`reached`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from consumer.formats.contract import Decoder
from consumer.segments import Segment, fold_batches
from consumer.sequences import blocks
from consumer.streams.contract import Place, Reading
from schemas.events import EventBatch, Int64s, RawBatch, Unreadable
from schemas.int_keys import IntKeys
from schemas.keys import KeyType

#: Unreadable records of one flush; each may keep a kilobyte.
MANY_UNREADABLE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One partition's position, from what the ledger must hold now to what it is to hold."""

    topic: str
    partition: int
    topic_id: str | None
    expected: int
    next: int
    leader_epoch: int | None = None
    event_us: int | None = None
    anchor_offset: int | None = None
    anchor_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Offsets nobody read: [from_offset, to_offset), open-ended where nobody can say how many."""

    topic: str
    partition: int
    kind: str
    from_offset: int
    to_offset: int | None
    from_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """One transaction of the ledger."""

    moves: tuple[Move, ...]
    segments: tuple[Segment, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    records: int = 0
    ignored: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)  #: bytes read, by topic
    numbered: Collection[str] = ()  #: topics whose records have numbers
    numbers: Mapping[str, Sequence[tuple[int, IntKeys]]] = field(default_factory=dict)  #: by numbering, in blocks
    unnumbered: Mapping[str, int] = field(default_factory=dict)  #: records without one, by numbering
    stored_before_s: float | None = None  #: how long storing the flush before this one took

    @property
    def next_offsets(self) -> dict[Place, int]:
        return {(m.topic, m.partition): m.next for m in self.moves}


@dataclass(slots=True)
class _At:
    """One place since the last flush."""

    stored: int
    reached: int
    topic_id: str | None
    epoch: int | None = None
    event_us: int | None = None  # the newest the ledger knew when we began, and since
    anchor: tuple[int, bytes | None] | None = None


@dataclass(slots=True)
class Intake:
    """Collects readings of the places it was told to; all others, and offsets already read, are passed over."""

    decoders: Mapping[str, Decoder]
    key_types: Mapping[str, KeyType]
    numberings: Mapping[str, str] = field(default_factory=dict)  #: topic -> the numbering of its records
    records: int = 0
    stored_before_s: float | None = None
    _at: dict[Place, _At] = field(default_factory=dict)
    _batches: dict[str, list[EventBatch]] = field(default_factory=dict)
    _unreadable: list[Unreadable] = field(default_factory=list)
    _ignored: int = 0
    _sizes: Counter[str] = field(default_factory=Counter)
    _numbers: dict[str, list[Int64s]] = field(default_factory=dict)
    _unnumbered: Counter[str] = field(default_factory=Counter)
    _ended: dict[Place, int] = field(default_factory=dict)

    def begin(self, at: Mapping[Place, int], topic_ids: Mapping[str, str | None], event_us: Mapping[Place, int | None]) -> None:
        """Forget everything, and go on from where the ledger stands."""
        self._at = {
            place: _At(offset, offset, topic_ids.get(place[0]), event_us=event_us.get(place)) for place, offset in at.items()
        }
        self._ended = {}
        self._clear()

    def _clear(self) -> None:
        self.records, self._ignored = 0, 0
        self._batches, self._unreadable = {}, []
        self._sizes = Counter()
        self._numbers, self._unnumbered = {}, Counter()

    def reached(self) -> dict[Place, int]:
        return {place: at.reached for place, at in self._at.items()}

    def ended(self) -> dict[Place, int]:
        """Places read to their ends, and stored as far."""
        return {place: end for place, end in self._ended.items() if self._at[place].reached == self._at[place].stored}

    def take(self, reading: Reading) -> None:
        """Decode. Raises UnavailableError where the schema registry is away; the intake is then to be begun anew."""
        for topic, batches in self._fresh(reading.batches).items():
            self._take(topic, batches)
        for place, end in reading.ends.items():
            if (at := self._at.get(place)) is None:
                continue
            if end >= at.reached:
                self._ended[place] = end
            at.reached = max(at.reached, end)  # only control records and aborted ones lie between
        for place, epoch in reading.epochs.items():
            if (at := self._at.get(place)) is not None:
                at.epoch = epoch

    def _fresh(self, batches: Iterable[RawBatch]) -> dict[str, list[RawBatch]]:
        """What was not read before, of places that are ours, by topic: a decoder takes it all at once."""
        reached = self.reached()
        fresh: dict[str, list[RawBatch]] = {}
        for raw in batches:
            place = (raw.topic, raw.partition)
            if place not in reached or int(raw.offsets[-1]) < reached[place]:
                continue
            fresh.setdefault(raw.topic, []).append(raw if int(raw.offsets[0]) >= reached[place] else _from(raw, reached[place]))
            reached[place] = int(raw.offsets[-1]) + 1
        return fresh

    def _take(self, topic: str, batches: Sequence[RawBatch]) -> None:
        decoded = self.decoders[topic].decode(*batches)
        for batch in decoded.batches:
            if len(batch):
                self._batches.setdefault(batch.data_type, []).append(batch)
        if decoded.unreadable:
            self._unreadable.extend(decoded.unreadable)
        self._ignored += decoded.ignored
        if decoded.numbers is not None:
            self._number(topic, decoded.numbers, decoded.unnumbered)
        for raw in batches:
            self._reach(raw)

    def _reach(self, raw: RawBatch) -> None:
        place = (raw.topic, raw.partition)
        self._ended.pop(place, None)
        self._sizes[raw.topic] += sum(map(len, filter(None, raw.values)))
        self.records += len(raw)
        at = self._at[place]
        at.reached = int(raw.offsets[-1]) + 1
        at.anchor = (int(raw.offsets[-1]), raw.values[-1])

    def _number(self, topic: str, numbers: Int64s, unnumbered: int) -> None:
        name = self.numberings.get(topic)
        if name is not None:
            self._numbers.setdefault(name, []).append(numbers)
            self._unnumbered[name] += unnumbered

    @property
    def full(self) -> bool:
        """Whether so many records cannot be read that they had better be stored, or refused, now."""
        return len(self._unreadable) >= MANY_UNREADABLE

    @property
    def dirty(self) -> bool:
        return any(at.reached != at.stored for at in self._at.values())

    def flush(self) -> Flush:
        """Everything since the last flush; `settle` is told once it is stored."""
        segments = tuple(fold_batches(self.key_types[name], batches) for name, batches in self._batches.items())
        for segment in segments:
            for place, newest in segment.newest.items():
                at = self._at[place]
                at.event_us = newest if at.event_us is None else max(at.event_us, newest)
        numbers = {}
        for name, columns in self._numbers.items():
            found = blocks(columns)
            if found is None:
                self._unnumbered[name] += sum(map(len, columns))
            else:
                numbers[name] = found
        return Flush(
            moves=tuple(_move(place, at) for place, at in sorted(self._at.items()) if at.reached != at.stored),
            segments=segments,
            unreadable=tuple(self._unreadable),
            records=self.records,
            ignored=self._ignored,
            sizes=dict(self._sizes),
            numbered=self.numberings.keys(),
            numbers=numbers,
            unnumbered=dict(self._unnumbered),
            stored_before_s=self.stored_before_s,
        )

    def settle(self, flush: Flush) -> None:
        """The flush is stored: the ledger now stands where it says."""
        for place, offset in flush.next_offsets.items():
            at = self._at[place]
            at.stored, at.anchor = offset, None
        self._clear()


def anchor_hash(value: bytes | None) -> str:
    """Tells one record from another; a tombstone is no empty value."""
    return hashlib.sha256(b"\0" if value is None else b"\1" + value).hexdigest()[:32]


def _move(place: Place, at: _At) -> Move:
    offset, digest = (at.anchor[0], anchor_hash(at.anchor[1])) if at.anchor else (None, None)
    return Move(
        topic=place[0],
        partition=place[1],
        topic_id=at.topic_id,
        expected=at.stored,
        next=at.reached,
        leader_epoch=at.epoch,
        event_us=at.event_us,
        anchor_offset=offset,
        anchor_hash=digest,
    )


def _from(raw: RawBatch, offset: int) -> RawBatch:
    low = int(np.searchsorted(raw.offsets, offset))
    return RawBatch(
        topic=raw.topic,
        partition=raw.partition,
        offsets=raw.offsets[low:],
        values=raw.values[low:],
        timestamps=None if raw.timestamps is None else raw.timestamps[low:],
    )
