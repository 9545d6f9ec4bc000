"""Judge which numbers of events are missing, of those that `consumer.numbered` stored. An estimate, never a verdict.

A number is missing where a higher one was read, and `settle` and `GRACE` later all partitions of the numbering were read to
their ends without it. Until then it is open: a late commit, or another partition, may bring it. Judgement begins where all
partitions were first read to their ends; and anew after any break, for nobody knows what the numbers in a hole were.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from consumer import sequences, totals
from consumer.ledger import lock_number
from consumer.sequences import MAX_RANGES, NONE, Gaps, Ranges
from consumer.streams.contract import Place
from databases.ledger import Ledger
from schemas import sequence_ledger as tables
from schemas.int_keys import IntKeys
from schemas.ledger import position
from schemas.metrics import SEQUENCE_JUDGED, SEQUENCE_LATE, SEQUENCE_MISSING
from schemas.numbering import GRACE, Numbering

log = logging.getLogger("fencepost.tracker")

seen, place, state, hours = tables.sequence_seen, tables.sequence_place, tables.sequence, tables.sequence_hour
#: What could not be judged for so long (a partition that is never read to its end) is given up, so that the ledger stays small.
UNJUDGED = timedelta(hours=24)
#: Ranges are kept for a day, their counts for eight.
RANGES_KEPT, HOURS_KEPT = timedelta(hours=24), timedelta(days=8)
#: Open numbers are counted over so many blocks; more are told as not counted.
OPEN_BLOCKS, OPEN_RANGES = 64, 100
_NOW = sa.func.clock_timestamp()
#: How many numbers may come yet (None: too many to be counted), and the lowest of them.
Open: TypeAlias = tuple[int | None, Ranges]


def judge(
    ledger: Ledger, incarnation: int, about: Collection[Numbering], ended: Mapping[Place, int], grace: timedelta = GRACE
) -> None:
    """Judge what is due of each numbering. `ended`: places just read to their ends, and the offsets of those."""
    topics = {topic for numbering in about for topic in numbering.topics}
    mine = {where: end for where, end in ended.items() if where[0] in topics}
    if mine:
        with ledger.begin("tell which partitions were read to their ends") as db:
            for (topic, partition), end in sorted(mine.items()):
                _mark_ended(db, incarnation, topic, partition, end)
    for numbering in about:
        with ledger.begin("judge the numbers of events") as db:
            lock = sa.func.pg_try_advisory_xact_lock(lock_number("sequence", ledger.schema, numbering.name))
            if db.execute(sa.select(lock)).scalar_one():
                _Judging(db, incarnation, numbering, grace).run()


def _mark_ended(db: sa.Connection, incarnation: int, topic: str, partition: int, end: int) -> None:
    columns = [position.c.incarnation, position.c.topic, position.c.partition, position.c.next_offset, _NOW, _NOW]
    stored = sa.select(*columns).where(
        position.c.incarnation == incarnation,
        position.c.topic == topic,
        position.c.partition == partition,
        position.c.next_offset >= end,
    )
    marking = insert(place).from_select(["incarnation", "topic", "partition", "next_offset", "since", "ended_at"], stored)
    new = marking.excluded
    db.execute(
        marking.on_conflict_do_update(
            index_elements=list(place.primary_key),
            set_={
                "since": sa.case((place.c.next_offset < new.next_offset, new.since), else_=place.c.since),
                "next_offset": sa.func.greatest(place.c.next_offset, new.next_offset),
                "ended_at": new.ended_at,
            },
        )
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Numbers of one flush and block, without the numbers."""

    id: int
    block: int
    low: int
    high: int
    at: datetime


