"""Whether a publication announces the insertions and deletions of a table and of all its partitions, unfiltered."""

from __future__ import annotations

from typing import Any

import psycopg

from databases.connect import renamed
from reconciler.catalog import Facts

#: Publications of a table, by its own name or a partition's; a row filter is a scope of its own.
PUBLISHED = """
SELECT p.pubname::text, p.pubinsert, p.pubdelete, pg_catalog.to_jsonb(t) ->> 'rowfilter',
       (SELECT pg_catalog.array_agg(x.name) FROM pg_catalog.jsonb_array_elements_text(
           CASE WHEN pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(t) -> 'attnames') = 'array'
                THEN pg_catalog.to_jsonb(t) -> 'attnames' END) x (name)),
       t.schemaname::text, t.tablename::text
  FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname
 WHERE (t.schemaname::text, t.tablename::text)
       IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND (%s::text IS NULL OR p.pubname::text = %s::text)"""

Row = tuple[Any, ...]


def published(connection: psycopg.Connection[Any], found: Facts, publication: str | None) -> list[Row]:
    """Publications that have the table or a partition of it; None: any publication."""
    relation = found.relation
    tables = [(relation.schema, relation.name), *((leaf.schema, leaf.name) for leaf in relation.leaves)]
    asked = [[schema for schema, _ in tables], [name for _, name in tables], publication, publication]
    with renamed(f"look for publications of {relation.shown}"):
        return connection.execute(PUBLISHED, asked).fetchall()


def left_out(found: Facts, rows: list[Row]) -> list[str]:
    """Partitions that none of these publications has."""
    relation, have = found.relation, {(row[5], row[6]) for row in rows}
    if not relation.leaves or (relation.schema, relation.name) in have:
        return []
    return [leaf.shown for leaf in relation.leaves if (leaf.schema, leaf.name) not in have]


def lacking(connection: psycopg.Connection[Any], found: Facts, publication: str | None) -> str | None:
    """Why rows of the table may go unannounced; None where nothing speaks for it."""
    rows = published(connection, found, publication)
    shown = found.relation.shown
    if not rows:
        named = f"the publication {publication!r} does not have" if publication else "no publication has"
        return f"{named} {shown}"
    if missing := left_out(found, rows):
        return f"partitions that no publication has: {', '.join(missing[:5])}"
    for name in sorted({str(row[0]) for row in rows}) if publication else ():
        mine = [row for row in rows if row[0] == name]
        silent = [what for what, at in (("insertions", 1), ("deletions", 2)) if not mine[0][at]]
        if silent:
            return f"the publication {name!r} does not announce {' nor '.join(silent)} of {shown}"
        if any(row[3] for row in mine):
            return f"the publication {name!r} filters rows of {shown}"
    return None
