"""Look at given keys again: are they there, when were they made, what do their columns hold. And how large a table is.

For candidates, which are few: batches of keys go up as arrays, each becomes one index look-up. The reader's condition
applies everywhere; use a reader without one to see rows of any state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from reconciler.probe.arrays import Array, int8s, texts, uuids
from reconciler.probe.blobs import unpacked
from reconciler.probe.heap import relation_bytes
from reconciler.probe.reader import Plan, Reader
from reconciler.probe.tables import canonical, column, literal, not_null
from schemas.errors import CatalogError
from schemas.keys import INT64_MAX, INT64_MIN, Column, CompositeKey, Key, KeySet, key_type

BATCH = 10_000

#: Dates are int64 microseconds since 1970 in UTC, and these.
NO_DATE, MINUS_INFINITY, INFINITY = INT64_MIN, INT64_MIN + 1, INT64_MAX
_Y2000_US = 946_684_800_000_000
#: No timestamp PostgreSQL can send; stands for NULL in packed answers.
_NULL = INT64_MIN + 1


def lookup(reader: Reader, keys: KeySet, columns: Sequence[str]) -> Iterator[tuple[Key, tuple[Any, ...]]]:
    """One entry for each row that has one of the keys: the key, as iterating the set gives it, and the columns' values.

    Not for times: see `dates`.
    """
    wanted = sql.SQL(", ").join([column(name) for name in columns])
    for batch in _batches(keys):
        asked = {_plain(key): key for key in batch}
        query, params = _found(reader, batch, sql.SQL("{}, {}").format(_key(reader), wanted))
        for key, *values in reader.rows(query, params, plan=_plan(reader), binary=False):
            # The column's own equality may be looser than ours: citext, or a collation that ignores case.
            if _plain(key) in asked:
                yield asked[_plain(key)], tuple(values)


def present(reader: Reader, keys: KeySet) -> KeySet:
    """Which of the keys are there."""
    total = keys - keys
    for batch in _batches(keys):
        query, params = _found(reader, batch, _key(reader))
        packed = _packed_keys(reader, query)
        total = total | unpacked(reader, reader.row(packed, params, plan=_plan(reader)))
    return total & keys


def _packed_keys(reader: Reader, query: sql.Composed) -> sql.Composed:
    if reader.table.kind == "int":
        lengths, send = sql.SQL("NULL::bytea"), sql.SQL("pg_catalog.int8send(y.key)")
    else:
        lengths = sql.SQL("pg_catalog.string_agg(pg_catalog.int4send(pg_catalog.octet_length(y.key)), ''::bytea)")
        send = sql.SQL("y.key")
    return sql.SQL("SELECT pg_catalog.count(*), {}, pg_catalog.string_agg({}, ''::bytea) FROM ({}) AS y(key)").format(
        lengths, send, query
    )


def dates(reader: Reader, keys: KeySet) -> Iterator[tuple[Column, npt.NDArray[np.int64]]]:
    """`created_at` of the rows that have these keys, in batches: a column of keys and one of microseconds.

    A time without zone is read in the table's zone, UTC where it has none; one that a clock change made ambiguous is read
    as PostgreSQL does, as standard time, so it may be an hour off.
    """
    stamp = sql.SQL("coalesce(pg_catalog.timestamptz_send({}), {}::bytea)").format(
        instant(reader), literal(f"\\x{_NULL & (1 << 64) - 1:016x}")
    )
    for batch in _batches(keys):
        asked = {_plain(key): key for key in batch}
        query, params = _found(reader, batch, sql.SQL("{}, {}").format(_key(reader), stamp))
        rows = reader.rows(query, params, plan=_plan(reader))
        found = [(asked[_plain(key)], raw) for key, raw in rows if _plain(key) in asked]
        raw = np.frombuffer(b"".join(raw for _, raw in found), ">i8").astype(np.int64)
        yield (
            key_type(reader.table.kinds if reader.table.composite else reader.table.kinds[0]).column([key for key, _ in found]),
            microseconds(raw),
        )


def instant(reader: Reader) -> sql.Composed:
    """`created_at` as timestamptz."""
    table = reader.table
    if table.created_at is None:
        raise CatalogError(f"{table.qualified} has no column that says when a row was created")
    subject = column(table.created_at)
    match table.created_kind:
        case "timestamp":
            return sql.SQL("pg_catalog.timezone({}, {})").format(literal(table.zone or "UTC"), subject)
        case "date":
            return sql.SQL("pg_catalog.timezone({}, {}::timestamp)").format(literal(table.zone or "UTC"), subject)
        case _:
            return sql.SQL("{}::timestamptz").format(subject)


def microseconds(raw: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """PostgreSQL counts from 2000 and keeps both ends of int64 for the infinities."""
    out = np.minimum(raw, INT64_MAX - 1 - _Y2000_US) + _Y2000_US
    out[raw == INT64_MAX] = INFINITY
    out[raw == INT64_MIN] = MINUS_INFINITY
    out[raw == _NULL] = NO_DATE
    return out


def _plan(reader: Reader) -> Plan:
    return Plan.INDEX if reader.table.unique or reader.table.ordered or reader.table.bytewise else Plan.FREE


def _key(reader: Reader) -> sql.Composable:
    return reader.sql("{key}::int8") if reader.table.kind == "int" else canonical(reader.table)


def _plain(key: Key) -> Key:
    """A set gives back a uuid without its last zero bytes, the server with them."""
    return key if isinstance(key, int) else key.rstrip(b"\0")


def _batches(keys: KeySet) -> Iterator[list[Key]]:
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _found(reader: Reader, batch: Sequence[Key], wanted: sql.Composable) -> tuple[sql.Composed, list[Array]]:
    """`wanted` of the rows that have one of the keys."""
    table = reader.table
    arrays = [_array(part, kind) for part, kind in zip(_columns(reader, batch), table.kinds, strict=True)]
    types = {"int": sql.SQL("int8"), "uuid": sql.SQL("uuid"), "text": sql.SQL("text")}
    asked = sql.SQL(", ").join([sql.SQL("pg_catalog.unnest(%b::{}[])").format(types[kind]) for kind in table.kinds])
    names = [sql.Identifier(f"k{at}") for at in range(len(table.key))]
    same = sql.SQL(" AND ").join(
        [sql.SQL("{} = r.{}").format(column(name), part) for name, part in zip(table.key, names, strict=True)]
    )
    rows = sql.SQL("FROM ROWS FROM ({}) AS r({})").format(asked, sql.SQL(", ").join(names))
    if _plan(reader) is Plan.FREE:  # no index to jump with: let the server hash one side
        return reader.sql("SELECT {w} {r} JOIN {table} ON {s}{where}", w=wanted, r=rows, s=same), arrays
    # OFFSET 0 keeps the look-up a look-up: the planner may not turn 10,000 of them into one scan of the table.
    return (
        reader.sql("SELECT x.* {r} CROSS JOIN LATERAL (SELECT {w} FROM {table} WHERE {s}{where} OFFSET 0) AS x",
                   w=wanted, r=rows, s=same),
        arrays,
    )  # fmt: skip


def _columns(reader: Reader, batch: Sequence[Key]) -> list[Sequence[Key]]:
    if not reader.table.composite:
        return [batch]
    shape = key_type(reader.table.kinds)
    assert isinstance(shape, CompositeKey)
    split = [shape.split(key) for key in batch if isinstance(key, bytes)]
    return [list(part) for part in zip(*split, strict=True)] or [[] for _ in reader.table.key]


def _array(keys: Sequence[Key], kind: str) -> Array:
    if kind == "int":
        return int8s(np.array(keys, np.int64))
    if kind == "uuid":
        return uuids(np.array(keys, "S16"))
    return texts([key for key in keys if isinstance(key, bytes)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the server's statistics say of a table; never evidence."""

    rows: int | None  #: None where some part was never analysed
    visible: float | None  #: share of pages marked all-visible: the rest costs an index-only read its name
    bytes: int

    @property
    def warning(self) -> str | None:
        if self.visible is None or self.visible > 0.9:
            return None
        return (
            f"only {self.visible:.0%} of the pages are marked all-visible, so reading will be slower than it could be;"
            " VACUUM the table before a cutover"
        )


