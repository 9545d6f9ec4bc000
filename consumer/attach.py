"""Hold the ledger's positions against the log before reading: what is new, what was lost, where reading goes on.

`judge` is pure and decides for one partition; `attach` does it for all in one transaction. A reset is never silent: every
jump is a hole in the ledger, written in the transaction that moves the position.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from consumer.damage import beyond
from consumer.intake import Hole, anchor_hash
from consumer.ledger import lock_number, record_holes
from consumer.streams.contract import EventStream, Place, Shape, Span
from databases.ledger import Ledger
from schemas.ledger import incarnation, position

log = logging.getLogger("fencepost.tracker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A partition's row in the ledger."""

    topic_id: str | None
    start: int
    next: int
    epoch: int | None
    event_us: int | None
    anchor: tuple[int, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Where to go on, and what was lost in between."""

    next: int
    lost: tuple[str, int, int | None] | None = None  #: kind, from, to


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Where reading may begin, and whether this is the log that was recorded."""

    incarnation: int
    shape: Shape
    spans: dict[Place, Span]  #: of every partition, as asked for before anything was read
    at: dict[Place, int]
    starts: dict[Place, int]  #: where our reading of each began
    epochs: dict[Place, int]
    event_us: dict[Place, int | None]
    held: bool
    seen: str


def judge(
    standing: Standing,
    span: Span,
    topic_id: str | None,
    same: bool | None,
    broken: str | None = None,
    *,
    readable: int | None = None,
) -> Ruling:
    """Rule on one partition. `same`: whether the record before the position is still the one we read; None: unknown.
    `readable`: where reading can go on behind a damaged batch."""
    if standing.topic_id and topic_id:
        recreated = standing.topic_id != topic_id
    else:
        # Without ids a shorter log cannot be told from a new one, and reading on from its end would pass over its head.
        recreated = same is False or span.high < standing.next
    if recreated:
        return Ruling(next=span.start, lost=("recreated", standing.next, None))
    if span.start > standing.next:
        return Ruling(next=span.start, lost=("retention", standing.next, span.start))
    if span.high < standing.next:
        return Ruling(next=span.high, lost=("truncated", span.high, standing.next))
    if broken and "truncat" in broken.lower():
        # The log was cut back and has grown past us again: what we read from there on is no longer what it holds.
        told = re.search(r"end offset (?:is )?(\d+)", broken)
        cut = min(int(told[1]), standing.next) if told else standing.start
        return Ruling(next=max(cut, span.start), lost=("truncated", max(cut, span.start), standing.next))
    if readable is not None and readable > standing.next:
        return Ruling(next=readable, lost=("corrupt", standing.next, readable))
    return Ruling(next=standing.next)


def attach(
    ledger: Ledger,
    stream: EventStream,
    topics: Collection[str],
    places: Collection[Place] | None = None,
    *,
    broken: Mapping[Place, str] | None = None,
    corrupt: Collection[Place] = (),
    shape: Shape | None = None,
) -> Attached:
    """Register every partition of the topics, and rule on `places`, those we are about to read (None: all)."""
    shape = shape or stream.shape(topics)
    everywhere = shape.places()
    ours = everywhere if places is None else [p for p in places if p in set(everywhere)]
    # Positions first, then the log's ends. The other way round a tracker at work moves a position past the end that we were
    # told, and a log that only grew would pass for one that was cut back or made anew.
    recorded, before = _recorded(ledger, shape)
    spans = stream.spans(everywhere)
    anchors = _anchors(stream, shape, recorded, spans, ours)
    readable = _readable(stream, recorded, spans, [p for p in ours if p in corrupt])
    with ledger.begin("hold positions against the log") as db:
        # One at a time: the next tracker then finds the rows of the first, and judges nothing twice.
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_number("attach", ledger.schema))))
        number, replaced = _incarnation(db, shape.cluster_id)
        standings = _standings(db, number)
        fresh = _register(db, number, shape, spans, standings, before if replaced else {})
        rulings = {}
        for place in ours:
            standing = standings.get(place) or fresh[place]
            if place in standings and _moved(standing, recorded.get(place)):
                rulings[place] = Ruling(next=standing.next)  # by another tracker while we looked: it has judged, and later
                continue
            topic_id, same = shape.topic_ids[place[0]], anchors.get(place)
            rulings[place] = judge(
                standing, spans[place], topic_id, same, (broken or {}).get(place), readable=readable.get(place)
            )
            _apply(db, number, place, standing, rulings[place], shape.topic_ids[place[0]])
        standings = _standings(db, number)
    lost = {p: r.lost for p, r in rulings.items() if r.lost}
    held, seen = _identity(shape, lost, anchors, replaced=replaced, known=bool(recorded))
    return Attached(
        incarnation=number,
        shape=shape,
        spans=spans,
        at={p: standings[p].next for p in ours},
        starts={p: standings[p].start for p in ours},
        epochs={p: e for p in ours if (e := standings[p].epoch) is not None and p not in lost},
        event_us={p: standings[p].event_us for p in ours},
        held=held,
        seen=seen,
    )


