"""What the numbers of events say without the database: which are missing. Read from the ledger; an estimate, never a verdict.

A number that no event had was most often drawn by a transaction that was rolled back. So what counts is a share above the
usual one, of the hours before; and even that proves no drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from struct import iter_unpack
from typing import Any

import sqlalchemy as sa

from schemas import sequence_ledger as tables
from schemas.audit_ledger import total
from schemas.ledger import incarnation
from schemas.metrics import UNNUMBERED
from schemas.numbering import Numbering
from schemas.settings import Settings
from schemas.verdict import utc

#: This hour and the last are looked at; so many hours before them make what is usual, and no fewer than `LEAST` may.
NEWEST, USUAL_OF, LEAST = timedelta(hours=2), timedelta(hours=24), 3
#: So many ranges are told.
TOLD = 10

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One numbering. Counts are of numbers; those of `judged` and `missing` are of this hour and the last."""

    topics: tuple[str, ...]
    since: datetime | None  #: None: not all partitions were read to their ends yet, and nothing is judged
    judged_to: int | None = None  #: all numbers up to it are judged
    high: int | None = None  #: the highest that was read
    as_of: datetime | None = None
    open: int | None = None  #: may come yet; None: too many to be counted
    open_ranges: Ranges = ()
    judged: int = 0
    missing: int = 0
    ranges: Ranges = ()  #: the newest that are missing, of a day
    kept: int = 0  #: how many ranges there are of a day
    usual: float | None = None  #: the share that is usually missing; None: too few hours to tell
    unnumbered: int = 0  #: records without a number, ever

    @property
    def above_usual(self) -> float | None:
        return None if self.usual is None else max(0.0, self.missing - self.usual * self.judged)

    def plain(self) -> dict[str, Any]:
        """As `status --json` promises."""
        return {
            "topics": list(self.topics),
            "since": None if self.since is None else utc(self.since),
            "as_of": None if self.as_of is None else utc(self.as_of),
            "judged_to": self.judged_to,
            "highest": self.high,
            "estimated_missing": self.missing,
            "of": self.judged,
            "usual_share": None if self.usual is None else round(self.usual, 6),
            "above_usual": None if self.above_usual is None else round(self.above_usual),
            "ranges": [list(one) for one in self.ranges],
            "open": self.open,
            "open_ranges": [list(one) for one in self.open_ranges],
            "unnumbered": self.unnumbered,
        }


def read(db: sa.Connection, settings: Settings) -> list[Numbers]:
    """Of every numbering in the settings, as of the newest log."""
    about = settings.numberings()
    if not about:
        return []
    now: datetime = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    newest = db.execute(sa.select(sa.func.max(incarnation.c.id))).scalar_one()
    return [_one(db, numbering, newest, now) for numbering in about]


def _one(db: sa.Connection, numbering: Numbering, newest: int | None, now: datetime) -> Numbers:
    x, h = tables.sequence, tables.sequence_hour
    without = sa.select(total.c.value).where(total.c.name == UNNUMBERED.name, total.c.subject == numbering.name)
    unnumbered = int(db.execute(without).scalar_one_or_none() or 0)
    row = db.execute(sa.select(x).where(x.c.incarnation == newest, x.c.numbering == numbering.name)).one_or_none()
    if row is None:
        return Numbers(topics=numbering.topics, since=None, unnumbered=unnumbered)
    mine = h.c.incarnation == newest, h.c.numbering == numbering.name
    hours = db.execute(sa.select(h).where(*mine, h.c.hour > now - NEWEST - USUAL_OF).order_by(h.c.hour)).all()
    lately = [hour for hour in hours if hour.hour > now - NEWEST]
    ranges = [one for hour in hours if hour.ranges is not None for one in _ranges(hour.ranges)]
    return Numbers(
        topics=numbering.topics,
        since=row.begun_at,
        judged_to=row.floor,
        high=row.high,
        as_of=row.at,
        open=row.open,
        open_ranges=_ranges(row.open_ranges)[:TOLD],
        judged=sum(hour.judged for hour in lately),
        missing=sum(hour.missing - hour.late for hour in lately),
        ranges=tuple(ranges[-TOLD:]),
        kept=len(ranges),
        usual=_usual([hour for hour in hours if hour.hour <= now - NEWEST]),
        unnumbered=unnumbered,
    )


def _usual(hours: Sequence[sa.Row[Any]]) -> float | None:
    shares = [(hour.missing - hour.late) / hour.judged for hour in hours if hour.judged > 0]
    return median(shares) if len(shares) >= LEAST else None


def _ranges(data: bytes) -> Ranges:
    return tuple((first, last) for first, last in iter_unpack("<qq", data))
