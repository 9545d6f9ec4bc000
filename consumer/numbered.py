"""Numbers of events, stored with the flush they were read in: in its transaction, and nothing else is written for them.

Nothing is judged here, so trackers do not wait for each other: `consumer.numbering` does that later.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from consumer.intake import Flush
from schemas import sequence_ledger as tables

seen, place = tables.sequence_seen, tables.sequence_place


def append(db: sa.Connection, incarnation: int, flush: Flush) -> None:
    """Store what a flush read, in its transaction: so a number is there if its offset is, and a replay is the same number."""
    rows = [
        {
            "incarnation": incarnation, "numbering": name, "block": block, "low": keys.min(), "high": keys.max(),
            "keys": keys.serialize(),
        }
        for name, found in sorted(flush.numbers.items())
        for block, keys in found
    ]  # fmt: skip
    if rows:
        db.execute(sa.insert(seen), rows)
    moves = [m for m in flush.moves if m.topic in flush.numbered]
    if moves:
        db.execute(
            _GO_ON,
            [{"i": incarnation, "t": m.topic, "p": m.partition, "next": m.next, "expected": m.expected} for m in moves],
        )


_FRESH = insert(place).values(
    incarnation=sa.bindparam("i"), topic=sa.bindparam("t"), partition=sa.bindparam("p"),
    next_offset=sa.bindparam("next"), since=sa.func.clock_timestamp(),
)  # fmt: skip
#: Whoever moved the position without telling numbers (a hole, a tracker of other settings) broke the row of numbers.
_GO_ON = _FRESH.on_conflict_do_update(
    index_elements=list(place.primary_key),
    set_={
        "since": sa.case((place.c.next_offset == sa.bindparam("expected"), place.c.since), else_=_FRESH.excluded.since),
        "next_offset": _FRESH.excluded.next_offset,
    },
)
