"""The declared tables: keys that can be compared, rows that nothing hides, states that can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import psycopg
from psycopg import sql

from databases.connect import renamed
from reconciler.catalog import Facts, matched, scope_of
from reconciler.preflight.finding import Finding, fail, failed, ok, warn
from reconciler.preflight.ground import Connection, Ground, Subject
from reconciler.probe import condition
from reconciler.probe.tables import quoted
from schemas.errors import CatalogError


def look(ground: Ground) -> Iterator[Finding]:
    """Tables of one data type after the other."""
    for subject in ground.subjects:
        if ground.source is not None and subject.source is not None:
            yield from _table(subject, "the source", subject.source)
            yield from _scope(ground.source, subject, subject.source)
        if ground.registry is not None and subject.registry is not None:
            yield from _table(subject, "the registry", subject.registry)
            yield from _accepted(ground.registry, subject, subject.registry)
            yield from _marked(ground.registry, subject, subject.registry)
    yield from _shared(ground)


def keys(ground: Ground) -> Iterator[Finding]:
    """Uniqueness, order and NULLs of the keys, and that both sides keep keys of one kind."""
    for subject in ground.subjects:
        if ground.source is not None and subject.source is not None:
            yield from _source_key(subject, subject.source)
            yield from _nulls(ground.source, subject, "the source", subject.source)
        if ground.registry is not None and subject.registry is not None:
            yield from _registry_key(subject, subject.registry)
            yield from _nulls(ground.registry, subject, "the registry", subject.registry)
        if subject.source is not None and subject.registry is not None:
            try:
                matched(subject.name, subject.source, subject.registry)
            except CatalogError as error:
                yield failed("keys", error, subject.name)


def _table(subject: Subject, what: str, found: Facts) -> Iterator[Finding]:
    relation = found.relation
    for reason in found.hidden:
        grant = f"GRANT SELECT ON {relation.shown}, or ALTER ROLE … BYPASSRLS where row-level security applies"
        yield fail("tables", f"{what}: {reason}", subject.name, try_=grant)
    if not found.hidden:
        yield ok("tables", f"{what}: {'; '.join(found.seen)}", subject.name)
    unlogged = [leaf.shown for leaf in relation.below if leaf.persistence == "u"]
    if relation.persistence == "u" and not relation.partitioned:
        unlogged.insert(0, relation.shown)
    if unlogged:
        yield warn(
            "tables",
            f"{what}: unlogged: {', '.join(unlogged[:5])}: emptied by a crash, on no standby, in no publication",
            subject.name,
            try_="ALTER TABLE … SET LOGGED",
        )
    other = subject.registry if found is subject.source else subject.source
    if found.table.by_range and other is not None and not other.table.by_range:
        for reason in found.closed:
            yield fail("tables", f"{what}: {reason} on the other side", subject.name, try_="GRANT SELECT ON it too")


def _shared(ground: Ground) -> Iterator[Finding]:
    """Two data types over one registry table would fill in for each other's gaps."""
    placed = sorted((s.registry.oid, s.name, s.registry.relation.shown) for s in ground.subjects if s.registry)
    for (oid, name, shown), (other, second, _) in pairwise(placed):
        if oid == other:
            yield warn(
                "tables",
                f"{name!r} and {second!r} share the registry table {shown}: a row of one counts for the other,"
                " and without a source row it passes for an orphan of it",
                second,
                try_="give each its own table, or tell them apart under registry.accepted",
            )


def _scope(connection: Connection, subject: Subject, found: Facts) -> Iterator[Finding]:
    scope = subject.declared.source.scope
    if not scope:
        return
    try:
        wanted = condition(scope_of(found.relation, "the source", scope))
    except CatalogError as error:
        yield failed("tables", error, subject.name)
        return
    yield from _asked(connection, subject, "the source", found, wanted, "scope", "scope")


def _accepted(connection: Connection, subject: Subject, found: Facts) -> Iterator[Finding]:
    accepted = subject.declared.registry.accepted
    if accepted is None:
        yield ok("tables", "any registry row counts, whatever its state: no 'accepted' is declared", subject.name)
        return
    for name, values in accepted.items():
        try:
            column = found.relation.column("the registry", name)
        except CatalogError as error:
            yield failed("tables", error, subject.name)
            continue
        told = f"accepted {column.name}"
        yield from _asked(connection, subject, "the registry", found, condition((), {column.name: values}), told, "value")


