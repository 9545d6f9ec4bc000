"""Read byte keys, or integers too far apart for bits, whole: packed into one answer, in any order, then a key set.

Also the jumps by rank that cut a table into pieces of bounded size.
"""

from __future__ import annotations

import uuid
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import sql

from reconciler.probe.reader import Plan, Reader
from reconciler.probe.tables import canonical, not_null
from schemas.errors import BadKey
from schemas.keys import INT64_MAX, WIDTHS, ByteKeys, IntKeys, Key, KeySet

#: Bytes of a key as it is sent.
_SENT = {"int": 8, "uuid": 16}
#: And how: keys of one width.
_SENDS: dict[str, LiteralString] = {"int": "pg_catalog.int8send(x.k::int8)", "uuid": "pg_catalog.uuid_send(x.k)"}


def between(reader: Reader, low: Key | None, high: Key | None) -> tuple[sql.Composable, list[Any]]:
    """` AND low <= key AND key < high`, with its parameters. Only where the table is read `by_range`."""
    if isinstance(high, int) and high > INT64_MAX:
        high = None
    terms, params = [], []
    for bound, plain, past in ((low, " >= ", " > "), (high, " < ", " <= ")):
        if bound is None:
            continue
        type_, value, above = _parameter(reader, bound)
        operator = sql.SQL(past if above else plain)
        terms.append(reader.sql(" AND {key}{operator}%b::{type_}", operator=operator, type_=sql.SQL(type_)))
        params.append(value)
    return sql.SQL("").join(terms), params


def _parameter(reader: Reader, bound: Key) -> tuple[LiteralString, Any, bool]:
    """A bound as the key column takes it: type, value, and whether it lies just above that value (`KeyType.after`)."""
    if isinstance(bound, int):
        return "int8", bound, False
    if reader.table.kind == "uuid":
        return "uuid", uuid.UUID(bytes=bound[:16].ljust(16, b"\0")), len(bound) > 16
    plain = bound.rstrip(b"\0")
    return "text", plain.decode(), len(plain) < len(bound)


def key_from(value: Any) -> Key:
    """A key column's value, as the driver decodes it."""
    match value:
        case uuid.UUID():
            return value.bytes
        case str():
            return value.encode()
        case _:
            return int(value)


def ranked(reader: Reader, low: Key | None, high: Key | None, rank: int) -> Key | None:
    """The key of the row that has `rank` rows before it in [low, high), whatever their state; None where there are fewer.

    The reader's condition is left out on purpose: a walk to the n-th accepted row could cross the whole table, each time.
    """
    bounds, params = between(reader, low, high)

    def compose() -> sql.Composed:
        return reader.sql(
            "SELECT {key} FROM {table} WHERE {key} IS NOT NULL{bounds} ORDER BY {key} OFFSET %b::int8 LIMIT 1", bounds=bounds
        )

    shape = ("ranked", bounds.as_bytes(reader.connection))
    rows = reader.rows(reader.once(shape, compose), [*params, rank], plan=Plan.INDEX)
    return key_from(rows[0][0]) if rows else None


def extremes(reader: Reader, low: Key | None, high: Key | None) -> tuple[Key, Key] | None:
    """Least and greatest key of [low, high), whatever the rows' state."""
    first = ranked(reader, low, high, 0)
    if first is None:
        return None
    bounds, params = between(reader, low, high)
    query = reader.sql("SELECT {key} FROM {table} WHERE {key} IS NOT NULL{bounds} ORDER BY {key} DESC LIMIT 1", bounds=bounds)
    ((last,),) = reader.rows(query, params, plan=Plan.INDEX)
    return first, key_from(last)


