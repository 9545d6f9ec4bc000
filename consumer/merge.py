"""Merge contiguous segments, by count, hour and day, and retire the low end.

Readers and trackers go on meanwhile: a merge is one transaction that replaces rows, appending never touches rows below
the newest, and of several mergers one works and the others pass by. Memory is bounded by `MERGE_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from consumer.ledger import lock_number, write_keys
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.announced import Announced, fold
from schemas.keys import KeySet, KeyType
from schemas.ledger import Said

segment, segment_keys, coverage = tables.segment, tables.segment_keys, tables.coverage

#: More flush segments than this, and the oldest are merged before their hour is over.
FLUSHES_KEPT = 64
FLUSHES_LEFT = 16
#: Parts of a merge hold no more than this in the ledger's form; larger runs stay apart.
MERGE_BYTES = 48 << 20

FLUSH, HOUR, DAY = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A segment's row, without its keys."""

    first: int
    last: int
    level: int
    events: int
    first_us: int | None
    last_us: int | None
    offsets: dict[str, dict[str, list[int]]]
    at: datetime
    size: int


def tidy(ledger: Ledger, incarnation: int, key_types: Mapping[str, KeyType], keep: timedelta) -> int:
    """Merge and retire what is due, each step in a transaction of its own; how many segments went away."""
    return sum(_tidy(ledger, incarnation, name, key_type, keep) for name, key_type in sorted(key_types.items()))


def _tidy(ledger: Ledger, incarnation: int, name: str, key_type: KeyType, keep: timedelta) -> int:
    gone = 0
    while True:
        with ledger.begin("merge segments") as db:
            if not _alone(db, ledger.schema, name):
                return gone
            now: datetime = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            parts = _parts(db, incarnation, name)
            old = retired(parts, now - keep)
            if old:
                _retire(db, incarnation, name, old)
                gone += len(old)
                continue
            run = due(parts, now)
            if not run:
                return gone
            _merge(db, incarnation, name, key_type, run, ordered=_one_partition(parts))
            gone += len(run) - 1


def _alone(db: sa.Connection, schema: str, name: str) -> bool:
    lock = sa.func.pg_try_advisory_xact_lock(lock_number("merge", schema, name))
    return bool(db.execute(sa.select(lock)).scalar_one())


def _parts(db: sa.Connection, incarnation: int, name: str) -> list[Part]:
    size = (
        sa.select(sa.func.coalesce(sa.func.sum(sa.func.octet_length(segment_keys.c["keys"])), 0))
        .where(
            segment_keys.c.incarnation == segment.c.incarnation,
            segment_keys.c.data_type == segment.c.data_type,
            segment_keys.c.first_number == segment.c.first_number,
        )
        .scalar_subquery()
    )
    rows = db.execute(
        sa.select(segment, size.label("size"))
        .where(segment.c.incarnation == incarnation, segment.c.data_type == name)
        .order_by(segment.c.first_number)
    )
    return [
        Part(
            first=r.first_number, last=r.last_number, level=r.level, events=r.events, first_us=r.first_us,
            last_us=r.last_us, offsets=r.offsets, at=r.at, size=int(r.size),
        )
        for r in rows
    ]  # fmt: skip


# -- deciding: pure ---------------------------------------------------------------------------------------------------


def due(parts: Sequence[Part], now: datetime) -> list[Part]:
    """The first run of neighbours that should become one segment, or nothing."""
    hour, day = now.replace(minute=0, second=0, microsecond=0), now.replace(hour=0, minute=0, second=0, microsecond=0)
    for run in _runs([p for p in parts if p.level < DAY and p.at < day], _day):
        return run
    for run in _runs([p for p in parts if p.level < DAY and p.at < hour], _hour):
        return run
    flushes = [p for p in parts if p.level == FLUSH]
    if len(flushes) > FLUSHES_KEPT:
        for run in _runs(flushes[:-FLUSHES_LEFT], lambda _: 0):
            return run
    return []


def _day(part: Part) -> Any:
    return part.at.date()


def _hour(part: Part) -> Any:
    return part.at.replace(minute=0, second=0, microsecond=0)


