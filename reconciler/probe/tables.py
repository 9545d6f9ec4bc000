"""What a probe reads: one table as the catalog describes it, and its key as canonical values in SQL.

Pure: no connection. Names reach SQL through `quoted`, never as text of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql
from psycopg.abc import AdaptContext

Kind = Literal["int", "uuid", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table or partitioned table, resolved from the catalog. Every claim here is believed: a wrong one loses keys."""

    schema: str
    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]  #: per key column. `text` stands for text, varchar and domains over them, never char(n)
    #: A valid, non-partial, immediate unique index on exactly the key. Rows with a NULL in their key are in no key range,
    #: so they are never counted along; `count_keyless` tells how many there are.
    unique: bool
    #: Some valid, non-partial btree begins with exactly the key columns, unique or not. `unique` implies it.
    ordered: bool = False
    #: That btree sorts the canonical bytes: uuid; or text in a UTF-8 database whose column and index collation is C,
    #: POSIX or pg_c_utf8. An index with another collation than its column's does not count.
    bytewise: bool = False
    leaves: tuple[tuple[str, str], ...] | None = None  #: (schema, name) of the leaf partitions, when partitioned
    created_at: str | None = None
    created_kind: Literal["timestamptz", "timestamp", "date"] | None = None
    zone: str | None = None  #: of a timestamp or date without time zone; UTC where unsaid

    @property
    def composite(self) -> bool:
        return len(self.key) > 1

    @property
    def kind(self) -> str:
        return "composite" if self.composite else self.kinds[0]

    @property
    def by_range(self) -> bool:
        """Whether ranges of canonical keys are ranges of an index, so that slices can be read in key order."""
        return not self.composite and (self.bytewise if self.kind != "int" else self.unique or self.ordered)

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The relations that hold the rows."""
        return ((self.schema, self.name),) if self.leaves is None else self.leaves


class Inert(sql.Composable):
    """SQL that holds no placeholders. psycopg does not double `%` in identifiers and literals, so a column named `a%b`
    or a literal '50%' would be read as a placeholder."""

    def __init__(self, inner: sql.Composable) -> None:
        super().__init__(inner)

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        inner: sql.Composable = self._obj
        return bytes(inner.as_bytes(context)).replace(b"%", b"%%")


def quoted(*names: str) -> Inert:
    return Inert(sql.Identifier(*names))


def literal(value: Any) -> Inert:
    return Inert(sql.Literal(value))


def column(name: str) -> sql.Composed:
    """A column of the table under probe, which every statement calls `t`."""
    return sql.SQL("t.{}").format(quoted(name))


def canonical(table: Table) -> sql.Composed:
    """The canonical bytes of `schemas.keys` as a bytea expression; NULL where any part is NULL. Not for int keys.

    `textsend` writes in the client's encoding, which is pinned to UTF-8.
    """
    if table.kind == "uuid":
        return sql.SQL("pg_catalog.uuid_send({})").format(column(table.key[0]))
    if table.kind == "text":
        return sql.SQL("pg_catalog.textsend({}::pg_catalog.text)").format(column(table.key[0]))
    parts = [_part(name, kind) for name, kind in zip(table.key, table.kinds, strict=True)]
    return sql.SQL("pg_catalog.textsend({})").format(sql.SQL(" || pg_catalog.chr(31) || ").join(parts))


def _part(name: str, kind: str) -> sql.Composed:
    text = sql.SQL("{}::pg_catalog.text").format(column(name))
    if kind != "text":
        return text
    # COLLATE "C": replace() refuses nondeterministic collations, and must never follow a locale's idea of equality.
    return sql.SQL(
        "pg_catalog.replace(pg_catalog.replace({} COLLATE pg_catalog.\"C\", E'\\\\', E'\\\\\\\\'),"
        " pg_catalog.chr(31), E'\\\\u')"
    ).format(text)


def not_null(table: Table) -> sql.Composed:
    """Rows that have a key at all."""
    return sql.SQL(" AND ").join([sql.SQL("{} IS NOT NULL").format(column(name)) for name in table.key])
