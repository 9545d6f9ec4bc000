"""What a flush adds to the totals behind the counters, in the transaction that stores it.

A total of the ledger neither loses nor doubles what a killed tracker read: it moves with the positions or not at all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from consumer.intake import Flush
from schemas.audit_ledger import total
from schemas.metrics import BYTES, DECODE_ERRORS, EVENTS, FLUSH_SECONDS, UNNUMBERED, Metric, Op, buckets, sum_of

#: Name, subject, kind.
Totals = Counter[tuple[str, str, str]]


def of_flush(flush: Flush) -> Totals:
    """How many events, bytes and unreadable records a flush holds, and how long the one before took to store."""
    found: Totals = Counter()
    for part in flush.segments:
        found[EVENTS.name, part.data_type, Op.CREATE] += part.creates
        found[EVENTS.name, part.data_type, Op.DELETE] += part.deletes
    for topic, size in flush.sizes.items():
        found[BYTES.name, topic, ""] += size
    for name, count in flush.unnumbered.items():
        found[UNNUMBERED.name, name, ""] += count
    for topic, count in Counter(record.topic for record in flush.unreadable).items():
        found[DECODE_ERRORS.name, topic, ""] += count
    if flush.stored_before_s is not None:
        observed(found, FLUSH_SECONDS, "", flush.stored_before_s)
    return found


def observed(found: Totals, metric: Metric, subject: str, seconds: float) -> None:
    """One observation of a histogram: the bucket it falls into, and the sum in microseconds."""
    found[metric.name, subject, buckets(metric)[bisect_left(metric.buckets, seconds)]] += 1
    found[sum_of(metric), subject, ""] += int(seconds * 1_000_000)


def add(db: sa.Connection, found: Totals) -> None:
    """Last in a transaction and in one order, so that two of them never wait for each other in a circle."""
    rows = [
        {"name": name, "subject": subject, "kind": str(kind), "value": value}
        for (name, subject, kind), value in sorted(found.items())
        if value
    ]
    if rows:
        adding = insert(total)
        index = [total.c.name, total.c.subject, total.c.kind]
        db.execute(
            adding.on_conflict_do_update(index_elements=index, set_={"value": total.c.value + adding.excluded.value}), rows
        )
