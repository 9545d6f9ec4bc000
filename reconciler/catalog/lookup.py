"""Find a table in the catalog by the name in the settings, and read everything about it.

Inside the caller's transaction and snapshot. What is not there, or no table, is a CatalogError with the closest names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from databases.connect import renamed
from reconciler.catalog import statements
from reconciler.catalog.relation import RIGHTS, Column, Index, Leaf, Relation
from schemas.errors import CatalogError, NamedInVain
from schemas.names import Name, meant, qualified, shown, table_name


def relation(connection: psycopg.Connection[Any], what: str, table: str) -> Relation:
    """Look a table up by the name in the settings. `what` is "the source" or "the registry". Raises CatalogError."""
    schema, name = table_name(table)
    with renamed(f"read the catalog of {what}"):
        named = connection.execute(statements.NAMED, [list(name.spellings)]).fetchall()
        chosen = _chosen(named, schema, name)
        if chosen is None:
            raise _absent(connection, what, table, schema, name, named)
        oid, schema_name, table_own, kind = chosen
        if kind not in ("r", "p"):
            raise NamedInVain(_refused(what, qualified(schema_name, table_own), kind), hint=_REFUSED[kind][1])
        twins = [qualified(s, n) for other, s, n, k in named if k in "rpvmf" and n == table_own and other != oid]
        return _read(connection, oid, schema_name, table_own, tuple(twins))


def _chosen(named: Sequence[Any], schema: Name | None, name: Name) -> Any:
    """The best spelling wins: table and schema as written, then folded. None: nothing, or not without a schema."""
    for spelling in name.spellings:
        found = [row for row in named if row[2] == spelling]
        if schema is None:
            tables = [row for row in found if row[3] in "rpvmf"]
            if tables:
                return tables[0] if len(tables) == 1 and tables[0][1] == "public" else None
        else:
            for schema_spelling in schema.spellings:
                for row in found:
                    if row[1] == schema_spelling:
                        return row
    return None


def _absent(
    connection: psycopg.Connection[Any], what: str, table: str, schema: Name | None, name: Name, named: Sequence[Any]
) -> NamedInVain:
    tables = [qualified(row[1], row[2]) for row in named if row[3] in "rpvmf"]
    if schema is None and tables:
        count = "one table" if len(tables) == 1 else f"{len(tables)} tables"
        return NamedInVain(
            f"{shown(table)} names no schema, and {what} has {count} of that name: {', '.join(tables[:5])}",
            hint=f"write the schema too: {' or '.join(tables[:3])}",
        )
    wanted = qualified(schema.written if schema else "public", name.written)
    rows = connection.execute(statements.TABLES).fetchall()
    beside = schema.spellings if schema else ("public",)
    known = [qualified(*row) for row in sorted(rows, key=lambda row: row[0] not in beside)]
    elsewhere = f"did you mean {' or '.join(tables[:3])}?" if tables else meant(wanted, known)
    return NamedInVain(
        f"{what} has no table {shown(table)}",
        hint=elsewhere or ("its tables: " + ", ".join(known[:10]) if known else "this database has no tables at all"),
    )


_REFUSED = {
    "v": ("a view, which may hide rows and has no index that proves its key unique", "name the table behind it"),
    "m": ("a materialized view, which is only as new as its last refresh", "name the table it is made from"),
    "f": ("a foreign table, whose rows lie outside this server's snapshots", "connect to the server that holds it"),
    "S": ("a sequence", "name a table"),
    "i": ("an index", "name the table it belongs to"),
    "I": ("an index", "name the table it belongs to"),
    "c": ("a composite type", "name a table"),
}


def _refused(what: str, name: str, kind: str) -> str:
    return f"{name} in {what} is {_REFUSED[kind][0]}; wanted is a table"


def _read(connection: psycopg.Connection[Any], oid: int, schema: str, name: str, twins: tuple[str, ...]) -> Relation:
    facts = connection.execute(statements.RELATION, [oid]).fetchone()
    if facts is None:
        raise CatalogError(f"the table {qualified(schema, name)} was dropped while we looked at it")
    kind, persistence, owner, pages, visible, rows, *more = facts
    secured, forced, hides, usage, *rights, identity, part, policies = more
    families = connection.execute(statements.BELOW, [oid]).fetchall()
    leaves = [_leaf(row) for row in families if row[3] != "p"]
    if kind == "p":  # a partitioned table has no pages of its own, and its estimate may be older than theirs
        pages, visible = sum(leaf.pages for leaf in leaves), sum(leaf.visible_pages for leaf in leaves)
        known = [leaf.rows for leaf in leaves]
        rows = sum(known) if known and min(known) >= 0 else -1.0
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        partitioned=kind == "p",
        persistence=persistence,
        owner=owner,
        pages=pages,
        visible_pages=visible,
        rows=rows,
        row_security=secured,
        forced=forced,
        hides_rows=hides,
        policies=policies,
        usage=usage,
        rights=frozenset(right for right, has in zip(RIGHTS, rights, strict=True) if has),
        replica_identity=identity,
        is_partition=part,
        below=tuple(leaves),
        columns=tuple(_column(row) for row in connection.execute(statements.COLUMNS, {"oid": oid}).fetchall()),
        indexes=tuple(_index(row) for row in connection.execute(statements.INDEXES, [oid]).fetchall()),
        checked=dict(connection.execute(statements.CHECKED, [oid]).fetchall()),
        twins=twins,
    )


def _leaf(row: Sequence[Any]) -> Leaf:
    oid, schema, name, kind, persistence, pages, visible, rows, hides, usage, can_select = row
    return Leaf(
        oid=oid,
        schema=schema,
        name=name,
        kind=kind,
        persistence=persistence,
        pages=pages,
        visible_pages=visible,
        rows=rows,
        hides_rows=hides,
        usage=usage,
        can_select=can_select,
    )


_COLUMN = (
    *("number", "name", "type", "base", "type_schema", "type_name", "category", "modifier", "never_null", "not_null"),
    *("filled", "identity", "generated", "deterministic", "bytewise", "can_select", "can_insert", "can_update"),
)


def _column(row: Sequence[Any]) -> Column:
    return Column(**dict(zip(_COLUMN, row, strict=True)))


def _index(row: Sequence[Any]) -> Index:
    name, unique, primary, immediate, valid, partial, expressions, btree, orderly, columns = row
    return Index(
        name=name,
        unique=unique,
        primary=primary,
        immediate=immediate,
        valid=valid,
        partial=partial,
        expressions=expressions,
        btree=btree,
        orderly=orderly,
        columns=tuple(columns),
    )