def _runs(chosen: Sequence[Part], key: Any) -> Iterator[list[Part]]:
    """Runs of at least two contiguous parts of one key whose offsets go on, within the bound on memory."""
    run: list[Part] = []
    size, ends = 0, dict[tuple[str, str], int]()
    for part in chosen:
        begins = {(t, p): first for t, places in part.offsets.items() for p, (first, _) in places.items()}
        # Offsets fall where a topic was recreated or a record was read again: such parts stay apart.
        goes_on = all(first >= ends.get(place, 0) for place, first in begins.items())
        if run and (
            part.first != run[-1].last + 1 or key(part) != key(run[-1]) or not goes_on or size + part.size > MERGE_BYTES
        ):
            if len(run) > 1:
                yield run
            run, size, ends = [], 0, {}
        run.append(part)
        size += part.size
        ends |= {(t, p): end for t, places in part.offsets.items() for p, (_, end) in places.items()}
    if len(run) > 1:
        yield run


def retired(parts: Sequence[Part], before: datetime) -> list[Part]:
    """The parts at the low end that are past keeping, by when they were read and by the times they tell."""
    before_us = int(before.timestamp() * 1_000_000)
    out: list[Part] = []
    for part in parts:
        if part.at >= before or (part.last_us is not None and part.last_us >= before_us):
            break
        out.append(part)
    return out


def _one_partition(parts: Sequence[Part]) -> bool:
    return len({(t, p) for part in parts for t, places in part.offsets.items() for p in places}) == 1


# -- doing ------------------------------------------------------------------------------------------------------------


def _merge(db: sa.Connection, incarnation: int, name: str, key_type: KeyType, run: Sequence[Part], *, ordered: bool) -> None:
    said = fold(key_type, [_read(db, incarnation, name, key_type, part) for part in run], ordered=ordered)
    undated = any(part.first_us is None for part in run)
    chosen = segment.c.first_number.between(run[0].first, run[-1].first)
    db.execute(sa.delete(segment).where(segment.c.incarnation == incarnation, segment.c.data_type == name, chosen))
    level = DAY if all(p.level == HOUR for p in run) else min(DAY, max(HOUR, *(p.level for p in run)))
    db.execute(
        sa.insert(segment).values(
            incarnation=incarnation,
            data_type=name,
            first_number=run[0].first,
            last_number=run[-1].last,
            level=level,
            events=sum(p.events for p in run),
            # A span that leaves an undated part out would claim an order that nobody can show.
            first_us=None if undated else said.first_us,
            last_us=None if undated else said.last_us,
            offsets=_joined(run),
            at=max(p.at for p in run),
        )
    )
    write_keys(db, incarnation, name, run[0].first, said, key_type)


def _read(db: sa.Connection, incarnation: int, name: str, key_type: KeyType, part: Part) -> Announced:
    rows = db.execute(
        sa.select(segment_keys.c.said, segment_keys.c["keys"]).where(
            segment_keys.c.incarnation == incarnation,
            segment_keys.c.data_type == name,
            segment_keys.c.first_number == part.first,
        )
    )
    sets: dict[str, KeySet] = {str(said): key_type.empty() for said in Said}
    for said, data in rows:
        sets[said] = sets[said] | key_type.parse(bytes(data))
    return Announced(**sets, first_us=part.first_us, last_us=part.last_us)


def _joined(run: Sequence[Part]) -> dict[str, dict[str, list[int]]]:
    out: dict[str, dict[str, list[int]]] = {}
    for part in run:
        for topic, places in part.offsets.items():
            for partition, (first, end) in places.items():
                span = out.setdefault(topic, {}).setdefault(partition, [first, end])
                span[0], span[1] = min(span[0], first), max(span[1], end)
    return out


def _retire(db: sa.Connection, incarnation: int, name: str, old: Sequence[Part]) -> None:
    """Forget the low end. What coverage said about that time is forgotten with it: silence there means nothing now."""
    where = (segment.c.incarnation == incarnation, segment.c.data_type == name)
    db.execute(sa.delete(segment).where(*where, segment.c.first_number <= old[-1].first))
    ends = [p.last_us if p.last_us is not None else int(p.at.timestamp() * 1_000_000) for p in old]
    after = max(ends) + 1
    db.execute(
        sa.update(coverage)
        .where(coverage.c.incarnation == incarnation, coverage.c.data_type == name)
        .values(first_us=sa.func.greatest(coverage.c.first_us, after))
    )