# -- the ledger's side ------------------------------------------------------------------------------------------------


def _recorded(ledger: Ledger, shape: Shape) -> tuple[dict[Place, Standing], dict[Place, Standing]]:
    """Standings in this log, and those of the log before it where the cluster is another one."""
    with ledger.begin("read positions") as db:
        newest = db.execute(_NEWEST).one_or_none()
        if newest is None:
            return {}, {}
        found = _standings(db, newest.id)
    other = newest.cluster_id and shape.cluster_id and newest.cluster_id != shape.cluster_id
    return ({}, found) if other else (found, {})


_NEWEST = sa.select(incarnation.c.id, incarnation.c.cluster_id).order_by(incarnation.c.id.desc()).limit(1)


def _incarnation(db: sa.Connection, cluster_id: str | None) -> tuple[int, bool]:
    """The number of this log's incarnation, and whether it replaced another one just now."""
    newest = db.execute(_NEWEST).one_or_none()
    if newest is not None and (newest.cluster_id == cluster_id or not newest.cluster_id or not cluster_id):
        if cluster_id and not newest.cluster_id:
            db.execute(sa.update(incarnation).where(incarnation.c.id == newest.id).values(cluster_id=cluster_id))
        return int(newest.id), False
    made = sa.insert(incarnation).values(cluster_id=cluster_id).returning(incarnation.c.id)
    return int(db.execute(made).scalar_one()), newest is not None


def _standings(db: sa.Connection, number: int) -> dict[Place, Standing]:
    rows = db.execute(sa.select(position).where(position.c.incarnation == number)).all()
    return {
        (r.topic, r.partition): Standing(
            topic_id=r.topic_id,
            start=r.start_offset,
            next=r.next_offset,
            epoch=r.leader_epoch,
            event_us=r.event_us,
            anchor=None if r.anchor_offset is None else (r.anchor_offset, r.anchor_hash),
        )
        for r in rows
    }


def _moved(standing: Standing, recorded: Standing | None) -> bool:
    """Whether a position is another one than the one that the log's ends were asked for."""
    return recorded is None or (standing.next, standing.anchor) != (recorded.next, recorded.anchor)


def _register(
    db: sa.Connection,
    number: int,
    shape: Shape,
    spans: Mapping[Place, Span],
    known: Mapping[Place, Standing],
    before: Mapping[Place, Standing],
) -> dict[Place, Standing]:
    """Rows for partitions never met. All of a topic at once, so that a later one is known to be a new partition."""
    fresh = {}
    topics = {topic for topic, _ in known}
    for place, span in spans.items():
        if place in known:
            continue
        topic_id = shape.topic_ids[place[0]]
        fresh[place] = Standing(topic_id=topic_id, start=span.start, next=span.start, epoch=None, event_us=None, anchor=None)
        values = {"incarnation": number, "topic": place[0], "partition": place[1], "topic_id": topic_id}
        db.execute(insert(position).values(**values, start_offset=span.start, next_offset=span.start))
        if place in before:
            lost = ("recreated", before[place].next, None)
            record_holes(db, number, [_hole(place, lost, before[place].event_us)])
        elif place[0] in topics and span.start > 0:
            record_holes(db, number, [_hole(place, ("retention", 0, span.start), None)])
    return fresh


