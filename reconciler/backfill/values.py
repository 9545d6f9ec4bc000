"""Turn the settings' insert values into SQL, for the columns the registry really has, and refuse what cannot work.

Literals are written as untyped SQL literals, which the server reads in the column's own type, so that text too long for
its column is an error and never cut. Values of the source travel as text and are cast to the column's type without its
length, for the same reason. All of it is looked at before the first row of a run is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from databases.connect import renamed
from reconciler.backfill.plan import Job
from reconciler.catalog import Column, Relation, relation
from reconciler.probe.tables import literal, quoted
from schemas.data_types import FromSource, Literally
from schemas.errors import CatalogError, RefusedRows
from schemas.keys import CompositeKey, IntKeys
from schemas.names import shown

_TYPES = (
    "SELECT attname::text, pg_catalog.format_type(atttypid, -1) FROM pg_catalog.pg_attribute"
    " WHERE attrelid = %s::bigint::oid AND attnum > 0 AND NOT attisdropped"
)
_WITHOUT_ZONE = ("timestamp", "date")
_SPANS = {"int2": 1 << 15, "int4": 1 << 31}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an inserted row gets beside its key."""

    columns: tuple[str, ...]
    values: tuple[sql.Composable, ...]  #: over `u`, one per column
    from_source: tuple[str, ...]  #: columns of the source, sent as the text arrays v0, v1, …

    @property
    def arrays(self) -> list[str]:
        """The names of the text arrays."""
        return [f"v{i}" for i in range(len(self.from_source))]


def row(source: psycopg.Connection[Any], registry: psycopg.Connection[Any], job: Job) -> Row:
    """The row of a data type. Raises CatalogError or RefusedRows where its inserts could not work."""
    declared = job.data_type.registry
    target = relation(registry, "the registry", declared.table)
    with renamed(f"read the columns of {target.shown}"):
        types = dict(registry.execute(_TYPES, [target.oid]).fetchall())
    columns, values, from_source = list[str](), list[sql.Composable](), list[str]()
    theirs = _read_from(source, job)
    for name, value in declared.insert.items():
        column = target.column("the registry", name)
        _may_be_set(target, column, setting=True)
        columns.append(column.name)
        zone = _zone(target, column, job)
        if isinstance(value, FromSource):
            given = theirs[value.source]
            text = sql.Identifier("u", f"v{len(from_source)}")
            values.append(_carried(text, given, job.data_type.source.zone, column, zone, types[column.name]))
            from_source.append(given.name)
        else:
            values.append(_value(target, column, value, zone))
    for name in job.registry.key:
        _may_be_set(target, target.by_name[name], setting=False)
    _nothing_left_empty(target, {*columns, *job.registry.key})
    _keys_fit(target, job)
    return Row(columns=tuple(columns), values=tuple(values), from_source=tuple(from_source))


def _read_from(source: psycopg.Connection[Any], job: Job) -> dict[str, Column]:
    """The columns of the source whose values are carried over, by their names in the settings."""
    wanted = [value.source for value in job.data_type.registry.insert.values() if isinstance(value, FromSource)]
    if not wanted:
        return {}
    found = relation(source, "the source", job.data_type.source.table)
    return {name: found.column("the source", name) for name in wanted}


def _zone(target: Relation, column: Column, job: Job) -> str | None:
    """The zone of a time without one in this column of the registry. Its dates are read in the source's, where it has none."""
    declared = job.data_type.registry
    if declared.created_at is not None and target.column("the registry", declared.created_at).name == column.name:
        return declared.zone or job.data_type.source.zone
    return declared.zone


def _carried(
    text: sql.Composable, given: Column, given_zone: str | None, column: Column, zone: str | None, type_: str
) -> sql.Composable:
    """A value of the source in the registry's type: a time as the instant it is, though one side keeps it without a zone."""
    ours = column.base in _WITHOUT_ZONE
    if (
        given.base in _WITHOUT_ZONE
        and given_zone
        and (column.base == "timestamptz" or (ours and zone not in (None, given_zone)))
    ):
        at = sql.SQL("pg_catalog.timezone({}, {}::timestamp)").format(literal(given_zone), text)
        return sql.SQL("pg_catalog.timezone({}, {})").format(literal(zone), at) if ours else at
    if given.base == "timestamptz" and ours:
        return sql.SQL("pg_catalog.timezone({}, {}::timestamptz)").format(literal(zone or "UTC"), text)
    return sql.SQL("{}::{}").format(text, _type(type_))


def _type(name: str) -> sql.SQL:
    # From the catalog, quoted by format_type itself; `%` could only stand in a quoted name.
    return sql.SQL(name.replace("%", "%%"))


