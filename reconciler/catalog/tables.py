"""Turn a declared table into one that can be compared: names that exist, kinds of its key, what may be relied upon.

`facts` refuses (CatalogError) what no comparison could be exact on; what only makes it slower, or must be proved by
another part (partitions, twins, row-level security), is told as a fact. Nothing here reads a row of a user's table.

A unique index counts where it is valid, immediate, not partial, without expressions, and on exactly the key's columns,
in any order: `unique_index`. NULLs are another matter: a row with a NULL in its key has no key, so it is never in a key
set, whatever the index says of NULLs. `nullable` tells where such rows may exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from databases.connect import renamed
from reconciler.catalog import statements
from reconciler.catalog.lookup import relation
from reconciler.catalog.relation import Column, Index, Relation
from reconciler.probe.tables import Table
from schemas.data_types import Condition
from schemas.errors import CatalogError
from schemas.names import shown

#: The key kinds of `schemas.keys`, by the type the catalog tells. What is not here has another notion of equality.
KINDS: Mapping[str, str] = {
    "int2": "int",
    "int4": "int",
    "int8": "int",
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
}
_WHY_NOT = {
    "bpchar": "character(n) ignores trailing blanks when it compares",
    "numeric": "numeric holds one number in many spellings (1, 1.0, NaN)",
    "float4": "a floating-point number has no exact spelling",
    "float8": "a floating-point number has no exact spelling",
    "bytea": "bytes have no agreed spelling in events",
}
#: Types that can date a row.
_TIMES: Mapping[str, Literal["timestamptz", "timestamp", "date"]] = {
    "timestamptz": "timestamptz",
    "timestamp": "timestamp",
    "date": "date",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A table that can be compared, and everything the catalog said of it."""

    table: Table
    relation: Relation
    key: tuple[Column, ...]
    created_at: Column | None
    unique_index: Index | None
    created_at_index: Index | None

    @property
    def oid(self) -> int:
        return self.relation.oid

    @property
    def nullable(self) -> tuple[str, ...]:
        """Key columns that may be NULL: such rows have no key and cannot be compared."""
        return tuple(c.name for c in self.key if not _never_null(self.relation, c))

    @property
    def always_dated(self) -> bool:
        """No row's `created_at` can be NULL."""
        return self.created_at is not None and _never_null(self.relation, self.created_at)

    @property
    def hidden(self) -> list[str]:
        """Why rows of this table may be hidden from us. Empty: nothing hides any."""
        told = []
        relation = self.relation
        if relation.hides_rows:
            told.append(f"row-level security of {relation.shown} applies to our role ({relation.policies} policies)")
        if not relation.usage:
            told.append(f"our role may not look into the schema of {relation.shown}")
        if "select" not in relation.rights:
            unread = [c.name for c in self.read if not c.can_select]
            lacking = f": not even {', '.join(unread)}" if unread else " (some columns alone do not allow its lock)"
            told.append(f"our role has no SELECT on {relation.shown}{lacking}")
        for leaf in relation.below:
            kind = "partition" if relation.partitioned else "child table"
            if leaf.kind == "f":
                told.append(f"the {kind} {leaf.shown} is a foreign table: its rows lie outside our snapshot")
            elif not leaf.usage:
                told.append(f"our role may not look into the schema of the {kind} {leaf.shown}")
        return told + ([] if self.table.by_range else self.closed)

    @property
    def closed(self) -> list[str]:
        """Parts that our role could not read by pages, as it is done where either side's key has no index in order."""
        kind = "partition" if self.relation.partitioned else "child table"
        told = [
            f"our role has no SELECT on the {kind} {leaf.shown}, which is read directly: the key has no index in order"
            for leaf in self.relation.below
            if leaf.kind != "f" and not leaf.can_select
        ]
        told += [
            f"row-level security of the {kind} {leaf.shown} applies to our role, and it is read directly"
            for leaf in self.relation.below
            if leaf.hides_rows
        ]
        return told

    @property
    def seen(self) -> list[str]:
        """What was looked at, in words: for the proof `visible`."""
        relation = self.relation
        told = [f"{relation.shown}: SELECT granted, " + self._security]
        if relation.partitioned:
            told.append(f"{len(relation.leaves)} partitions of {relation.shown}")
        if relation.children:
            told.append(f"{len(relation.children)} tables inherit from {relation.shown}; their rows are read too")
        if relation.is_partition:
            told.append(f"{relation.shown} is itself one partition of another table; the others are not looked at")
        if unlogged := self._unlogged:
            told.append(f"unlogged, so that a crash of the server empties it: {', '.join(unlogged[:5])}")
        if relation.twins:
            told.append(f"tables of the same name that are not looked at: {', '.join(relation.twins[:5])}")
        return told

    @property
    def _unlogged(self) -> list[str]:
        own = [self.relation.shown] if self.relation.persistence == "u" and not self.relation.partitioned else []
        return own + [leaf.shown for leaf in self.relation.below if leaf.persistence == "u"]

    @property
    def read(self) -> tuple[Column, ...]:
        return (*self.key, self.created_at) if self.created_at else self.key

    @property
    def _security(self) -> str:
        if not self.relation.row_security:
            return "no row-level security"
        return "row-level security does not apply to our role"

    @property
    def why_not_unique(self) -> str | None:
        """In words, with the index that comes nearest; None where the key is unique."""
        if self.unique_index and not self.relation.children:
            return None
        relation, wanted = self.relation, {column.number for column in self.key}
        names = ", ".join(column.name for column in self.key)
        if relation.children and self.unique_index:
            return f"{self.unique_index.name} does not cover the tables that inherit from {relation.shown}"
        for index in relation.indexes:
            if index.unique and set(index.columns) == wanted:
                return f"the unique index {index.name} on ({names}) {_fault(index)}"
        for index in relation.indexes:
            if index.unique and wanted < set(index.columns):
                return f"{index.name} makes {relation.names_of(index)} unique, not ({names}) alone"
        for index in relation.indexes:
            if set(index.columns) == wanted and not index.unique:
                return f"the index {index.name} on ({names}) is not unique"
        return f"no unique index on ({names})"