def _apply(db: sa.Connection, number: int, place: Place, standing: Standing, ruling: Ruling, topic_id: str | None) -> None:
    row = sa.update(position).where(
        position.c.incarnation == number, position.c.topic == place[0], position.c.partition == place[1]
    )
    if ruling.lost is None:
        if topic_id and not standing.topic_id:
            db.execute(row.values(topic_id=topic_id))
        return
    values: dict[str, object] = {"next_offset": ruling.next}
    values |= {"leader_epoch": None, "anchor_offset": None, "anchor_hash": None}
    if ruling.lost[0] == "recreated":
        values |= {"start_offset": ruling.next, "topic_id": topic_id}
    moved = db.execute(row.where(position.c.next_offset == standing.next).values(**values, at=sa.func.clock_timestamp()))
    if moved.rowcount:  # else another tracker, which had read on, knows better
        record_holes(db, number, [_hole(place, ruling.lost, standing.event_us)])
        log.warning(
            "part of the log was lost before it was read",
            extra={"event": "hole", "topic": place[0], "partition": place[1], "kind": ruling.lost[0]},
        )


#: A topic's new history is noticed by its id, which trackers ask for every minute: until then its records passed for the
#: old one's, and so did their times. The hole must begin before that.
NOTICED_WITHIN_US = 120_000_000


def _hole(place: Place, lost: tuple[str, int, int | None], from_us: int | None) -> Hole:
    if lost[0] == "recreated" and from_us is not None:
        from_us -= NOTICED_WITHIN_US
    return Hole(topic=place[0], partition=place[1], kind=lost[0], from_offset=lost[1], to_offset=lost[2], from_us=from_us)


def _readable(
    stream: EventStream, recorded: Mapping[Place, Standing], spans: Mapping[Place, Span], corrupt: Collection[Place]
) -> dict[Place, int]:
    """Where each place can be read again, at or behind its position."""
    return {
        place: beyond(partial(stream.intact, place), recorded[place].next, spans[place].high)
        for place in corrupt
        if place in recorded and spans[place].start <= recorded[place].next
    }


# -- identity ---------------------------------------------------------------------------------------------------------


def _anchors(
    stream: EventStream,
    shape: Shape,
    recorded: Mapping[Place, Standing],
    spans: Mapping[Place, Span],
    ours: Collection[Place],
) -> dict[Place, bool]:
    """Where ids cannot be compared: is the record before the position the one that we read?"""
    wanted = {
        place: standing.anchor
        for place in ours
        if (standing := recorded.get(place)) is not None
        and standing.anchor is not None
        and not (standing.topic_id and shape.topic_ids[place[0]])
        and spans[place].start <= standing.anchor[0] < spans[place].high
    }
    if not wanted:
        return {}
    found = stream.peek({place: anchor[0] for place, anchor in wanted.items()})
    return {
        place: found[place][0] == wanted[place][0] and anchor_hash(found[place][1]) == wanted[place][1]
        for place in wanted
        if place in found
    }


def _identity(
    shape: Shape,
    lost: Mapping[Place, tuple[str, int, int | None]],
    anchors: Mapping[Place, bool],
    *,
    replaced: bool,
    known: bool,
) -> tuple[bool, str]:
    cluster = f"cluster {shape.cluster_id or 'without an id'}"
    if replaced:
        return False, f"{cluster} is not the one recorded: everything is read from the start again"
    again = sorted({topic for (topic, _), (kind, *_) in lost.items() if kind == "recreated"})
    if again:
        return False, f"{cluster}; recreated since the last look: {', '.join(again)}"
    unnamed = sorted(t for t, i in shape.topic_ids.items() if i is None)
    how = "topic ids compared" if not unnamed else f"no id told for {', '.join(unnamed[:3])}: {len(anchors)} records compared"
    return True, f"{cluster}, {how}" if known else f"{cluster}, met for the first time"
