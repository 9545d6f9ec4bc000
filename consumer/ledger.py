"""Store a flush: positions by compare-and-set, segments and quarantine in ONE transaction.

Knows nothing of streams. A position that is not where we left it raises PositionMoved before anything is written, and the
caller throws the whole flush away: a zombie's write never lands, not even half of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from consumer import numbered, totals
from consumer.aside import set_aside
from consumer.intake import Flush, Hole, Move
from consumer.segments import Segment
from databases.arrays import columns, filled
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.announced import Announced
from schemas.errors import PositionMoved
from schemas.keys import ByteKeys, IntKeys, KeySet, KeyType
from schemas.ledger import BYTE_CHUNK, CHUNK, LEFT_OUT

position, segment, segment_keys = tables.position, tables.segment, tables.segment_keys


def store(
    ledger: Ledger,
    incarnation: int,
    flush: Flush,
    key_types: Mapping[str, KeyType],
    *,
    limit: int,
    read_for: Mapping[str, Collection[str]],
) -> None:
    """One flush, one transaction. `read_for`: by topic, the data types whose events were looked for in it.

    Raises PositionMoved or FloodError with the ledger as it was.
    """
    with ledger.begin("store what was read") as db:
        move_positions(db, incarnation, flush.moves)
        set_aside(db, incarnation, flush, limit)
        # Locks are taken in one order everywhere, positions first, then data types by name: no two trackers deadlock.
        for part in sorted(flush.segments, key=lambda s: s.data_type):
            append(db, incarnation, part, key_types[part.data_type], ledger.schema)
        _leave_out(db, incarnation, {m.topic for m in flush.moves}, read_for)
        if flush.numbered:
            numbered.append(db, incarnation, flush)
        totals.add(db, totals.of_flush(flush))


def move_positions(db: sa.Connection, incarnation: int, moves: tuple[Move, ...]) -> None:
    """Compare and set. A topic id must still be the one we read from, unless one side never knew it."""
    if not moves:
        return
    wanted = {(m.topic, m.partition): m for m in moves}
    places = sa.tuple_(position.c.topic, position.c.partition).in_(list(wanted))
    rows = db.execute(
        sa.select(position.c.topic, position.c.partition, position.c.next_offset, position.c.topic_id)
        .where(position.c.incarnation == incarnation, places)
        .order_by(position.c.topic, position.c.partition)
        .with_for_update()
    ).all()
    for topic, partition, next_offset, topic_id in rows:
        move = wanted.pop((topic, partition))
        if next_offset != move.expected or (topic_id and move.topic_id and topic_id != move.topic_id):
            raise PositionMoved(
                f"another tracker moved {topic}[{partition}]: the ledger stands at {next_offset}, we left it at {move.expected}"
            )
    if wanted:
        topic, partition = next(iter(wanted))
        raise PositionMoved(f"the ledger has no position for {topic}[{partition}] in this log any more")
    db.execute(_MOVE, {"i": incarnation} | filled(_MOVED, map(_values, moves)))


_MOVED = columns(
    "moved",
    {"topic": sa.Text, "partition": sa.Integer, "expected": sa.BigInteger, "next": sa.BigInteger, "epoch": sa.Integer,
     "us": sa.BigInteger, "anchor": sa.BigInteger, "hash": sa.Text},
)  # fmt: skip
_MOVE = (
    sa.update(position)
    .where(
        position.c.incarnation == sa.bindparam("i"),
        position.c.topic == _MOVED.c.topic,
        position.c.partition == _MOVED.c.partition,
        position.c.next_offset == _MOVED.c.expected,
    )
    .values(
        next_offset=_MOVED.c.next,
        leader_epoch=sa.func.coalesce(_MOVED.c.epoch, position.c.leader_epoch),
        event_us=sa.func.coalesce(_MOVED.c.us, position.c.event_us),
        anchor_offset=sa.func.coalesce(_MOVED.c.anchor, position.c.anchor_offset),
        anchor_hash=sa.func.coalesce(_MOVED.c.hash, position.c.anchor_hash),
        at=sa.func.clock_timestamp(),
    )
)


def _values(m: Move) -> tuple[object, ...]:
    return m.topic, m.partition, m.expected, m.next, m.leader_epoch, m.event_us, m.anchor_offset, m.anchor_hash


_NOW_US = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger)


def record_holes(db: sa.Connection, incarnation: int, holes: tuple[Hole, ...] | list[Hole]) -> None:
    """A hole spans the time from the last event read before it to its discovery, which is now."""
    for h in holes:
        db.execute(
            sa.insert(tables.hole).values(
                incarnation=incarnation,
                topic=h.topic,
                partition=h.partition,
                from_offset=h.from_offset,
                to_offset=h.to_offset,
                kind=h.kind,
                from_us=h.from_us,
                to_us=_NOW_US,
            )
        )


# -- segments ---------------------------------------------------------------------------------------------------------


def append(db: sa.Connection, incarnation: int, part: Segment, key_type: KeyType, schema: str) -> int:
    """Append one segment under the next number of its data type."""
    number = next_number(db, incarnation, part.data_type, schema)
    db.execute(
        sa.insert(segment).values(
            incarnation=incarnation,
            data_type=part.data_type,
            first_number=number,
            last_number=number,
            events=part.events,
            first_us=part.said.first_us,
            last_us=part.said.last_us,
            offsets={t: {str(p): list(span) for p, span in ps.items()} for t, ps in part.offsets.items()},
        )
    )
    write_keys(db, incarnation, part.data_type, number, part.said, key_type)
    _cover(db, incarnation, part)
    return number


def next_number(db: sa.Connection, incarnation: int, data_type: str, schema: str) -> int:
    """The next number, without a gap: the lock lasts until this transaction ends, so nobody else draws the same."""
    lock_type(db, data_type, schema)
    last = sa.select(sa.func.max(segment.c.last_number)).where(
        segment.c.incarnation == incarnation, segment.c.data_type == data_type
    )
    return int(db.execute(last).scalar_one() or 0) + 1


def lock_type(db: sa.Connection, data_type: str, schema: str) -> None:
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_number("segment", schema, data_type))))


def lock_number(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8], "big", signed=True)


def write_keys(db: sa.Connection, incarnation: int, data_type: str, number: int, said: Announced, key_type: KeyType) -> None:
    rows = [
        {
            "incarnation": incarnation, "data_type": data_type, "first_number": number, "said": str(word), "chunk": i,
            "low": key_type.bound(chunk.min()), "high": key_type.bound(chunk.max()), "count": len(chunk),
            "keys": chunk.serialize(),
        }
        for word, keys in said.sets().items()
        for i, chunk in enumerate(chunks(keys))
    ]  # fmt: skip
    if rows:
        db.execute(sa.insert(segment_keys), rows)


def chunks(keys: KeySet) -> Iterator[KeySet]:
    """Cut by rank, so that a slice of the key range reads only its own rows."""
    size = CHUNK if isinstance(keys, IntKeys) else BYTE_CHUNK
    if len(keys) <= size:
        if len(keys):
            yield keys
        return
    column = keys.column()
    of = IntKeys.of if isinstance(keys, IntKeys) else ByteKeys.of
    for low in range(0, len(column), size):
        yield of(column[low : low + size])


def _leave_out(db: sa.Connection, incarnation: int, topics: Collection[str], read_for: Mapping[str, Collection[str]]) -> None:
    """A data type that was left out of the settings, or of a topic, while the topic was read on: nobody looked for its events
    there. Once it is back its coverage begins anew, for of the time before silence means nothing."""
    t, c = tables.coverage, tables.coverage.c
    waits = sa.and_(c.first_offset == LEFT_OUT, c.first_us.is_(None))
    asked = sa.select(c.data_type, c.topic, waits).where(c.incarnation == incarnation, c.topic.in_(topics)).distinct()
    for name, topic, waiting in sorted(map(tuple, db.execute(asked))):
        here = (c.incarnation == incarnation, c.topic == topic, c.data_type == name)
        if name not in read_for[topic]:
            if not waiting:
                db.execute(sa.update(t).where(*here).values(first_offset=LEFT_OUT, first_us=None))
        elif waiting:
            # What was passed over was told before now. A partition that has told something since knows better.
            db.execute(sa.update(t).where(*here, waits).values(first_us=_NOW_US))


def _cover(db: sa.Connection, incarnation: int, part: Segment) -> None:
    """Where coverage begins: the first event ever read of each partition stays, all later ones change nothing. Where reading
    was broken off it is the first event since, and that it was broken off stays."""
    firsts = [(topic, partition, *first) for (topic, partition), first in sorted(part.firsts.items())]
    if firsts:
        db.execute(_COVER, {"i": incarnation, "name": part.data_type} | filled(_FIRSTS, firsts))


_FIRSTS = columns("firsts", {"topic": sa.Text, "partition": sa.Integer, "offset": sa.BigInteger, "us": sa.BigInteger})
_KEY = ("incarnation", "data_type", "topic", "partition")


def _adding() -> sa.Insert:
    f, c = _FIRSTS.c, tables.coverage.c
    name = sa.bindparam("name", type_=sa.Text)
    new = sa.select(sa.bindparam("i", type_=sa.Integer), name, f.topic, f.partition, f.offset, f.us)
    adding = insert(tables.coverage).from_select([*_KEY, "first_offset", "first_us"], new)
    anew = sa.and_(c.first_offset == LEFT_OUT, c.first_us.is_(None))
    return adding.on_conflict_do_update(index_elements=_KEY, set_={"first_us": adding.excluded.first_us}, where=anew)


_COVER = _adding()
