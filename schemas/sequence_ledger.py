"""The ledger's tables about numbered events: which numbers were read, which are missing. An estimate, never a verdict.

As in `schemas.ledger`: values only, no engine. `numbering` is `schemas.numbering.Numbering.name`. Ranges are pairs of
signed 64-bit numbers, first and last, in the machine's order of the wire: least significant byte first.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, Table, Text, func

from schemas.ledger import metadata

#: Numbers read and not judged yet: a row for each flush and block of numbers.
sequence_seen = Table(
    "sequence_seen",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("incarnation", Integer, nullable=False),
    Column("numbering", Text, nullable=False),
    Column("block", BigInteger, nullable=False),  # number // BLOCK
    Column("low", BigInteger, nullable=False),
    Column("high", BigInteger, nullable=False),
    Column("keys", LargeBinary, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index(None, "incarnation", "numbering", "block"),
)

#: How far each partition's numbers are known, without a break since `since`; and when it was last read to its end.
sequence_place = Table(
    "sequence_place",
    metadata,
    Column("incarnation", Integer, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
)

#: How far a numbering is judged. Absent: it is not, until all its partitions were read to their ends.
sequence = Table(
    "sequence",
    metadata,
    Column("incarnation", Integer, primary_key=True),
    Column("numbering", Text, primary_key=True),
    Column("floor", BigInteger, nullable=False),  # all numbers up to it are judged
    Column("high", BigInteger, nullable=False),  # the highest that was read
    Column("begun_at", DateTime(timezone=True), nullable=False),
    Column("open", BigInteger),  # numbers below `high` that may come yet; NULL where that would be long to count
    Column("open_ranges", LargeBinary, nullable=False),  # the lowest of them
    Column("at", DateTime(timezone=True), nullable=False),
)

#: What was judged within an hour by the ledger's clock.
sequence_hour = Table(
    "sequence_hour",
    metadata,
    Column("incarnation", Integer, primary_key=True),
    Column("numbering", Text, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("judged", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),  # of those missing then, came after all
    Column("ranges", LargeBinary),  # missing still; NULL once they are only counted
)
