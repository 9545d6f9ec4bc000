"""Read back from the ledger how far the log was read, what was lost of it, and what could not be decoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from consumer.attach import Attached
from consumer.streams.contract import Place, Span
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.ledger import Settled, position
from schemas.log_state import AcceptedRecords, Hole, LogState, PartitionState


def reached(ledger: Ledger, incarnation: int, places: Collection[Place]) -> dict[Place, int]:
    """The ledger's next offset of each place."""
    wanted = set(places)
    with ledger.begin("read positions") as db:
        rows = db.execute(
            sa.select(position.c.topic, position.c.partition, position.c.next_offset).where(
                position.c.incarnation == incarnation
            )
        ).all()
    return {(t, p): n for t, p, n in rows if (t, p) in wanted}


def read_state(
    ledger: Ledger,
    attached: Attached,
    spans: Mapping[Place, Span],
    stable: Mapping[Place, int],
    *,
    records: int,
    followed: bool,
) -> LogState:
    """`stable`: the stable offsets, asked for just now, of places that were not read to their ends."""
    number, topics = attached.incarnation, list(attached.shape.partitions)
    with ledger.begin("read the state of the log") as db:
        rows = db.execute(sa.select(position).where(position.c.incarnation == number, position.c.topic.in_(topics)))
        standings = {(r.topic, r.partition): r for r in rows}
        holes = _holes(db, number, topics)
        unread, accepted = _quarantined(db, number, topics), _accepted(db, number, topics)
    partitions = tuple(_partition(place, span, standings[place], stable.get(place)) for place, span in sorted(spans.items()))
    return LogState(
        incarnation=number,
        cluster_id=attached.shape.cluster_id,
        partitions=partitions,
        identity_held=attached.held,
        identity_seen=attached.seen,
        problems=tuple(words for p in partitions if (words := _problem(p))),
        holes=holes,
        quarantined=unread,
        accepted=accepted,
        records=records,
        followed=followed,
    )


def _partition(place: Place, span: Span, row: sa.Row[tuple[object, ...]], stable: int | None) -> PartitionState:
    pinned = stable is not None and row.next_offset < span.high and row.next_offset >= stable
    return PartitionState(
        topic=place[0],
        partition=place[1],
        topic_id=row.topic_id,
        start=span.start,
        first_read=row.start_offset,
        high=span.high,
        stable=stable if pinned else None,
        reached=row.next_offset,
        event_us=row.event_us,
    )


def _problem(p: PartitionState) -> str | None:
    if p.drained:
        return None
    if p.stable is not None:
        return (
            f"{p.topic}[{p.partition}]: an open transaction hides what follows offset {p.stable}; its high watermark is"
            f" {p.high}"
        )
    return f"{p.topic}[{p.partition}]: read up to {p.reached}, {p.behind} short of its high watermark {p.high}"


def _holes(db: sa.Connection, number: int, topics: list[str]) -> tuple[Hole, ...]:
    h = tables.hole
    rows = db.execute(
        sa.select(h)
        .where(h.c.incarnation == number, h.c.topic.in_(topics), h.c.state != Settled.RESOLVED)
        .order_by(h.c.topic, h.c.partition, h.c.id)
    )
    return tuple(Hole.from_row(row) for row in rows)


def _quarantined(db: sa.Connection, number: int, topics: list[str]) -> dict[str, int]:
    """Open records by topic."""
    q = tables.quarantine
    rows = db.execute(
        sa.select(q.c.topic, sa.func.count())
        .where(q.c.incarnation == number, q.c.topic.in_(topics), q.c.state == Settled.OPEN)
        .group_by(q.c.topic)
    )
    return {row[0]: row[1] for row in rows}


def _accepted(db: sa.Connection, number: int, topics: list[str]) -> tuple[AcceptedRecords, ...]:
    q = tables.quarantine
    who = (q.c.topic, q.c.settled_by, q.c.settled_reason)
    rows = db.execute(
        sa.select(*who, sa.func.count())
        .where(q.c.incarnation == number, q.c.topic.in_(topics), q.c.state == Settled.ACCEPTED)
        .group_by(*who)
        .order_by(sa.func.min(q.c.id))
    )
    return tuple(AcceptedRecords(topic=t, by=by or "?", reason=why or "?", count=n) for t, by, why, n in rows)
