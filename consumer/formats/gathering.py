"""Put together what the chunks of some RawBatches became: columns, single events, unreadable records, and the ignored.

The batches are of one topic, mostly what one read brought of its partitions; their records are numbered as one list, so
that what is dear by the step is done for all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias, cast

import numpy as np

from consumer.formats.columns import ABSENT, NULL, Column, Doubt, Leaves, Mask, Part, Rows, broker_times, decide
from consumer.formats.contract import CHUNK_BYTES, CHUNK_RECORDS, MAX_RECORD_BYTES
from consumer.formats.key_columns import PADDING
from consumer.formats.paths import Path
from consumer.formats.plan import Plan
from consumer.formats.records import Event, Find, judge
from schemas.errors import BadRecord
from schemas.events import MAX_KEPT, NO_NUMBER, NO_TIME, Bytes8, Decoded, EventBatch, Int64s, RawBatch, Unreadable
from schemas.keys import key_type

#: Rows of the list, keys, ops, times.
Piece: TypeAlias = tuple[Rows, Column, Bytes8, Int64s]
#: How to look into one record; None where it is ignored by rule. Raises BadRecord.
Open: TypeAlias = Callable[[bytes], Find | None]
REASON_LENGTH = 200
INT = key_type("int")


class Gathering:
    """Collects for some batches of one topic. `strict`: see `records.judge`."""

    def __init__(self, batches: Sequence[RawBatch], plans: Sequence[Plan], *, strict: bool) -> None:
        self.batches, self.plans, self.strict = batches, plans, strict
        self.values: Sequence[bytes | None] = batches[0].values if len(batches) == 1 else _all_values(batches)
        self._begins = [0, *accumulate(map(len, batches))]  #: the first row of each batch, and the end
        self.broker_us = broker_times(_all_stamps(batches))
        self.touched: Mask = np.zeros(len(self.values), np.bool_)
        self._refused: list[tuple[int, str]] = []
        self.sequence = plans[0].sequence if plans else None
        self.numbers = np.full(len(self.values), NO_NUMBER) if self.sequence is not None else None
        self._pieces: list[list[Piece]] = [[] for _ in plans]
        self._events: list[list[tuple[int, Event]]] = [[] for _ in plans]

    def columns(self, leaves: Leaves, rows: Rows, bad: Mask | None, elsewhere: Mask | None = None) -> Rows:
        """Judge a chunk column-wise; gives the rows that have to be read one by one.

        Records that are judged `elsewhere` count here in no way.
        """
        doubt = Doubt(leaves.count)
        doubt.add(bad)
        doubt.add(elsewhere)
        broker = None if self.broker_us is None else self.broker_us[rows]
        parts = [decide(plan, leaves, broker, doubt, strict=self.strict) for plan in self.plans]
        if self.numbers is not None and self.sequence is not None:
            self.numbers[rows] = _numbers(leaves, self.sequence, doubt)
        for pieces, part in zip(self._pieces, parts, strict=True):
            if part is not None:
                self._take(pieces, _sure(part, doubt), rows)
        if doubt.mask is None:
            return rows[:0]
        return rows[doubt.mask if elsewhere is None else doubt.mask & ~elsewhere]

    def _take(self, pieces: list[Piece], part: Part, rows: Rows) -> None:
        mine = rows if part.rows is None else rows[part.rows]
        if len(mine) and mine[-1] - mine[0] == len(mine) - 1:  # all of a stretch: rows ascend
            self.touched[mine[0] : mine[-1] + 1] = True
        else:
            self.touched[mine] = True
        pieces.append((mine, part.keys, part.ops, part.times))

    def record(self, row: int, open_record: Open) -> None:
        """Judge one record by itself, for all routes. What one route can read stays, whatever another makes of it."""
        value = self.values[row]
        assert value is not None
        try:
            if len(value) > MAX_RECORD_BYTES:
                raise BadRecord(f"the record is {len(value)} bytes long; at most {MAX_RECORD_BYTES} are read")
            find = open_record(value)
        except BadRecord as error:
            self.refuse(row, str(error))
            return
        if find is not None:
            self._judge(row, find)

    def _judge(self, row: int, find: Find) -> None:
        if self.numbers is not None and self.sequence is not None:
            self.numbers[row] = _number(find, self.sequence)
        broker = NO_TIME if self.broker_us is None else int(self.broker_us[row])
        reason = None
        for events, plan in zip(self._events, self.plans, strict=True):
            try:
                found = judge(plan, find, broker, strict=self.strict)
            except BadRecord as error:
                reason = reason or str(error)
                continue
            events.extend((row, event) for event in found)
            self.touched[row] |= bool(found)
        if reason is not None:
            self.refuse(row, reason)

    def refuse(self, row: int, reason: str) -> None:
        self._refused.append((row, reason))

    @property
    def refused(self) -> int:
        return len(self._refused)

    def _unreadable(self) -> Iterator[Unreadable]:
        """The refused records, in order."""
        self._refused.sort()
        rows = np.array([row for row, _ in self._refused], np.int64)
        cuts = np.searchsorted(rows, self._begins).tolist()
        for batch, begin, low, high in zip(self.batches, self._begins, cuts, cuts[1:], strict=False):
            offsets = np.asarray(batch.offsets, np.int64)[rows[low:high] - begin].tolist()
            for (row, reason), offset in zip(self._refused[low:high], offsets, strict=True):
                value = self.values[row]
                kept, size = (None, 0) if value is None else (value[:MAX_KEPT], len(value))
                yield Unreadable(batch.topic, batch.partition, offset, reason[:REASON_LENGTH], kept, size)

    def finish(self) -> Decoded:
        batches: list[EventBatch] = []
        for plan, pieces, events in zip(self.plans, self._pieces, self._events, strict=True):
            if pieces or events:
                batches += self._batches(plan, _joined([*pieces, *_single(plan, events)]))
        self.touched[[row for row, _ in self._refused]] = True
        unreadable = list(self._unreadable())
        ignored = len(self.values) - int(np.count_nonzero(self.touched))
        if self.numbers is None:
            return Decoded(batches=batches, unreadable=unreadable, ignored=ignored)
        told = self.numbers != NO_NUMBER
        return Decoded(
            batches=batches,
            unreadable=unreadable,
            ignored=ignored,
            numbers=self.numbers[told],
            unnumbered=int(np.count_nonzero(self.touched & ~told)),
        )

    def _batches(self, plan: Plan, piece: Piece) -> Iterator[EventBatch]:
        """The events of one route in order, batch by batch."""
        rows, keys, ops, times = piece
        if len(rows) > 1 and not (rows[:-1] <= rows[1:]).all():
            order = np.argsort(rows, kind="stable")  # stable: a key change keeps its deletion first
            rows, keys, ops, times = rows[order], keys[order], ops[order], times[order]
        cuts = np.searchsorted(rows, self._begins).tolist()
        for batch, begin, low, high in zip(self.batches, self._begins, cuts, cuts[1:], strict=False):
            if low < high:
                yield EventBatch(
                    data_type=plan.name,
                    topic=batch.topic,
                    partition=batch.partition,
                    keys=keys[low:high],
                    ops=ops[low:high],
                    times=times[low:high],
                    offsets=np.asarray(batch.offsets, np.int64)[rows[low:high] - begin],
                )


def _all_values(batches: Sequence[RawBatch]) -> list[bytes | None]:
    values: list[bytes | None] = []
    for batch in batches:
        values.extend(batch.values)
    return values


def _all_stamps(batches: Sequence[RawBatch]) -> Int64s | None:
    stamps = [batch.timestamps for batch in batches if batch.timestamps is not None]
    return np.concatenate(stamps) if len(stamps) == len(batches) else None


def _numbers(leaves: Leaves, path: Path, doubt: Doubt) -> Int64s:
    """The number of each record, NO_NUMBER where it tells none. What may be one in another dress is left to doubt.

    A record in doubt has none yet: its columns may hold a neighbour's.
    """
    found, unsure = leaves.key((path,), INT, None)
    none = found < 0
    if unsure is not None:
        silent = leaves.codes(path, ())
        doubt.add(unsure & (silent != NULL) & (silent != ABSENT))
        none |= unsure
    if doubt.mask is not None:
        none |= doubt.mask
    return np.where(none, NO_NUMBER, found)


def _number(find: Find, path: Path) -> int:
    """The same of one record: read as an integer key is. One that is odd is no reason to set the record aside."""
    try:
        value = INT.canonical(find(path))
    except BadRecord:
        return NO_NUMBER
    return value if isinstance(value, int) and value >= 0 else NO_NUMBER


def _sure(part: Part, doubt: Doubt) -> Part:
    """Without the records in doubt."""
    if doubt.mask is None:
        return part
    keep = ~(doubt.mask if part.rows is None else doubt.mask[part.rows])
    rows = np.flatnonzero(keep) if part.rows is None else part.rows[keep]
    return Part(rows, part.keys[keep], part.ops[keep], part.times[keep])


def _single(plan: Plan, events: list[tuple[int, Event]]) -> list[Piece]:
    if not events:
        return []
    return [
        (
            np.array([row for row, _ in events], np.int64),
            plan.key_type.column([event.key for _, event in events]),
            np.array([int(event.op) for _, event in events], np.uint8),
            np.array([event.time for _, event in events], np.int64),
        )
    ]


def _joined(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    rows, keys, ops, times = zip(*pieces, strict=True)
    return np.concatenate(rows), np.concatenate(keys), np.concatenate(ops), np.concatenate(times)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records: their rows, their bytes (joined, with PADDING behind), where each ends."""

    rows: Rows
    values: list[bytes]
    joined: bytes
    lengths: Int64s