def _fault(index: Index) -> str:
    if not index.valid:
        return "is not valid: it was never finished, or waits for partitions"
    if index.partial:
        return "is partial"
    if not index.immediate:
        return "is deferrable"
    return "knows another equality than PostgreSQL's own"


def resolve(
    connection: psycopg.Connection[Any],
    what: str,
    table: str,
    key: Sequence[str],
    *,
    created_at: str | None = None,
    zone: str | None = None,
) -> Table:
    """The table alone; see `facts`."""
    return facts(connection, what, table, key, created_at=created_at, zone=zone).table


def facts(
    connection: psycopg.Connection[Any],
    what: str,
    table: str,
    key: Sequence[str],
    *,
    created_at: str | None = None,
    zone: str | None = None,
) -> Facts:
    """Look up a declared table of `what` ("the source", "the registry"). Raises CatalogError."""
    found = relation(connection, what, table)
    columns = [found.column(what, name) for name in key]
    if len({column.number for column in columns}) < len(columns):
        raise CatalogError(f"the key of {found.shown} in {what} names the column {shown(columns[0].name)} twice")
    kinds = tuple(_kind(found, what, column) for column in columns)
    if "text" in kinds:
        _utf8(connection, found, what)
    dated = None if created_at is None else _dated(found, what, created_at, zone)
    if dated is not None and zone is not None:
        _known_zone(connection, what, zone)
    unique = found.unique_on(columns)
    # Children of plain inheritance are read with their parent, and no index of the parent covers them.
    ordered = None if found.children else found.ordered_by(columns)
    return Facts(
        table=Table(
            schema=found.schema,
            name=found.name,
            key=tuple(column.name for column in columns),
            kinds=kinds,
            unique=bool(unique and unique.orderly and not found.children),
            ordered=ordered is not None or bool(unique and unique.orderly and not found.children),
            bytewise=ordered is not None and len(columns) == 1 and columns[0].bytewise,
            leaves=found.parts,
            created_at=dated.name if dated else None,
            created_kind=_TIMES[dated.base] if dated else None,
            zone=zone,
        ),
        relation=found,
        key=tuple(columns),
        created_at=dated,
        unique_index=unique,
        created_at_index=found.led_by(dated) if dated and not found.children else None,
    )


def _never_null(found: Relation, column: Column) -> bool:
    return column.never_null or found.checked.get(column.name, False)


def columns_exist(found: Relation, what: str, names: Sequence[str]) -> dict[str, Column]:
    """The columns that scope, accepted states and insert name, by the name as written. Raises CatalogError."""
    return {name: found.column(what, name) for name in names}


def scope_of(found: Relation, what: str, scope: Sequence[Condition]) -> tuple[Condition, ...]:
    """The scope with its columns as the catalog names them."""
    return tuple(term.model_copy(update={"column": found.column(what, term.column).name}) for term in scope)


def _kind(found: Relation, what: str, column: Column) -> str:
    kind = KINDS.get(column.base)
    if kind is None:
        why = _WHY_NOT.get(column.base)
        if column.base.endswith(".citext"):
            why = "citext ignores case when it compares"
        raise CatalogError(
            f"the key column {shown(column.name)} of {found.shown} in {what} is of type {column.type},"
            f" which cannot be a key{': ' + why if why else ''}",
            hint="keys are smallint, integer, bigint, uuid, text or varchar, or several such columns",
        )
    if not column.deterministic:
        raise CatalogError(
            f"the key column {shown(column.name)} of {found.shown} in {what} has a nondeterministic collation:"
            " the database takes different texts for the same key",
            hint="keys are compared byte by byte; give the column a deterministic collation",
        )
    return kind


def _utf8(connection: psycopg.Connection[Any], found: Relation, what: str) -> None:
    with renamed(f"ask {what} for its encoding"):
        row = connection.execute(statements.ENCODING).fetchone()
    encoding = row[0] if row else "unknown"
    if encoding != "UTF8":
        raise CatalogError(
            f"the text key of {found.shown} cannot be compared: {what} holds text as {encoding}, not as UTF-8",
            hint="text keys are compared as their UTF-8 bytes; use an integer or uuid key, or a UTF-8 database",
        )


def _dated(found: Relation, what: str, created_at: str, zone: str | None) -> Column:
    column = found.column(what, created_at)
    if column.base not in _TIMES:
        raise CatalogError(
            f"the column {shown(column.name)} of {found.shown} in {what} is of type {column.type}; a creation is dated"
            " by a timestamp or a date",
            hint="leave created_at out where the table has no such column",
        )
    if column.base != "timestamptz" and zone is None:
        raise CatalogError(
            f"the column {shown(column.name)} of {found.shown} in {what} is of type {column.type}, which has no zone,"
            " so its times cannot be placed",
            hint=f"say in which zone they were written: 'zone: UTC' beside 'created_at: {column.name}'",
        )
    return column


def _known_zone(connection: psycopg.Connection[Any], what: str, zone: str) -> None:
    """The settings know the zone from Python's list; the server has its own."""
    with renamed(f"ask {what} for the zone {shown(zone)}"):
        try:
            with connection.transaction():
                connection.execute("SELECT pg_catalog.now() AT TIME ZONE %s::text", [zone])
        except psycopg.errors.InvalidParameterValue:
            raise CatalogError(f"{what} knows no time zone {shown(zone)}", hint="use a name such as UTC") from None
