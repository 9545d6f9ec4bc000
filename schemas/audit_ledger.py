"""The audit's tables in the ledger: what it saw and what waits, and the totals behind the counters.

As in `schemas.ledger`: values only, no engine.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, Index, Integer, LargeBinary, Table, Text, func

from schemas.ledger import metadata


def _now() -> Column[object]:
    return Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


#: Totals behind the counters of `schemas.metrics`; each moves in the transaction that did what it counts.
total = Table(
    "total",
    metadata,
    Column("name", Text, primary_key=True),
    Column("subject", Text, primary_key=True),  # a data type, a topic, or nothing
    Column("kind", Text, primary_key=True),  # an op, a class, the bound of a bucket, or nothing
    Column("value", BigInteger, nullable=False),
)

#: How far the audit of a data type has come. `look` is moved by compare-and-set.
audit = Table(
    "audit",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("look", BigInteger, nullable=False),
    Column("bound", Text, nullable=False),  # the source table that was looked at
    Column("looked_at", DateTime(timezone=True), nullable=False),  # by the source's clock
    Column("judged_until", DateTime(timezone=True)),
    Column("low", LargeBinary),  # keys below it were there at an earlier look
    Column("whole_at", DateTime(timezone=True)),
    Column("heard", BigInteger, nullable=False),  # the last segment at that look
    Column("swept", Text),  # the run of the last sweep whose orphans are counted
    Column("blind", Text),
    _now(),
)

#: Every key that a look has seen, in the order of looks; small ones are merged.
audit_seen = Table(
    "audit_seen",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("look", BigInteger, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("low", LargeBinary, nullable=False),
    Column("high", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),
)

#: Keys that wait: for judgement (class ''; `surplus`: registry rows without a source row), to be registered (a gap's class),
#: to be announced late (`healed_drop`), to be removed (an orphan's class; `surplus_before`: there at the first look).
audit_waiting = Table(
    "audit_waiting",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("look", BigInteger, primary_key=True),  # that saw them first
    Column("class", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False),  # the look before: they came after it
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("heard", BigInteger, nullable=False),  # the last segment when they were first seen
    Column("count", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),
)

#: What each look judged, for the drop rate of a window.
audit_look = Table(
    "audit_look",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("look", BigInteger, primary_key=True),
    Column("trials", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("creations", BigInteger, nullable=False),  # announced since the look before
    _now(),
    Index(None, "data_type", "at"),
)

#: Alarms that stand, or ended and were not told yet, so that a restart or a hand-over repeats none and forgets none.
audit_alert = Table(
    "audit_alert",
    metadata,
    Column("name", Text, primary_key=True),
    Column("data_type", Text, primary_key=True),  # or `*`
    Column("place", Text, primary_key=True),  # its other labels, such as `partition=0,topic=t`, or nothing
    Column("number", BigInteger, nullable=False),  # moved by every change, by compare-and-set
    Column("state", Text, nullable=False),  # pending | firing | resolved
    Column("told", Boolean, nullable=False),  # that it fires: a resolved one that was told so is removed
    Column("since", DateTime(timezone=True), nullable=False),  # when its condition was first true
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("value", Double, nullable=False),
    Column("words", Text),  # labels, annotations and keys as they are sent, as JSON; NULL while pending
    _now(),
)
