"""Say which orphans would be removed, how, and what forbids it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from databases.connect import renamed
from reconciler import catalog
from reconciler.backfill.plan import digest
from reconciler.catalog.relation import Relation
from reconciler.identity import Identity
from reconciler.scene import Scene, Subject
from schemas.data_types import DataType
from schemas.errors import CatalogError
from schemas.keys import KeySet

#: References to the registry's rows whose own rows a deletion would change or take along, which nothing could undo.
_TAKES_ALONG = """
SELECT conrelid::regclass::text, conname::text FROM pg_constraint
 WHERE contype = 'f' AND confrelid = ANY (%s::oid[]) AND confdeltype IN ('c', 'n', 'd') ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The orphans of one data type, and what is to become of them."""

    subject: Subject
    keys: KeySet

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def action(self) -> dict[str, Any]:
        """As the journal keeps it: `{"delete": true}`, or the column and the value it gets."""
        policy = self.subject.data_type.registry.orphans
        if isinstance(policy, str):
            return {"delete": True}
        ((column, value),) = policy.items()
        return {"column": self.subject.registry.relation.column("the registry", column).name, "value": value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    hash: str
    total: int


def plan(registry: Identity, jobs: Sequence[Job]) -> Plan:
    """Server, database, tables, action and the exact keys, hashed; no clock, no run."""
    types = [
        {
            "name": job.name,
            "table": job.subject.registry.table.qualified,
            "key": list(job.subject.registry.table.key),
            "action": job.action,
            "keys": digest(job.keys),
        }
        for job in sorted(jobs, key=lambda job: job.name)
    ]
    told = {"system": registry.system, "database": registry.database_oid, "remove": types}
    text = json.dumps(told, sort_keys=True, ensure_ascii=True, default=str)
    return Plan(hash=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", total=sum(len(job.keys) for job in jobs))


def forbidden(scene: Scene, subject: Subject) -> Iterator[str]:
    """Why orphans of this type may not be removed, whatever the settings say."""
    registry, facts, policy = scene.registry, subject.registry, subject.data_type.registry.orphans
    for name, other in scene.settings.data_types.items():
        if name != subject.name and _shared(scene, subject, other):
            told = f"{facts.table.qualified} is the registry of {name!r} too"
            yield f"{told}, and its rows have none in {subject.source.table.qualified}"
    if facts.why_not_unique is not None:
        yield f"a removal that can be undone needs a unique index on the registry's key: {facts.why_not_unique}"
    if isinstance(policy, dict):
        (name,) = policy
        if facts.relation.column("the registry", name).name in facts.table.key:
            yield f"{name} is the key: with another one a row would stand for another source row"
    if policy == "delete":
        oids = [facts.oid, *(leaf.oid for leaf in facts.relation.below)]
        with renamed(f"look for what refers to {facts.table.qualified}"):
            found = registry.execute(_TAKES_ALONG, [oids]).fetchall()
        if found:
            named = ", ".join(f"{name} of {table}" for table, name in found)
            yield f"deleting a registry row would change other tables, which nothing could undo (foreign keys {named})"


def _shared(scene: Scene, subject: Subject, other: DataType) -> bool:
    """Whether another type's registry rows lie in this one's table, and their source rows elsewhere."""
    try:
        theirs = catalog.relation(scene.registry, "the registry", other.registry.table)
    except CatalogError:
        return False  # what is not there has no rows
    if _oids(theirs).isdisjoint(_oids(subject.registry.relation)):
        return False
    try:
        source = catalog.relation(scene.source, "the source", other.source.table)
    except CatalogError:
        return True
    return source.oid != subject.source.oid or other.source.key != subject.data_type.source.key


def _oids(relation: Relation) -> set[int]:
    return {relation.oid, *(part.oid for part in relation.below)}


def setting(action: dict[str, Any]) -> sql.Composed:
    """`column = value` of an action that sets one; the server reads the value in the column's own type."""
    value = action["value"]
    if isinstance(value, bool):
        value = str(value).lower()
    written = sql.SQL("NULL") if value is None else sql.Literal(str(value))
    return sql.SQL("{} = {}").format(sql.Identifier(action["column"]), written)
