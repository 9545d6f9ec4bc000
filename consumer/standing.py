"""Read back from the ledger how far the log was read, what was lost of it, and what could not be decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from consumer.attach import Attached
from consumer.streams.contract import Place, Span
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.ledger import Settled, position
from schemas.log_state import Hole, LogState, PartitionState


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
        counts = _quarantined(db, number, topics)
    partitions = tuple(_partition(place, span, standings[place], stable.get(place)) for place, span in sorted(spans.items()))
    return LogState(
        incarnation=number,
        cluster_id=attached.shape.cluster_id,
        partitions=partitions,
        identity_held=attached.held,
        identity_seen=attached.seen,
        problems=tuple(words for p in partitions if (words := _problem(p))),
        holes=holes,
        quarantined=counts[Settled.OPEN],
        accepted=counts[Settled.ACCEPTED],
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
    return tuple(
        Hole(
            topic=r.topic, partition=r.partition, from_offset=r.from_offset, to_offset=r.to_offset, kind=r.kind,
            from_us=r.from_us, to_us=r.to_us, state=r.state, reason=r.settled_reason,
        )
        for r in rows
    )  # fmt: skip


def _quarantined(db: sa.Connection, number: int, topics: list[str]) -> dict[str, dict[str, int]]:
    q = tables.quarantine
    rows = db.execute(
        sa.select(q.c.state, q.c.topic, sa.func.count())
        .where(q.c.incarnation == number, q.c.topic.in_(topics))
        .group_by(q.c.state, q.c.topic)
    )
    out: dict[str, dict[str, int]] = defaultdict(dict)
    for state, topic, count in rows:
        out[state][topic] = count
    return out