def estimate(reader: Reader) -> Estimate:
    """Rows and visibility of all parts together."""
    rows: float | None = 0
    pages = visible = size = 0
    for part in reader.table.parts:
        query = sql.SQL(
            "SELECT reltuples::float8, relpages, relallvisible FROM pg_catalog.pg_class"
            " WHERE oid = pg_catalog.format('%%I.%%I', %b::text, %b::text)::regclass"
        )
        tuples, some, seen = reader.row(query, part)
        rows = None if tuples < 0 or rows is None else rows + tuples
        pages, visible, size = pages + some, visible + seen, size + relation_bytes(reader, part)
    return Estimate(rows=None if rows is None else int(rows), visible=visible / pages if pages else None, bytes=size)


def count_rows(reader: Reader) -> int:
    """Exactly, by reading the table or an index of it."""
    return int(reader.row(reader.sql("SELECT pg_catalog.count(*) FROM {table} WHERE true{where}"), plan=Plan.FREE)[0])


def count_keyless(reader: Reader) -> int:
    """Rows whose key is NULL, in whole or in part: no event and no registry row can name them."""
    query = reader.sql(
        "SELECT pg_catalog.count(*) FROM {table} WHERE ({not_null}) IS NOT TRUE{where}", not_null=not_null(reader.table)
    )
    return int(reader.row(query, plan=Plan.FREE)[0])
