"""Read a window by time: through the index on `created_at`, or by finding the key it starts at.

Both are shortcuts (design §6.2): the whole compare needs neither.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from reconciler.probe.blobs import between, extremes, key_from
from reconciler.probe.reader import Plan, Reader
from reconciler.probe.rows import instant
from reconciler.probe.tables import canonical, column, literal, not_null
from schemas.errors import CatalogError
from schemas.keys import Key, KeySet, key_type

#: A time without zone may be read an hour or a day wrong (clock changes, a zone misdeclared): the window starts earlier.
NAIVE_MARGIN = timedelta(hours=26)
_FETCH = 20_000


def keys_since(reader: Reader, since_us: int) -> KeySet:
    """Keys of rows dated at or after `since_us`, in the future included, and of rows that no date places: NULL, ±infinity.

    For windows that are a small part of the table, with an index on the time. One Python object for each row.
    """
    table = reader.table
    shape = key_type(table.kinds if table.composite else table.kinds[0])
    wanted = reader.sql("{key}::int8") if table.kind == "int" else canonical(table)
    assert table.created_at is not None, "instant() raises first"
    when = column(table.created_at)
    total = shape.empty()
    for dated in (
        sql.SQL("{} >= {}").format(when, _start(reader, since_us)),
        sql.SQL("{} IS NULL").format(when),
        sql.SQL("{} = '-infinity'").format(when),
    ):
        query = reader.sql(
            "SELECT {wanted} FROM {table} WHERE {not_null} AND {dated}{where}",
            wanted=wanted,
            not_null=not_null(table),
            dated=dated,
        )
        for batch in reader.stream(query, _FETCH):
            total = total | shape.of([key for (key,) in batch])
    return total


def _start(reader: Reader, since_us: int) -> sql.Composable:
    """The start of the window in the column's own type, so that its index serves."""
    instant(reader)  # raises where there is no such column
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_us)
    if reader.table.created_kind not in ("timestamp", "date"):
        return literal(since)
    local = sql.SQL("pg_catalog.timezone({}, {}::timestamptz)").format(
        literal(reader.table.zone or "UTC"), literal(since - NAIVE_MARGIN)
    )
    return sql.SQL("{}::date").format(local) if reader.table.created_kind == "date" else local


def key_bisect(reader: Reader, since_us: int) -> Key | None:
    """The least key that may be dated at or after `since_us`, where dates never fall as the key rises; None: no such row.

    That they never fall is believed. Rows without a date are passed over: who cuts by key makes sure there are none.
    """
    if reader.table.kind not in ("int", "uuid") or not reader.table.by_range:
        raise CatalogError(f"cannot search {reader.table.qualified} by time: its key is neither an integer nor a uuid")
    ends = extremes(reader, None, None)
    if ends is None:
        return None
    low, high = _number(ends[0]), _number(ends[1]) + 1
    top = high
    assert reader.table.created_at is not None, "instant() raises first"
    start = _start(reader, since_us)
    while low < high:
        middle = (low + high) // 2
        bounds, params = between(reader, _key(reader, middle), None)
        query = reader.sql(
            "SELECT {key}, {when} >= {start} FROM {table} WHERE {when} IS NOT NULL{bounds} ORDER BY {key} LIMIT 1",
            when=column(reader.table.created_at),
            start=start,
            bounds=bounds,
        )
        rows = reader.rows(query, params, plan=Plan.INDEX)
        if not rows or rows[0][1]:
            high = middle
        else:
            low = _number(key_from(rows[0][0])) + 1
    return None if low == top else _key(reader, low)


def _number(key: Key) -> int:
    return key if isinstance(key, int) else int.from_bytes(key.ljust(16, b"\0"), "big")


def _key(reader: Reader, number: int) -> Key:
    return number if reader.table.kind == "int" else number.to_bytes(16, "big")