def _marked(connection: Connection, subject: Subject, found: Facts) -> Iterator[Finding]:
    """The state that orphans are set to."""
    marked = subject.declared.registry.orphans
    for name, value in (marked if isinstance(marked, dict) else {}).items():
        try:
            column = found.relation.column("the registry", name)
        except CatalogError as error:
            yield failed("tables", error, subject.name)
        else:
            wanted = condition((), {column.name: (value,)})
            yield from _asked(connection, subject, "the registry", found, wanted, f"state of orphans, {column.name}", "value")


def _asked(
    connection: Connection,
    subject: Subject,
    what: str,
    found: Facts,
    wanted: sql.Composed | None,
    told: str,
    thing: str,
) -> Iterator[Finding]:
    """Whether the server understands a condition: it is asked with it, for no rows."""
    table = quoted(found.table.schema, found.table.name)
    query = sql.SQL("SELECT FROM {} AS t WHERE {} LIMIT 0").format(table, wanted or sql.SQL("true"))
    try:
        with renamed(f"ask {what} for the {told}"):
            try:
                connection.execute(query, ())  # with parameters: `condition` writes its per cent signs double
            except (psycopg.errors.UndefinedFunction, psycopg.DataError, psycopg.errors.DatatypeMismatch) as error:
                yield fail(
                    "tables",
                    f"{what} does not understand the {told} of {found.relation.shown}: {error.diag.message_primary}",
                    subject.name,
                    try_=f"write each {thing} as its column holds it; a text column takes '0' in quotes, not 0",
                )
    except CatalogError as error:
        yield failed("tables", error, subject.name)


def _source_key(subject: Subject, found: Facts) -> Iterator[Finding]:
    name = ", ".join(found.table.key)
    if found.table.unique:
        index = found.unique_index.name if found.unique_index else ""
        yield ok("keys", f"the source's key ({name}) is unique by {index}", subject.name)
        return
    why = found.why_not_unique or "its columns may be NULL"
    if found.table.by_range:
        cost = "keys are read in the order of an index, each counted once"
    else:
        cost = "the whole table is read, which is slower"
    yield warn("keys", f"the source's key ({name}) is not proved unique: {why}; {cost}", subject.name)


def _registry_key(subject: Subject, found: Facts) -> Iterator[Finding]:
    name = ", ".join(found.table.key)
    why = found.why_not_unique
    if why is None:
        index = found.unique_index.name if found.unique_index else ""
        yield ok("keys", f"the registry's key ({name}) is unique by {index}: a backfill cannot double a row", subject.name)
    elif subject.declared.registry.appliers_stopped:
        yield warn(
            "keys",
            f"the registry's key ({name}) is not unique: {why}; a backfill runs only under a lock, because"
            " appliers_stopped is declared",
            subject.name,
        )
    else:
        yield fail(
            "keys",
            f"the registry's key ({name}) is not unique: {why}; gaps are found, but a backfill is refused",
            subject.name,
            try_=f"CREATE UNIQUE INDEX CONCURRENTLY ON {found.relation.shown} ({name}), or stop the appliers during the"
            " cutover and declare registry.appliers_stopped: true",
        )


def _nulls(connection: Connection, subject: Subject, what: str, found: Facts) -> Iterator[Finding]:
    if not found.nullable:
        return
    told = f"{what}: the key {', '.join(found.nullable)} of {found.relation.shown} may be NULL"
    if not (found.table.unique or found.table.ordered) or len(found.table.key) > 1 or found.hidden:
        yield warn("keys", f"{told}; rows without a key are not compared (not counted: no index)", subject.name)
        return
    query = sql.SQL("SELECT pg_catalog.count(*) FROM (SELECT FROM {} WHERE {} IS NULL LIMIT 10001) n").format(
        sql.Identifier(found.table.schema, found.table.name), sql.Identifier(found.table.key[0])
    )
    with renamed(f"look for rows without a key in {found.relation.shown}"):
        row = connection.execute(query).fetchone()
    count = row[0] if row else 0
    if count:
        many = "over 10000" if count > 10000 else str(count)
        yield warn("keys", f"{told}; rows without a key, which nobody can compare: {many}", subject.name)
    else:
        yield ok("keys", f"{told}; there are no such rows", subject.name)