def chunks(values: Sequence[bytes | None]) -> Iterator[Chunk]:
    """The records in steps of bounded count and size, without tombstones."""
    for begin in range(0, len(values), CHUNK_RECORDS):
        part = list(values[begin : begin + CHUNK_RECORDS])
        rows = np.arange(begin, begin + len(part))
        try:
            yield from _sized(rows, cast("list[bytes]", part))
        except TypeError:  # len(None): asking each record beforehand would cost more than this
            kept = [value for value in part if value is not None]
            yield from _sized(rows[[value is not None for value in part]], kept)


def picked(values: Sequence[bytes | None], rows: Rows) -> Iterator[Chunk]:
    """Some of the records, none of them a tombstone, in steps of bounded count and size."""
    for begin in range(0, len(rows), CHUNK_RECORDS):
        some = rows[begin : begin + CHUNK_RECORDS]
        yield from _sized(some, [cast("bytes", values[row]) for row in some.tolist()])


def _sized(rows: Rows, values: list[bytes]) -> Iterator[Chunk]:
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    if lengths.sum() > CHUNK_BYTES and len(values) > 1:
        half = len(values) // 2
        yield from _sized(rows[:half], values[:half])
        yield from _sized(rows[half:], values[half:])
    elif values:
        values.append(PADDING)
        joined = b"".join(values)
        values.pop()
        yield Chunk(rows, values, joined, lengths)