class _Judging:
    """One numbering, in one transaction that nobody else judges it in. Rows that come meanwhile are the next one's."""

    def __init__(self, db: sa.Connection, incarnation: int, numbering: Numbering, grace: timedelta) -> None:
        self.db, self.incarnation, self.numbering = db, incarnation, numbering
        self.now: datetime = db.execute(sa.select(_NOW)).scalar_one()
        self.grace = grace + numbering.settle
        self.rows = [_Row(*row) for row in db.execute(
            sa.select(seen.c.id, seen.c.block, seen.c.low, seen.c.high, seen.c.at).where(*self._mine(seen)).order_by(seen.c.id)
        )]  # fmt: skip

    def _mine(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        return table.c.incarnation == self.incarnation, table.c.numbering == self.numbering.name

    def run(self) -> None:
        since, through = self._places()
        known = self.db.execute(sa.select(state).where(*self._mine(state))).one_or_none()
        if known is not None and (since is None or since > known.begun_at):
            self.db.execute(sa.delete(state).where(*self._mine(state)))
            known = None
        high = max((row.high for row in self.rows), default=None)
        if known is None:
            if through is not None and high is not None:
                self._stand(floor=high, high=high, begun_at=self.now, open_=(0, NONE))
                self._forget(high)
        else:
            self._late(known.floor)
            floor = self._settle(known.floor, through)
            high = max(known.high, floor, high or 0)
            self._stand(floor=floor, high=high, begun_at=known.begun_at, open_=self._open(floor))
            self._forget(floor)
        self._retire()

    def _places(self) -> tuple[datetime | None, datetime | None]:
        """Since when all partitions have been followed without a break; and until when all are known to have been read to
        their ends since. None where one never was."""
        p, q = place.c, position.c
        same = sa.and_(p.incarnation == q.incarnation, p.topic == q.topic, p.partition == q.partition)
        rows = self.db.execute(
            sa.select(q.topic, p.since, p.ended_at)
            .select_from(position.outerjoin(place, same))
            .where(q.incarnation == self.incarnation, q.topic.in_(self.numbering.topics))
        ).all()
        if {row.topic for row in rows} != {*self.numbering.topics} or any(row.since is None for row in rows):
            return None, None
        since = max(row.since for row in rows)
        if any(row.ended_at is None or row.ended_at < row.since for row in rows):
            return since, None
        return since, min(row.ended_at for row in rows)

    def _settle(self, floor: int, through: datetime | None) -> int:
        """Judge what is older than settle and grace; gives the new floor."""
        if through is None:
            return floor
        due = max((row.high for row in self.rows if row.at <= through - self.grace), default=floor)
        if due <= floor:
            return floor
        found = sequences.summed(self._missing(floor + 1, due), MAX_RANGES, newest=True)
        self._add(due - floor - found.leapt, found)
        if found.count:
            told = [[int(a), int(b)] for a, b in found.ranges[-5:]]
            about = {"event": "sequence_missing", "numbering": self.numbering.name, "count": found.count, "newest": told}
            log.info("numbers of events are missing: an estimate, no verdict", extra=about)
        return due

    def _missing(self, low: int, high: int) -> Iterator[Ranges]:
        return sequences.missing((row.block for row in self.rows), self._read, low, high)

    def _read(self, block: int) -> Sequence[IntKeys]:
        ids = [row.id for row in self.rows if row.block == block]
        return [IntKeys.parse(bytes(keys)) for keys in self.db.execute(sa.select(seen.c["keys"]).where(_any(ids))).scalars()]

    def _open(self, floor: int) -> Open:
        above = [row for row in self.rows if row.high > floor]
        if not above:
            return 0, NONE
        if len({row.block for row in above}) > OPEN_BLOCKS:
            return None, NONE
        high = max(row.high for row in above)
        found = sequences.summed(self._missing(floor + 1, high), OPEN_RANGES, newest=False)
        return found.count, found.ranges

    def _late(self, floor: int) -> None:
        """Numbers that came after they had been judged missing, as far back as ranges are kept."""
        below = [row.id for row in self.rows if row.low <= floor]
        if not below:
            return
        told = self.db.execute(sa.select(hours.c.hour, hours.c.ranges).where(*self._mine(hours), hours.c.ranges.is_not(None)))
        kept = [(hour, ranges) for hour, data in told.all() if len(ranges := sequences.unpacked(bytes(data)))]
        if not kept:
            return
        for keys in self.db.execute(sa.select(seen.c["keys"]).where(_any(below))).scalars():
            column = IntKeys.parse(bytes(keys)).cut(None, floor + 1).column()
            for number, (hour, ranges) in enumerate(kept):
                left, came = sequences.without(ranges, column)
                if came:
                    kept[number] = (hour, left)
                    self._came(hour, left, came)

    def _came(self, hour: datetime, left: Ranges, came: int) -> None:
        values = {"late": hours.c.late + came, "ranges": sequences.packed(left)}
        self.db.execute(sa.update(hours).where(*self._mine(hours), hours.c.hour == hour).values(values))
        totals.add(self.db, totals.Totals({(SEQUENCE_LATE.name, self.numbering.name, ""): came}))

    def _add(self, judged: int, found: Gaps) -> None:
        missing, ranges = found.count, found.ranges
        hour = self.now.replace(minute=0, second=0, microsecond=0)
        before = self.db.execute(sa.select(hours.c.ranges).where(*self._mine(hours), hours.c.hour == hour)).scalar_one_or_none()
        if before is not None:
            ranges = np.concatenate([sequences.unpacked(bytes(before)), ranges])
        adding = insert(hours).values(
            incarnation=self.incarnation, numbering=self.numbering.name, hour=hour, judged=judged, missing=missing, late=0,
            ranges=sequences.packed(ranges),
        )  # fmt: skip
        new = adding.excluded
        sums = {"judged": hours.c.judged + new.judged, "missing": hours.c.missing + new.missing, "ranges": new.ranges}
        self.db.execute(adding.on_conflict_do_update(index_elements=list(hours.primary_key), set_=sums))
        sums_ever = [(SEQUENCE_JUDGED.name, judged), (SEQUENCE_MISSING.name, missing)]
        totals.add(self.db, totals.Totals({(name, self.numbering.name, ""): count for name, count in sums_ever}))

    def _stand(self, *, floor: int, high: int, begun_at: datetime, open_: Open) -> None:
        count, ranges = open_
        values: dict[str, Any] = {
            "floor": floor, "high": high, "begun_at": begun_at, "open": count, "at": self.now,
            "open_ranges": sequences.packed(ranges),
        }  # fmt: skip
        adding = insert(state).values(incarnation=self.incarnation, numbering=self.numbering.name, **values)
        self.db.execute(adding.on_conflict_do_update(index_elements=list(state.primary_key), set_=values))

    def _forget(self, floor: int) -> None:
        """Rows that say nothing more; those that we have not read stay."""
        done = [row.id for row in self.rows if row.high <= floor]
        if done:
            self.db.execute(sa.delete(seen).where(_any(done)))

    def _retire(self) -> None:
        h, old = hours.c, self.now - UNJUDGED
        if (
            any(row.at < old for row in self.rows)
            and self.db.execute(sa.delete(seen).where(*self._mine(seen), seen.c.at < old)).rowcount
        ):
            # What was given up is judged by nobody: the judgement begins anew.
            self.db.execute(sa.delete(state).where(*self._mine(state)))
        self.db.execute(sa.delete(seen).where(seen.c.at < old))  # of logs and settings that are no more
        fade = sa.update(hours).where(h.hour < self.now - RANGES_KEPT, h.ranges.is_not(None)).values(ranges=None)
        self.db.execute(fade)
        self.db.execute(sa.delete(hours).where(h.hour < self.now - HOURS_KEPT))


def _any(ids: Sequence[int]) -> sa.ColumnElement[bool]:
    return seen.c.id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.BigInteger)))
