"""Read a table's keys in the order they lie on disk, where no index gives a useful order.

By ranges of pages (TID range scans, PostgreSQL 14 and later), partition by partition, each range one complete answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from reconciler.probe.blobs import packing, unpacked
from reconciler.probe.reader import Plan, Reader
from reconciler.probe.tables import quoted
from schemas.errors import CatalogError
from schemas.keys import KeySet

#: A page of 8 KiB holds at most 291 rows, so an answer stays within some megabytes.
PAGES = 512


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages [first, end) of one relation; end None: to its end, whatever was added since its size was asked."""

    part: tuple[str, str]
    first: int
    end: int | None


def pages(reader: Reader) -> list[Pages]:
    """All pages, cut into bounded pieces."""
    if reader.connection.info.server_version < 140_000:
        raise CatalogError(
            f"cannot read {reader.table.qualified} by pages: the server is older than PostgreSQL 14",
            hint="a unique index on exactly the key (for text: under collation C) is needed there",
        )
    out = []
    for part in reader.table.parts:
        count = relation_bytes(reader, part) // _block_bytes(reader)
        firsts = range(0, max(count, 1), PAGES)
        out += [Pages(part, first, first + PAGES if first + PAGES < count else None) for first in firsts]
    return out


def relation_bytes(reader: Reader, part: tuple[str, str]) -> int:
    query = sql.SQL("SELECT pg_catalog.pg_relation_size(pg_catalog.format('%%I.%%I', %b::text, %b::text)::regclass)")
    return int(reader.row(query, part)[0] or 0)


def _block_bytes(reader: Reader) -> int:
    return int(reader.row(sql.SQL("SELECT pg_catalog.current_setting('block_size')::int4"))[0])


def read_pages(reader: Reader, some: Pages) -> KeySet:
    """The keys of the rows on these pages."""
    rows = sql.SQL("ONLY {} AS t").format(quoted(*some.part))
    bounds = sql.SQL(" AND t.ctid >= {}::tid").format(sql.Literal(f"({some.first},0)"))
    if some.end is not None:
        bounds += sql.SQL(" AND t.ctid < {}::tid").format(sql.Literal(f"({some.end},0)"))
    if reader.table.kind in ("int", "uuid"):
        send = reader.sql("pg_catalog.int8send({key}::int8)" if reader.table.kind == "int" else "pg_catalog.uuid_send({key})")
        query = reader.sql(
            "SELECT pg_catalog.count(*), NULL::bytea, pg_catalog.string_agg({send}, ''::bytea)"
            " FROM {rows} WHERE {key} IS NOT NULL{bounds}{where}",
            rows=rows,
            bounds=bounds,
            send=send,
        )
    else:
        query = packing(reader, rows, bounds, sql.SQL(""))
    return unpacked(reader, reader.row(query, (), plan=Plan.HEAP))


def all_keys(reader: Reader) -> Iterator[KeySet]:
    """Every key, in pieces; one key may come in several."""
    for some in pages(reader):
        yield read_pages(reader, some)