def _value(
    target: Relation, column: Column, value: Literally | bool | int | float | str | None, zone: str | None
) -> sql.Composable:
    if isinstance(value, Literally):
        return _literal(value.value)
    if value != "now":
        return _literal(value)
    if column.base == "timestamptz":
        return sql.SQL("pg_catalog.statement_timestamp()")
    if column.base in _WITHOUT_ZONE:
        return sql.SQL("(pg_catalog.statement_timestamp() AT TIME ZONE {})").format(literal(zone or "UTC"))
    raise CatalogError(
        f"'now' cannot be inserted into {target.shown}.{shown(column.name)}, which is of type {column.type}",
        hint=f"for the word itself write {column.name}: {{value: now}}",
    )


def _literal(value: bool | int | float | str | None) -> sql.Composable:
    if value is None:
        return sql.SQL("NULL")
    return literal(str(value).lower() if isinstance(value, bool) else str(value))


def _may_be_set(target: Relation, column: Column, *, setting: bool) -> None:
    if column.generated or column.identity == "a":
        raise RefusedRows(
            f"the column {shown(column.name)} of {target.shown} cannot be inserted: the database generates it",
            hint=f"take {column.name} out of registry.insert" if setting else "a registry's key is given, not generated",
        )
    if not column.can_insert:
        raise CatalogError(
            f"our role may not insert into the column {shown(column.name)} of {target.shown}",
            hint=f"GRANT INSERT ON {target.shown} to the writer's role",
        )


def _nothing_left_empty(target: Relation, given: set[str]) -> None:
    for column in target.columns:
        empty = column.name not in given and not column.filled and not column.identity and not column.generated
        if empty and (column.not_null or column.name in target.checked):
            raise RefusedRows(
                f"rows cannot be inserted into {target.shown}: its column {shown(column.name)} must not be empty,"
                " has no default, and registry.insert does not set it",
                hint=f"say what it shall hold: registry.insert: {{{column.name}: …}}",
            )


def _keys_fit(target: Relation, job: Job) -> None:
    columns = [target.by_name[name] for name in job.registry.key]
    if isinstance(job.keys, IntKeys) and len(job.keys):
        half = _SPANS.get(columns[0].base)
        if half is not None and not -half <= job.keys.min() <= job.keys.max() < half:
            worst = job.keys.max() if job.keys.max() >= half else job.keys.min()
            raise _too_small(target, columns[0], job, str(worst), "bigint")
    for at, column in enumerate(columns):
        # Of a text that is too long PostgreSQL cuts blanks at its end without a word: another key would be inserted.
        if column.limit is not None and (key := _longer(job, at, column.limit)) is not None:
            raise _too_small(target, column, job, shown(key), "text")


def _longer(job: Job, at: int, limit: int) -> str | None:
    """A key whose part at `at` has more characters than that."""
    for key in job.keys:
        assert isinstance(key, bytes)
        part = job.key_type.split(key)[at] if isinstance(job.key_type, CompositeKey) else key
        if isinstance(part, bytes) and len(part) > limit and len(text := part.decode()) > limit:
            return text
    return None


def _too_small(target: Relation, column: Column, job: Job, key: str, wide: str) -> RefusedRows:
    return RefusedRows(
        f"the key {key} of {job.name} does not fit {target.shown}.{shown(column.name)}, which is of type {column.type}",
        hint=f"widen that column to {wide} first",
    )


def statement(
    job: Job, values: Row, *, held: sql.Composable, keys: sql.Composable, key: list[sql.Composed], careful: bool
) -> sql.Composed:
    """INSERT … SELECT of one batch, that writes nothing where `held` has no row.

    `careful` steps over rows that are already there. That takes twice the time, for PostgreSQL then looks into every
    unique index before it writes, and writes each row in two steps; without it, one such row fails the whole batch.
    """
    names = [*job.registry.key, *values.columns]
    return sql.SQL(
        "WITH held AS MATERIALIZED ({held}) INSERT INTO {table} ({columns}) SELECT {values} FROM {keys}"
        " WHERE EXISTS (SELECT FROM held){absent}{conflict}"
    ).format(
        held=held,
        table=quoted(job.registry.schema, job.registry.name),
        columns=sql.SQL(", ").join([quoted(name) for name in names]),
        values=sql.SQL(", ").join([*key, *values.values]),
        keys=keys,
        absent=_absent(job, key),
        conflict=sql.SQL(" ON CONFLICT DO NOTHING" if careful else ""),
    )


def _absent(job: Job, key: list[sql.Composed]) -> sql.Composable:
    """Without a unique index nothing conflicts: under the table's lock we look ourselves."""
    if job.unique:
        return sql.SQL("")
    pairs: Mapping[str, sql.Composed] = dict(zip(job.registry.key, key, strict=True))
    same = sql.SQL(" AND ").join([sql.SQL("r.{} = {}").format(quoted(name), value) for name, value in pairs.items()])
    return sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS r WHERE {})").format(
        quoted(job.registry.schema, job.registry.name), same
    )
