"""Set unreadable records aside with the flush they were read in, unless they are a flood.

A tracker that stops reads nothing, and what it has not read the broker's retention deletes: so a trickle of bad records
must not stop it, however long it lasts. Two things must: a setting that makes a whole topic unreadable, and a ledger that
fills up. Up to `quarantine.limit` open records all are set aside. Above it they are a flood where more than one in
`FLOOD` of the newest records of their partitions is open, and above `limit` times `MOST` they are one in any case.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from consumer.intake import Flush, Move
from databases.bulk import copy_rows
from schemas import ledger as tables
from schemas.errors import FloodError
from schemas.events import Unreadable
from schemas.ledger import LEFT_OUT, Settled

quarantine, coverage = tables.quarantine, tables.coverage
#: One record in so many, of the newest.
FLOOD = 10
#: How far back a partition's newest records reach, in offsets.
RECENT = 10_000
#: Times the limit: with the default of 10,000 and a kilobyte kept of each at most, a gibibyte.
MOST = 100
_HINT = "is 'format' right for this topic? See `fencepost quarantine list`; 'quarantine.limit' is the number allowed"


def set_aside(db: sa.Connection, incarnation: int, flush: Flush, limit: int) -> None:
    """Raises FloodError; whoever began the transaction rolls it back."""
    records = flush.unreadable
    if not records:
        return
    open_ones = sa.select(sa.func.count()).where(quarantine.c.state == Settled.OPEN)
    count = int(db.execute(open_ones).scalar_one()) + len(records)
    topic = records[-1].topic
    if count > limit * MOST:
        raise FloodError(
            f"more than {limit * MOST} records cannot be read, the last of them in topic {topic!r}: a hundred times"
            " 'quarantine.limit'; the ledger is as it was",
            hint="settle them (`fencepost quarantine list`), or raise 'quarantine.limit'",
        )
    _insert(db, incarnation, records)
    if count <= limit:
        return
    touched = {(record.topic, record.partition) for record in records}
    bad, of = _recent(db, incarnation, [move for move in flush.moves if (move.topic, move.partition) in touched])
    if bad * FLOOD > of:
        raise FloodError(
            f"more than {limit} records cannot be read, the last of them in topic {topic!r}, and of the newest {of} there"
            f" {bad}; the ledger is as it was",
            hint=_HINT,
        )


def _recent(db: sa.Connection, incarnation: int, moves: Collection[Move]) -> tuple[int, int]:
    """How many of the newest records of these partitions are open, and how many those newest are."""
    bad = of = 0
    for move in moves:
        place = (move.topic, move.partition)
        low = max(_begun(db, incarnation, move), move.next - max(RECENT, move.next - move.expected))
        q = quarantine.c
        newest = sa.select(sa.func.count()).where(
            q.incarnation == incarnation, sa.tuple_(q.topic, q.partition) == place, q.offset >= low, q.state == Settled.OPEN
        )
        bad += int(db.execute(newest).scalar_one())
        of += move.next - low
    return bad, of


def _begun(db: sa.Connection, incarnation: int, move: Move) -> int:
    """Where this partition was first read, as far as anybody knows: at its first event, else with this flush."""
    c = coverage.c
    first = sa.select(sa.func.min(c.first_offset)).where(
        c.incarnation == incarnation, c.topic == move.topic, c.partition == move.partition, c.first_offset != LEFT_OUT
    )
    known = db.execute(first).scalar_one()
    return move.expected if known is None else min(int(known), move.expected)


def _insert(db: sa.Connection, incarnation: int, records: tuple[Unreadable, ...]) -> None:
    """All at once: with a statement a record, a bad one would cost as much as forty good ones."""
    rows = ((incarnation, r.topic, r.partition, r.offset, r.reason.replace("\0", "\ufffd"), r.value, r.size) for r in records)
    copy_rows(db, quarantine, ("incarnation", "topic", "partition", "offset", "reason", "value", "size"), rows)
