"""One table as the catalog has it: its columns, indexes, partitions, and what this role may do there.

Facts only: `lookup` fills them in, `tables` decides what they are good for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from schemas.errors import NamedInVain
from schemas.names import column_spellings, meant, qualified, shown


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column; `base` is the type below every domain, named bare where PostgreSQL itself brings it."""

    number: int
    name: str
    type: str  #: as the catalog prints it: `character varying(255)`
    base: str
    type_schema: str
    type_name: str
    category: str  #: of the base type: b base, c composite, e enum, r range, m multirange, p pseudo
    modifier: int
    never_null: bool  #: no row is NULL here; a NOT NULL that is not valid yet does not promise it
    not_null: bool  #: no new row may be NULL here
    filled: bool  #: a default, an identity or a generation expression fills it when it is left out
    identity: str  #: '' | 'a' always | 'd' by default
    generated: str  #: '' | 's' stored | 'v' virtual
    deterministic: bool  #: equal means equal bytes
    bytewise: bool  #: its collation orders by bytes; true where no collation is involved
    can_select: bool
    can_insert: bool
    can_update: bool

    @property
    def limit(self) -> int | None:
        """The n of varchar(n)."""
        return self.modifier - 4 if self.base in ("varchar", "bpchar") and self.modifier >= 4 else None


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index; `columns` are the numbers of its key columns, 0 for an expression."""

    name: str
    unique: bool
    primary: bool
    immediate: bool  #: not deferrable
    valid: bool  #: valid, ready and live
    partial: bool
    expressions: bool
    btree: bool  #: a btree with PostgreSQL's own notion of equality
    orderly: bool  #: it serves `ORDER BY` of its columns: default operator classes, the columns' own collations
    columns: tuple[int, ...]

    @property
    def usable(self) -> bool:
        """Whether every row stands in it."""
        return self.valid and self.btree and not self.partial

    @property
    def proves_unique(self) -> bool:
        return self.usable and self.unique and self.immediate and not self.expressions


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A partition without partitions of its own, or a child of plain inheritance."""

    oid: int
    schema: str
    name: str
    kind: str  #: pg_class.relkind: r, f
    persistence: str
    pages: int
    visible_pages: int
    rows: float
    hides_rows: bool
    usage: bool  #: may look into its schema
    can_select: bool  #: directly; through its root it is read with the root's grant

    @property
    def shown(self) -> str:
        return qualified(self.schema, self.name)


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table, ordinary or partitioned."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    persistence: str  #: p permanent | u unlogged
    owner: str
    pages: int  #: with those of its partitions
    visible_pages: int
    rows: float  #: the planner's estimate; negative: never analysed
    row_security: bool
    forced: bool
    hides_rows: bool  #: row-level security applies to this role
    policies: int
    usage: bool  #: may look into the schema
    rights: frozenset[str]  #: of this role on the whole table: select, insert, update, delete, truncate
    replica_identity: str  #: d default (the primary key) | n nothing | f full | i an index
    is_partition: bool
    below: tuple[Leaf, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    checked: Mapping[str, bool]  #: columns that a check constraint forbids to be empty; whether that was validated
    twins: tuple[str, ...]  #: tables of that name in other schemas

    @property
    def shown(self) -> str:
        """For words, never for SQL."""
        return qualified(self.schema, self.name)

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return self.below if self.partitioned else ()

    @property
    def children(self) -> tuple[Leaf, ...]:
        """Tables that inherit without partitioning: their rows are read too, but no index covers them."""
        return () if self.partitioned else self.below

    @property
    def parts(self) -> tuple[tuple[str, str], ...] | None:
        """The relations that hold the rows, each its own; None where it is this one alone."""
        if not self.partitioned and not self.below:
            return None
        own = () if self.partitioned else ((self.schema, self.name),)
        return (*own, *((part.schema, part.name) for part in self.below))

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def column(self, what: str, name: str) -> Column:
        """Raises NamedInVain with the closest names."""
        for spelling in column_spellings(name):
            if spelling in self.by_name:
                return self.by_name[spelling]
        raise NamedInVain(
            f"{self.shown} in {what} has no column {shown(name)}",
            hint=meant(name, self.by_name) or f"its columns: {', '.join(list(self.by_name)[:20])}",
        )

    def unique_on(self, columns: Sequence[Column]) -> Index | None:
        """The index that makes exactly these columns unique, in any order."""
        wanted = sorted(column.number for column in columns)
        return next((i for i in self.indexes if i.proves_unique and sorted(i.columns) == wanted), None)

    def led_by(self, column: Column) -> Index | None:
        """An index that finds every row by a range of this column."""
        return self.ordered_by([column])

    def ordered_by(self, columns: Sequence[Column]) -> Index | None:
        """An index of every row that begins with exactly these columns, in their own order."""
        wanted = tuple(column.number for column in columns)
        fit = (i for i in self.indexes if i.usable and i.orderly and i.columns[: len(wanted)] == wanted)
        return min(fit, key=lambda index: len(index.columns), default=None)

    def names_of(self, index: Index) -> str:
        by_number = {column.number: column.name for column in self.columns}
        return f"({', '.join(by_number.get(number, 'an expression') for number in index.columns)})"


#: The rights on a whole table that are asked of the server, in this order.
RIGHTS = ("select", "insert", "update", "delete", "truncate")
