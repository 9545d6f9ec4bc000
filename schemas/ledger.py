"""The ledger's tables, as SQLAlchemy Core values (design §5). No engine, no connection.

Log-structured: one flush of the tracker is one transaction that appends segments and moves positions. The tables name no
schema; `databases.ledger` translates them to the one in the settings. Offsets, times and numbers: offsets are Kafka's,
`*_us` are microseconds since the epoch in UTC, `bytea` bounds are `KeyType.bound`, keys are `KeySet.serialize`.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


def _now() -> Column[object]:
    return Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


class Said(StrEnum):
    """What a segment's last word on a set of keys is. `schemas.announced` has the algebra."""

    CREATED = "created"
    DELETED = "deleted"
    RECREATED = "recreated"  #: deleted, then created: no merge may drop that it was deleted
    UNSURE = "unsure"  #: partitions contradict each other


class Settled(StrEnum):
    """The state of something an operator can settle: a quarantined record, a hole."""

    OPEN = "open"
    RESOLVED = "resolved"  #: read after all
    ACCEPTED = "accepted"  #: the loss was accepted, by name and reason


#: One event log of one source. A new cluster or topic history opens a new one; older segments explain nothing any more.
incarnation = Table(
    "incarnation",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("cluster_id", Text),
    _now(),
)

#: The kinds of a data type's key as the source's catalog told them: `int`, `uuid`, `text`, joined by commas.
data_type = Table(
    "data_type",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kinds", Text, nullable=False),
    _now(),
)