def first_keys(reader: Reader, low: Key | None, high: Key | None, limit: int | None = None) -> tuple[KeySet, bool]:
    """The first keys of [low, high), at most `limit` rows of them, and whether that was all. None: known to be few."""
    bounds, params = between(reader, low, high)
    kind = reader.table.kind
    shape = ("first keys", bounds.as_bytes(reader.connection), limit)
    row = list(reader.row(reader.once(shape, lambda: _first_keys(reader, bounds, limit)), params, plan=Plan.INDEX))
    if kind in _SENDS:
        # Not counted beside: of keys of one width the answer's length tells how many came, and counting costs a tenth more.
        (data,) = row
        row = [len(data or b"") // _SENT[kind], None, data]
    count, lengths, data = row
    return unpacked(reader, (count, lengths, data)), limit is None or count < limit


def _first_keys(reader: Reader, bounds: sql.Composable, limit: int | None) -> sql.Composed:
    tail: sql.Composable = sql.SQL("")
    if limit is not None:
        tail = reader.sql(" ORDER BY {key} LIMIT {limit}", limit=sql.Literal(limit))
    if (send := _SENDS.get(reader.table.kind)) is None:
        return packing(reader, reader.sql("{table}"), bounds, tail)
    return reader.sql(
        "SELECT pg_catalog.string_agg({send}, ''::bytea) FROM"
        " (SELECT {key} AS k FROM {table} WHERE {key} IS NOT NULL{bounds}{where}{tail}) AS x",
        bounds=bounds,
        tail=tail,
        send=sql.SQL(send),
    )


def packing(reader: Reader, rows: sql.Composable, bounds: sql.Composable, tail: sql.Composable) -> sql.Composed:
    """Lengths and bytes of the canonical keys of some rows, in one answer."""
    return sql.SQL(
        "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int4send(pg_catalog.octet_length(x.c)), ''::bytea),"
        " pg_catalog.string_agg(x.c, ''::bytea)"
        " FROM (SELECT {canonical} AS c FROM {rows} WHERE {not_null}{bounds}{where}{tail} OFFSET 0) AS x"
    ).format(
        canonical=canonical(reader.table),
        rows=rows,
        not_null=not_null(reader.table),
        bounds=bounds,
        where=reader.and_where(),
        tail=tail,
    )


def unpacked(reader: Reader, row: tuple[int, bytes | None, bytes | None]) -> KeySet:
    """The set of a packed answer."""
    count, lengths, data = row[0], row[1], row[2] or b""
    kind = reader.table.kind
    if kind == "int":
        found = np.frombuffer(data, ">i8").astype(np.int64)
        if len(found) != count:
            raise reader.incomplete(f"{len(found)} keys of {count} came")
        return IntKeys.of(found)
    if kind == "uuid":
        if len(data) != 16 * count:
            raise reader.incomplete(f"{len(data)} bytes came for {count} uuids")
        return ByteKeys.of(np.frombuffer(data, "S16"))
    sizes = np.frombuffer(lengths or b"", ">i4").astype(np.int64)
    if len(sizes) != count or sizes.sum() != len(data):
        raise reader.incomplete(f"{len(data)} bytes came for {count} keys")
    classes = split(data, sizes, reader.table.qualified)
    return ByteKeys({w: part for column in classes for w, part in ByteKeys.of(column).classes.items()})


def split(data: bytes, sizes: npt.NDArray[np.int64], table: str) -> list[npt.NDArray[np.bytes_]]:
    """Packed keys as `S` columns, one for each width class."""
    if len(sizes) and sizes.max() > WIDTHS[-1]:
        raise BadKey(f"{table} holds a key of {sizes.max()} bytes; at most {WIDTHS[-1]} can be compared")
    flat, out, low = np.frombuffer(data, np.uint8), [], -1
    for width in WIDTHS:
        chosen = (sizes > low) & (sizes <= width)
        low = width
        if not chosen.any():
            continue
        mine, part = sizes[chosen], flat if chosen.all() else flat[np.repeat(chosen, sizes)]
        padded = np.zeros((len(mine), width), np.uint8)
        padded[np.arange(width) < mine[:, None]] = part
        out.append(padded.view(f"S{width}").ravel())
    return out
