"""Put together what the chunks of one RawBatch became: columns, single events, unreadable records, and the ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np

from consumer.formats.columns import ABSENT, NULL, Column, Doubt, Leaves, Mask, Part, Rows, broker_times, decide
from consumer.formats.contract import CHUNK_BYTES, CHUNK_RECORDS, MAX_RECORD_BYTES
from consumer.formats.key_columns import PADDING
from consumer.formats.paths import Path
from consumer.formats.plan import Plan
from consumer.formats.records import Event, Find, judge
from schemas.errors import BadRecord
from schemas.events import NO_NUMBER, NO_TIME, Bytes8, Decoded, EventBatch, Int64s, RawBatch, Unreadable
from schemas.keys import key_type

#: Rows of the batch, keys, ops, times.
Piece: TypeAlias = tuple[Rows, Column, Bytes8, Int64s]
#: How to look into one record; None where it is ignored by rule. Raises BadRecord.
Open: TypeAlias = Callable[[bytes], Find | None]
REASON_LENGTH = 200
INT = key_type("int")


class Gathering:
    """Collects for one batch. `strict`: see `records.judge`."""

    def __init__(self, batch: RawBatch, plans: Sequence[Plan], *, strict: bool) -> None:
        self.batch, self.plans, self.strict = batch, plans, strict
        self.offsets = np.asarray(batch.offsets, np.int64)
        self.broker_us = broker_times(batch.timestamps)
        self.touched: Mask = np.zeros(len(batch), np.bool_)
        self.unreadable: list[Unreadable] = []
        self.sequence = plans[0].sequence if plans else None
        self.numbers = np.full(len(batch), NO_NUMBER) if self.sequence is not None else None
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
        value = self.batch.values[row]
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
        value = self.batch.values[row]
        self.touched[row] = True
        self.unreadable.append(
            Unreadable(
                topic=self.batch.topic,
                partition=self.batch.partition,
                offset=int(self.offsets[row]),
                reason=reason[:REASON_LENGTH],
                value=None if value is None else value[: Unreadable.MAX_KEPT],
                size=0 if value is None else len(value),
            )
        )

    def finish(self) -> Decoded:
        batches = [
            self._batch(plan, pieces, events)
            for plan, pieces, events in zip(self.plans, self._pieces, self._events, strict=True)
            if pieces or events
        ]
        self.unreadable.sort(key=lambda record: record.offset)
        ignored = len(self.batch) - int(np.count_nonzero(self.touched))
        if self.numbers is None:
            return Decoded(batches=batches, unreadable=self.unreadable, ignored=ignored)
        told = self.numbers != NO_NUMBER
        return Decoded(
            batches=batches,
            unreadable=self.unreadable,
            ignored=ignored,
            numbers=self.numbers[told],
            unnumbered=int(np.count_nonzero(self.touched & ~told)),
        )

    def _batch(self, plan: Plan, pieces: list[Piece], events: list[tuple[int, Event]]) -> EventBatch:
        rows, keys, ops, times = _joined([*pieces, *_single(plan, events)])
        if len(rows) > 1 and not (rows[:-1] <= rows[1:]).all():
            order = np.argsort(rows, kind="stable")  # stable: a key change keeps its deletion first
            rows, keys, ops, times = rows[order], keys[order], ops[order], times[order]
        return EventBatch(
            data_type=plan.name,
            topic=self.batch.topic,
            partition=self.batch.partition,
            keys=keys,
            ops=ops,
            times=times,
            offsets=self.offsets[rows],
        )


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
    """Some records of a batch: their rows, their bytes (joined, with PADDING behind), where each ends."""

    rows: Rows
    values: list[bytes]
    joined: bytes
    lengths: Int64s


def chunks(batch: RawBatch) -> Iterator[Chunk]:
    """The records in steps of bounded count and size, without tombstones."""
    for begin in range(0, len(batch), CHUNK_RECORDS):
        part = list(batch.values[begin : begin + CHUNK_RECORDS])
        rows = np.arange(begin, begin + len(part))
        try:
            yield from _sized(rows, cast("list[bytes]", part))
        except TypeError:  # len(None): asking each record beforehand would cost more than this
            kept = [value for value in part if value is not None]
            yield from _sized(rows[[value is not None for value in part]], kept)


def picked(batch: RawBatch, rows: Rows) -> Iterator[Chunk]:
    """Some of the records, none of them a tombstone, in steps of bounded count and size."""
    for begin in range(0, len(rows), CHUNK_RECORDS):
        some = rows[begin : begin + CHUNK_RECORDS]
        yield from _sized(some, [cast("bytes", batch.values[row]) for row in some.tolist()])


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
