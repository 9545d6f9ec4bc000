"""Find the last event about each of some keys again, where it stands in the log: evidence, and order where it was unsure.

The ledger knows which segments speak of a key and which offsets those were read from; only these are read again, within
bounds on records and time. A key is told only when everything that may speak of it was read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from consumer.formats.contract import Decoder
from consumer.routes import opened_decoders
from consumer.session import READ_RECORDS, kafka
from consumer.streams.contract import EventStream, Place, StreamFactory
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import SettingsError
from schemas.events import NO_TIME, EventBatch, Op, RawBatch
from schemas.keys import Key, KeySet, KeyType
from schemas.log_state import Located
from schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be read again."""

    records: int = 2_000_000
    seconds: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A segment that speaks of some of the keys, and the offsets it was read from."""

    number: int
    keys: KeySet
    offsets: Mapping[Place, tuple[int, int]]

    @property
    def records(self) -> int:
        return sum(end - first for first, end in self.offsets.values())


def locate(
    settings: Settings,
    ledger: Ledger,
    key_types: Mapping[str, KeyType],
    name: str,
    keys: KeySet,
    limits: Limits | None = None,
    *,
    streams: StreamFactory | None = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> dict[Key, Located]:
    """The last event per key. Keys the ledger never heard of, whose records are gone, or that the limits leave out, are
    not in the answer. `sure` is False where partitions tie."""
    limits = limits or Limits()
    key_type = key_types[name]
    spoken = _spoken(ledger, name, key_type, keys)
    chosen, wanted = within(spoken, key_type, limits.records)
    if not chosen or not len(wanted):
        return {}
    ranges = joined(chosen)
    topics = sorted({topic for topic, _ in ranges})
    found = _Found(wanted)
    with opened_decoders(settings, key_types, topics, decoders) as decode:
        open_stream = streams or kafka(settings)
        missed = _read(open_stream, ranges, decode, name, found, time.monotonic() + limits.seconds)
    for segment in chosen:
        if missed & {*segment.offsets}:
            wanted = wanted - segment.keys
    return {key: last for key, last in found.last().items() if key in wanted}


# -- what to read -----------------------------------------------------------------------------------------------------


def _spoken(ledger: Ledger, name: str, key_type: KeyType, keys: KeySet) -> list[Spoken]:
    """Newest first. Segments of a topic that was recreated after them are passed over: their offsets mean nothing now."""
    if not len(keys):
        return []
    k, s, h = tables.segment_keys, tables.segment, tables.hole
    newest = sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()
    query = (
        sa.select(k.c.first_number, k.c["keys"], s.c.offsets, s.c.at)
        .join(s, sa.and_(s.c.incarnation == k.c.incarnation, s.c.data_type == k.c.data_type,
                         s.c.first_number == k.c.first_number))
        # Not those whose records nobody knows the place of: their keys are the bulk of an old ledger.
        .where(k.c.incarnation == newest, k.c.data_type == name, sa.cast(s.c.offsets, sa.Text) != "{}")
        .where(k.c.low <= key_type.bound(keys.max()), k.c.high >= key_type.bound(keys.min()))
        .order_by(k.c.first_number.desc())
    )  # fmt: skip
    recreated = (
        sa.select(h.c.topic, h.c.partition, sa.func.max(h.c.at))
        .where(h.c.incarnation == newest, h.c.kind == "recreated")
        .group_by(h.c.topic, h.c.partition)
    )
    with ledger.begin("read where the log announced") as db:
        again = {(topic, partition): at for topic, partition, at in db.execute(recreated)}
        out: dict[int, Spoken] = {}
        # A few at a time: where keys come in no order, every segment may speak of some, and that is the whole ledger.
        for number, data, offsets, read_at in ledger.stream(db, query, 4):
            hit = keys & key_type.parse(bytes(data))
            if not len(hit):
                continue
            places = {(t, int(p)): span for t, ps in offsets.items() for p, span in ps.items()}
            live = {p: (low, end) for p, (low, end) in places.items() if p not in again or read_at > again[p]}
            before = out.get(number)
            hit = hit if before is None else before.keys | hit
            out[number] = Spoken(number=number, keys=hit, offsets=live)
    return list(out.values())


def within(spoken: Sequence[Spoken], key_type: KeyType, records: int) -> tuple[list[Spoken], KeySet]:
    """The newest segments that fit, and the keys that no segment left out speaks of. Pure."""
    chosen: list[Spoken] = []
    wanted, left_out = key_type.empty(), key_type.empty()
    for segment in spoken:
        if segment.records <= records and segment.offsets:
            records -= segment.records
            chosen.append(segment)
            wanted = wanted | segment.keys
        elif segment.offsets:
            left_out = left_out | segment.keys
    return chosen, wanted - left_out


def joined(chosen: Sequence[Spoken]) -> dict[Place, list[tuple[int, int]]]:
    """Per place, ranges in order, those that touch or overlap as one. Pure."""
    out: dict[Place, list[tuple[int, int]]] = {}
    every = sorted((place, span) for segment in chosen for place, span in segment.offsets.items())
    for place, (first, end) in every:
        ranges = out.setdefault(place, [])
        if ranges and first <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
        else:
            ranges.append((first, end))
    return out


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(
    open_stream: StreamFactory,
    ranges: Mapping[Place, list[tuple[int, int]]],
    decoders: Mapping[str, Decoder],
    name: str,
    found: _Found,
    deadline: float,
) -> set[Place]:
    """Read the ranges, the k-th of all places at once; the places where something could not be read."""
    missed: set[Place] = set()
    topics = sorted({topic for topic, _ in ranges})
    for step in range(max(map(len, ranges.values()))):
        at = {place: spans[step] for place, spans in ranges.items() if step < len(spans)}
        # A client of its own for each step, with the broker's timestamps, which break ties: assigned twice in a short
        # time, a client may raise a false alarm.
        with closing(open_stream(topics)) as stream:
            try:
                stream.shape(topics)
            except SettingsError:
                return set(ranges)  # a topic is gone
            for batch in _records(stream, at, missed, deadline):
                for events in decoders[batch.topic].decode(batch).batches:
                    if events.data_type == name:
                        found.take(events, batch)
    return missed


def _records(
    stream: EventStream, at: Mapping[Place, tuple[int, int]], missed: set[Place], deadline: float
) -> Iterator[RawBatch]:
    stream.assign({place: first for place, (first, _) in at.items()})
    left = {place: end for place, (_, end) in at.items()}
    reached = {place: first for place, (first, _) in at.items()}
    while left:
        if time.monotonic() > deadline:
            missed.update(left)
            return
        # Asking for more than there is would end the last read by waiting for what will not come.
        wanted = sum(end - reached[place] for place, end in left.items())
        reading = stream.read(min(READ_RECORDS, max(wanted, 1)), 0.1)
        for raw in reading.batches:
            place = (raw.topic, raw.partition)
            if place in left:
                yield raw
                reached[place] = int(raw.offsets[-1]) + 1
                if reached[place] >= left[place]:
                    del left[place]
        for place in {*reading.broken, *reading.corrupt} & left.keys():
            missed.add(place)
            del left[place]
        for place in reading.ends.keys() & left.keys():
            del left[place]


class _Found:
    """The last event per key and place, kept as columns until the end."""

    def __init__(self, wanted: KeySet) -> None:
        self.wanted = wanted.column()
        self.best: dict[Key, dict[Place, tuple[int, int, int, int]]] = {}

    def take(self, events: EventBatch, raw: RawBatch) -> None:
        for i in np.flatnonzero(np.isin(events.keys, self.wanted)).tolist():
            key: Any = events.keys[i].item()
            offset = int(events.offsets[i])
            stamp = -1 if raw.timestamps is None else int(raw.timestamps[np.searchsorted(raw.offsets, offset)])
            # Later entries of one offset overwrite earlier ones: a key change deletes first.
            place = (events.topic, events.partition)
            self.best.setdefault(key, {})[place] = (offset, int(events.times[i]), int(events.ops[i]), stamp)

    def last(self) -> dict[Key, Located]:
        return {key: last_of(places) for key, places in self.best.items()}


def last_of(places: Mapping[Place, tuple[int, int, int, int]]) -> Located:
    """Of the last events per place (offset, time, op, broker's ms): the last of all, by event time, then the broker's.

    Where partitions disagree and a time is unknown or both times tie, nobody is sure. Pure.
    """
    undated = any(time_us == NO_TIME for _, time_us, _, _ in places.values())

    def order(entry: tuple[int, int, int, int]) -> tuple[int, int]:
        return (0 if undated else entry[1], entry[3])

    place = max(places, key=lambda p: order(places[p]))
    offset, time_us, op, stamp = places[place]
    rivals = [e for e in places.values() if e[2] != op and (order(e) == order(places[place]) or (undated and stamp < 0))]
    return Located(
        topic=place[0],
        partition=place[1],
        offset=offset,
        time_us=None if time_us == NO_TIME else time_us,
        op=Op(op),
        broker_ms=None if stamp < 0 else stamp,
        sure=not rivals,
    )
