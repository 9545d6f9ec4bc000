"""Which kind of key each data type has, asked of the source's catalog before the first event is decoded.

The kinds are kept in the ledger, so that a tracker can start while the source is away; one that changed makes the keys
in the ledger incomparable, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from databases.connect import connect
from reconciler.catalog.tables import Facts, facts
from schemas import ledger as tables
from schemas.data_types import DataType
from schemas.errors import CatalogError, LedgerError, UnavailableError
from schemas.keys import KeyType, key_type
from schemas.settings import Settings

Kinds = tuple[str, ...]


def type_of(kinds: Sequence[str]) -> KeyType:
    """The key type of these columns."""
    return key_type(kinds[0] if len(kinds) == 1 else tuple(kinds))


def key_types(settings: Settings, names: Sequence[str]) -> dict[str, KeyType]:
    """The key type of each data type asked for (all without names). See `key_kinds`."""
    return {name: type_of(kinds) for name, kinds in key_kinds(settings, names).items()}


def key_kinds(settings: Settings, names: Sequence[str]) -> dict[str, Kinds]:
    """The kinds of each data type's key columns. Raises UnavailableError where the source cannot be reached, and
    CatalogError where a key cannot be compared, or the registry, if it can be reached, keeps another kind of key."""
    chosen = settings.chosen(list(names))
    with closing(connect(settings.source.dsn, "the source", read_only=True)) as connection:
        found = {
            name: facts(connection, "the source", declared.source.table, declared.source.key)
            for name, declared in chosen.items()
        }
    _held_to_registry(settings, chosen, found)
    return {name: table.table.kinds for name, table in found.items()}


def matched(name: str, source: Facts, registry: Facts) -> None:
    """Raises CatalogError where the registry keeps another kind of key than the source, column by column."""
    for ours, theirs, kind, wanted in zip(registry.key, source.key, registry.table.kinds, source.table.kinds, strict=True):
        if kind != wanted:
            raise CatalogError(
                f"data type {name!r}: the key column {ours.name} of {registry.relation.shown} in the registry is"
                f" {ours.type}, the source's {theirs.name} of {source.relation.shown} is {theirs.type}: not of one kind",
                hint="integers go with integers of any width, uuid with uuid, text with text",
            )


def remembered_kinds(connection: sa.Connection) -> dict[str, Kinds]:
    """The kinds the ledger knows, by data type."""
    rows = connection.execute(sa.select(tables.data_type.c.name, tables.data_type.c.kinds)).all()
    return {row.name: tuple(row.kinds.split(",")) for row in rows}


def remember_kinds(connection: sa.Connection, kinds: Mapping[str, Sequence[str]]) -> None:
    """Keep the kinds for a day when the source is away. Raises LedgerError where the ledger's keys are of another."""
    for name, found in kinds.items():
        wanted = ",".join(found)
        connection.execute(insert(tables.data_type).values(name=name, kinds=wanted).on_conflict_do_nothing())
        known = connection.execute(sa.select(tables.data_type.c.kinds).where(tables.data_type.c.name == name)).scalar_one()
        if known != wanted:
            raise LedgerError(
                f"the keys of data type {name!r} in the ledger are of kind {known}, the source's are now {wanted}",
                hint="give the data type a new name, so that the old keys stay readable",
            )


def _held_to_registry(settings: Settings, chosen: Mapping[str, DataType], found: Mapping[str, Facts]) -> None:
    try:
        connection = connect(settings.registry.dsn, "the registry", read_only=True)
    except UnavailableError:
        return  # tracking needs the log and the ledger; the registry is only compared later
    with closing(connection):
        for name, declared in chosen.items():
            registry = facts(connection, "the registry", declared.registry.table, declared.registry.key)
            matched(name, found[name], registry)
