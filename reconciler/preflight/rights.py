"""What our roles may do: enough for the work, and not more, for then a mistake of ours stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from databases.connect import renamed
from reconciler.catalog import Facts, Relation
from reconciler.preflight.finding import Finding, fail, ok, warn
from reconciler.preflight.ground import Connection, Ground, Subject
from schemas.errors import CatalogError

_ROLE = """
SELECT r.rolname::text, r.rolsuper, r.rolbypassrls, r.rolcreatedb OR r.rolcreaterole,
       pg_catalog.pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE')
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"""

#: The sequences that defaults of a table's columns draw from, and we may not; an identity column needs no right. CASE,
#: because asked of anything but a sequence the function is an error, and AND promises no order.
_SEQUENCES = """
SELECT a.attname::text, n.nspname::text, s.relname::text
  FROM pg_catalog.pg_attrdef f
  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
                             AND d.refclassid = 'pg_catalog.pg_class'::regclass
  JOIN pg_catalog.pg_class s ON s.oid = d.refobjid
  JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
 WHERE f.adrelid = %s::bigint::oid
   AND CASE WHEN s.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(s.oid, 'USAGE') ELSE false END"""


@dataclass(frozen=True)
class Role:
    name: str
    superuser: bool
    bypasses_rls: bool
    creates: bool
    sees_sessions: bool


def look(ground: Ground) -> Iterator[Finding]:
    source = registry = None
    if ground.source is not None:
        source = _role(ground.source, "the source")
        yield from _source(ground, source)
    if ground.registry is not None:
        registry = _role(ground.registry, "the registry")
        yield from _registry(ground, ground.registry, registry)


def _role(connection: Connection, what: str) -> Role:
    with renamed(f"ask {what} for our role"):
        row = connection.execute(_ROLE).fetchone()
    assert row
    return Role(*row)


def _source(ground: Ground, role: Role) -> Iterator[Finding]:
    found = [subject.source for subject in ground.subjects if subject.source is not None]
    yield from _mighty("the source", role)
    writes = [] if role.superuser else [facts.relation.shown for facts in found if _writes(facts.relation)]
    if writes:
        yield warn(
            "grants",
            f"the source's role {role.name!r} may write {_some(writes)}; fencepost only ever reads there",
            try_=f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON … FROM {role.name}; see grants.sql",
        )
    elif found and not role.superuser:
        yield ok("grants", f"the source's role {role.name!r} can read and cannot write the {len(found)} source tables")
    if not role.sees_sessions:
        yield warn(
            "grants",
            f"the source's role {role.name!r} does not see what other sessions are: the fence cannot tell autovacuum from"
            " a writer, and may wait for it",
            try_=f"GRANT pg_read_all_stats TO {role.name}",
        )


def _registry(ground: Ground, connection: Connection, role: Role) -> Iterator[Finding]:
    yield from _mighty("the registry", role)
    for subject in ground.subjects:
        if subject.registry is None:
            continue
        lacking = list(_lacking(connection, subject, subject.registry))
        for right in lacking:
            yield fail(
                "grants",
                f"the registry's role {role.name!r} cannot insert into {subject.registry.relation.shown}: it lacks {right}",
                subject.name,
                try_=f"GRANT {right} TO {role.name}; see grants.sql",
            )
        if not lacking and not role.superuser:
            yield ok("grants", f"the registry's role {role.name!r} can insert what a backfill inserts", subject.name)
        yield from _beyond(subject, subject.registry.relation, role)


def _mighty(what: str, role: Role) -> Iterator[Finding]:
    if role.superuser:
        yield warn(
            "grants",
            f"the role {role.name!r} of {what} is a superuser: nothing would stop a mistake of ours",
            try_="make roles of least privilege; see grants.sql",
        )
    elif role.creates:
        yield warn("grants", f"the role {role.name!r} of {what} may create roles or databases, which nothing here needs")


def _writes(relation: Relation) -> bool:
    if relation.rights & {"insert", "update", "delete", "truncate"}:
        return True
    return any(column.can_insert or column.can_update for column in relation.columns)


def _lacking(connection: Connection, subject: Subject, registry: Facts) -> Iterator[str]:
    """What a backfill needs and has not, as it would be granted."""
    relation = registry.relation
    columns = []
    for name in (*registry.table.key, *subject.declared.registry.insert):
        try:
            column = relation.column("the registry", name)
        except CatalogError:
            continue  # told elsewhere
        if not column.can_insert:
            columns.append(column.name)
    if "insert" not in relation.rights and columns:
        yield f"INSERT ({', '.join(columns)}) ON {relation.shown}"
    given = {*registry.table.key, *subject.declared.registry.insert}
    with renamed(f"ask for the sequences of {relation.shown}"):
        rows = connection.execute(_SEQUENCES, [registry.oid]).fetchall()
    for column_name, schema, sequence in rows:
        if column_name not in given:
            yield f"USAGE ON SEQUENCE {schema}.{sequence}"


def _beyond(subject: Subject, relation: Relation, role: Role) -> Iterator[Finding]:
    """What other commands need, and what none does."""
    if "delete" not in relation.rights:
        yield warn(
            "grants",
            f"the registry's role {role.name!r} cannot take back from {relation.shown}: no `fencepost undo`, and a row"
            " that vanished at the source during a backfill would stay",
            subject.name,
            try_=f"GRANT DELETE ON {relation.shown} TO {role.name}",
        )
    orphans = subject.declared.registry.orphans
    if isinstance(orphans, dict) and "update" not in relation.rights:
        state = next(iter(orphans))
        column = relation.by_name.get(state)
        if column is None or not column.can_update:
            yield warn(
                "grants",
                f"orphans shall be marked by {state}, which the registry's role {role.name!r} cannot update",
                subject.name,
                try_=f"GRANT UPDATE ({state}) ON {relation.shown} TO {role.name}",
            )
    elif "truncate" in relation.rights and not role.superuser:
        yield warn(
            "grants",
            f"the registry's role {role.name!r} may TRUNCATE {relation.shown}, or owns it; nothing here needs that",
            subject.name,
            try_="see grants.sql",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
