"""Debezium's rules, for both encodings: the change envelope, and outbox tables read through it.

| op | row changes (no `event` block) | outbox (`event` block) |
|---|---|---|
| `c`, `r` | creation of the key in `after`: the log did announce the row to its readers | an event, as the block says |
| `u` | nothing; where the key changed, deletion of the old and creation of the new one | ignored |
| `d` | deletion of the key in `before` | ignored |
| `t` | unreadable: a truncation cannot be told key by key | ignored |
| `m` | ignored | ignored |

Heartbeats, transaction marks and tombstones are ignored. A flattened record (the unwrap transform) has no `op` and is
unreadable, for nobody could tell what it announces. A record counts for a route only if `source.table` (and
`source.schema`, where both are told) is the data type's own table: topic names collide, routers merge topics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from consumer.formats.contract import Route
from consumer.formats.paths import split
from consumer.formats.plan import Clock, Match, Plan, Say, declared, plain, zone_of
from schemas.names import column_itself, table_name

OP = ("op",)
SAYS = {
    "c": Say.CREATE,
    "r": Say.CREATE,
    "u": Say.CHANGE,
    "d": Say.DELETE,
    "t": Say.TRUNCATE,
    "m": Say.NOTHING,
}
#: Commit time at the source first, in the finest unit told; the connector's own clock last.
CLOCKS = (
    Clock(path=("source", "ts_us"), unit="us"),
    Clock(path=("source", "ts_ms"), unit="ms"),
    Clock(path=("ts_us",), unit="us"),
    Clock(path=("ts_ms",), unit="ms"),
)
FLATTENED = "the record has no 'op': flattened by the unwrap transform, it does not say what happened"


def change_plan(route: Route, topic: str, *, alone: bool) -> Plan:
    """Rows of the source table itself. `alone`: no other route reads this topic."""
    key = tuple(map(column_itself, route.data_type.source.key))
    return Plan(
        name=route.name,
        key_type=route.key_type,
        zone=zone_of(route),
        matches=(*declared(route), *tables(route, topic, alone=alone)),
        op=OP,
        says=SAYS,
        strict_op=True,
        created=tuple(("after", column) for column in key),
        deleted=tuple(("before", column) for column in key),
        clocks=CLOCKS,
        broker_time=False,
        table=route.data_type.source.table,
    )


def outbox_plan(route: Route) -> Plan:
    """Rows of an outbox table: each inserted row is an event."""
    assert route.data_type.event is not None
    return plain(route, route.data_type.event, (Match(path=OP, literals=("c", "r")),))


def tables(route: Route, topic: str, *, alone: bool) -> tuple[Match, ...]:
    """Which table a record must come from. Settings that match on `source.…` themselves decide instead."""
    if any(split(path)[0] == "source" for path in route.data_type.match):
        return ()
    schema, table = table_name(route.data_type.source.table)
    schemas, names = (schema.spellings if schema else ()), [*table.spellings]
    parts = topic.split(".")
    # A topic named after another table of the same schema was put under this data type by its operator: partitions
    # report their own names. Where the topic's name fits our own table, another table there is a collision.
    if alone and len(parts) > 2 and among(parts[-2], schemas) and not among(parts[-1], names):
        names.append(parts[-1])
    matches = [Match(path=("source", "table"), literals=tuple(names), absent_ok=True)]
    if schemas:
        matches.append(Match(path=("source", "schema"), literals=schemas, absent_ok=True))
    return tuple(matches)


def among(part: str, names: Iterable[str]) -> bool:
    """Whether a part of a topic's name may stand for one of these."""
    return folded(part) in map(folded, names)


def folded(name: str) -> str:
    """A name with every sign that some connector or broker replaces taken for one and the same."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def bookkeeping(names: AbstractSet[str]) -> bool:
    """Whether a record with these top-level fields is a heartbeat or a transaction mark."""
    if names & {"op", "before", "after"}:
        return False
    return names <= {"ts_ms", "ts_us", "ts_ns"} or {"status", "event_count"} <= names