#: How far each partition was read. Moved only by compare-and-set on `next_offset`.
position = Table(
    "position",
    metadata,
    Column("incarnation", ForeignKey("incarnation.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("topic_id", Text),
    Column("start_offset", BigInteger, nullable=False),  # where reading began
    Column("next_offset", BigInteger, nullable=False),
    Column("leader_epoch", Integer),
    Column("event_us", BigInteger),  # the newest event time read
    Column("anchor_offset", BigInteger),  # the last record read, and a hash of it: where a broker tells no topic id
    Column("anchor_hash", Text),
    _now(),
)

#: In the place of an offset: the topic was read on while the data type was left out of the settings. `first_us` is then that
#: of the first event read since, or NULL until there is one.
LEFT_OUT = -1

#: Where a data type's coverage begins in each partition: the time of the first of its events that was read.
coverage = Table(
    "coverage",
    metadata,
    Column("incarnation", ForeignKey("incarnation.id"), primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_offset", BigInteger, nullable=False),
    Column("first_us", BigInteger),
)

#: One row per data type and flush, numbered without gaps; only contiguous runs are merged.
segment = Table(
    "segment",
    metadata,
    Column("incarnation", ForeignKey("incarnation.id"), primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("first_number", BigInteger, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
    Column("level", SmallInteger, nullable=False, server_default="0"),  # 0 flush, 1 hour, 2 day
    Column("events", BigInteger, nullable=False),
    Column("first_us", BigInteger),  # the span of event times; NULL where no event told one
    Column("last_us", BigInteger),
    Column("offsets", JSONB, nullable=False),  # {topic: {partition: [first, next]}}
    _now(),
)

#: The keys of a segment, by last word and key range, at most `CHUNK` keys a row, so that a slice reads only its own.
segment_keys = Table(
    "segment_keys",
    metadata,
    Column("incarnation", Integer, primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("first_number", BigInteger, primary_key=True),
    Column("said", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("low", LargeBinary, nullable=False),  # the lowest and highest key, inclusive
    Column("high", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["incarnation", "data_type", "first_number"],
        ["segment.incarnation", "segment.data_type", "segment.first_number"],
        ondelete="CASCADE",
    ),
)
CHUNK = 1 << 20
BYTE_CHUNK = 1 << 16

#: Offsets that nobody read.
hole = Table(
    "hole",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("incarnation", ForeignKey("incarnation.id"), nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("from_offset", BigInteger, nullable=False),
    Column("to_offset", BigInteger),  # NULL where nobody can say how many
    Column("kind", Text, nullable=False),  # retention | recreated | truncated | corrupt
    Column("from_us", BigInteger),  # from the last event read before it, to the first one after
    Column("to_us", BigInteger),
    Column("state", Text, nullable=False, server_default=Settled.OPEN),
    Column("settled_by", Text),
    Column("settled_reason", Text),
    _now(),
    Index(None, "incarnation", "topic", "partition"),  # not unique: a recreated topic has its offsets again
)

#: Records that could not be decoded.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("incarnation", Integer, nullable=False),  # no foreign key: to look up each was a third of its cost
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("value", LargeBinary),
    Column("size", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default=Settled.OPEN),
    Column("settled_at", DateTime(timezone=True)),
    Column("settled_by", Text),
    Column("settled_reason", Text),
    _now(),
    Index(None, "incarnation", "topic", "partition", "offset"),  # not unique: as above
    Index(None, "state"),
)

#: Which servers we have met: never updated, the newest of a side counts.
identity = Table(
    "identity",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("side", Text, nullable=False),  # source | registry | copy
    Column("system", Text, nullable=False),
    Column("timeline", Integer, nullable=False),
    Column("database_oid", BigInteger, nullable=False),
    Column("database", Text, nullable=False),
    Column("lsn", Text, nullable=False),
    Column("xid", BigInteger, nullable=False),
    _now(),
    Index(None, "side", "id"),
)

#: What the source stood at before a pass looked at its first row. `run` is the sweep's id.
mark = Table(
    "mark",
    metadata,
    Column("run", Text, primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("server_time", DateTime(timezone=True), nullable=False),
    # When the oldest transaction open then had begun, or `server_time` where none was; NULL where nobody could tell.
    Column("oldest_open", DateTime(timezone=True)),
    Column("highest", LargeBinary),  # the highest key then, where keys have an order
    Column("lsn", Text),
)

#: A full pass over one data type, from its first range to its judgement.
sweep = Table(
    "sweep",
    metadata,
    Column("id", Text, primary_key=True),  # of the run that began it
    Column("data_type", Text, primary_key=True),
    Column("run", Text, nullable=False),  # the last run that went on with it
    Column("state", Text, nullable=False),  # running | covered | finished | abandoned
    Column("bound", JSONB, nullable=False),  # servers, tables, keys, scope and accepted states that it holds for
    Column("started_at", DateTime(timezone=True), nullable=False),  # by the source's clock, as all its times
    Column("finished_at", DateTime(timezone=True)),
    Column("rows", BigInteger),
    Column("verified", BigInteger),
    Column("found", BigInteger),
    Column("fixed", BigInteger),
    Column("oldest_missing", DateTime(timezone=True)),  # creation of the oldest row that was still missing at its end
    Column("note", Text),
    Index(None, "data_type", "id"),
)

#: One part of a pass that was looked at under one snapshot a side: the keys it verified, and those it could not. Ranges
#: are [low, high) and join; where a key has no order, all parts of a table are buckets of one snapshot.
verified_range = Table(
    "verified_range",
    metadata,
    Column("sweep", Text, primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("low", LargeBinary),
    Column("high", LargeBinary),
    Column("buckets", Integer),  # of how many buckets this is number `number`
    Column("at", DateTime(timezone=True), nullable=False),
    Column("lsn", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("registered", BigInteger, nullable=False),
    Column("announced", BigInteger, nullable=False),
    Column("needles", BigInteger, nullable=False),
    Column("verified", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),  # source rows with an accepted registry row
    Column("missing", LargeBinary, nullable=False),  # first sightings, judged when they are seen again
    Column("surplus", LargeBinary, nullable=False),
    Column("stale", LargeBinary, nullable=False),
    ForeignKeyConstraint(["sweep", "data_type"], ["sweep.id", "sweep.data_type"], ondelete="CASCADE"),
)

#: A command that judged, or wrote. `digest` covers the stored report and `previous`, so a report can be checked later.
run = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("settings", Text, nullable=False),  # a hash: a second captain follows the run of the same settings
    Column("state", Text, nullable=False),  # running | finished | failed | interrupted | killed
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("verdict", Text),
    Column("exit_code", SmallInteger),
    Column("report", Text),  # exactly the JSON that was printed
    Column("note", Text),  # why it failed, where it stopped
    Column("number", BigInteger, unique=True),  # place in the hash chain
    Column("previous", Text),
    Column("digest", Text),
    Column("world", JSONB),  # servers, tables, scope and states that it judged (`reconciler.world`)
    Index(None, "started_at"),
)

#: The newest link of the chain, once more: whoever removes the last runs leaves it behind.
chain = Table(
    "chain",
    metadata,
    Column("id", SmallInteger, primary_key=True, server_default="1"),
    Column("number", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
)

proof = Table(
    "proof",
    metadata,
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("data_type", Text),
    Column("held", Boolean),
    Column("seen", Text, nullable=False),
    Column("try", Text),
)

#: The keys a run found, by class and cause.
gap = Table(
    "gap",
    metadata,
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("class", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),
)

#: What a run meant to insert, and what it did insert, batch by batch. A row is written before the registry commits:
#: `xid` is the registry's transaction (xid8), `target` the table and server it went to, so a crash leaves no doubt.
backfill = Table(
    "backfill",
    metadata,
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("batch", Integer, primary_key=True),
    Column("state", Text, nullable=False),  # planned | inserted | reread | undone
    Column("target", JSONB, nullable=False),  # {system, database, table, key}
    Column("kinds", Text, nullable=False),  # of the key, as in `data_type`
    Column("xid", BigInteger, nullable=False),
    Column("planned", LargeBinary, nullable=False),
    Column("inserted", LargeBinary, nullable=False),
    Column("removed", LargeBinary),  # taken back: by the run itself, or by an undo
    _now(),
)

#: Orphans that a sweep removed from the registry, batch by batch, with all that is needed to put them back. `xid` and
#: `target` as in `backfill`; `keys` and `before` are in one order.
removal = Table(
    "removal",
    metadata,
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("data_type", Text, primary_key=True),
    Column("batch", Integer, primary_key=True),
    Column("state", Text, nullable=False),  # planned | inserted (removed, the source not asked again) | reread | undone
    Column("target", JSONB, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("xid", BigInteger, nullable=False),
    Column("action", JSONB, nullable=False),  # {"delete": true}, or {"column": …, "value": …}
    Column("keys", LargeBinary, nullable=False),
    Column("before", JSONB, nullable=False),  # each row whole, or the column's value, as text
    Column("restored", LargeBinary),  # put back: its source row had come back, or by an undo
    _now(),
)

#: One writer of registry rows at a time. (name, epoch) is a key so that a takeover conflicts with FOR KEY SHARE.
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", Text),
    Column("run", Text),
    Column("rank", SmallInteger, nullable=False, server_default="0"),
    Column("expires_at", DateTime(timezone=True)),
    UniqueConstraint("name", "epoch"),
)
