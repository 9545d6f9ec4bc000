"""Say what a backfill would write and where, and whether it may.

A plan's hash covers the registry's server, database, tables, columns, the form of every value and the exact keys; no
clock, no run. A dry run and the real one agree on it as long as nothing changed in between. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.identity import Identity
from reconciler.probe import Table
from reconciler.report.words import CAPPED
from schemas.data_types import DataType, FromSource, InsertValue, Literally
from schemas.errors import RefusedWrite
from schemas.keys import IntKeys, KeySet, KeyType

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The keys of one data type to insert."""

    name: str
    data_type: DataType
    key_type: KeyType
    source: Table
    registry: Table
    keys: KeySet
    #: A valid, non-partial, immediate unique index stands on exactly the registry's key. Its columns may be nullable: what
    #: is inserted never is NULL.
    unique: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be written."""

    hash: str  #: "sha256:…"
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A plan that is not carried out, because the operator said so beforehand. No error: the run goes on to its report."""

    reason: str
    hint: str


def plan(registry: Identity, jobs: Sequence[Job]) -> Plan:
    """The plan of these jobs in this registry; types with nothing to insert do not belong to it."""
    jobs = sorted((job for job in jobs if len(job.keys)), key=lambda job: job.name)
    told = {"system": registry.system, "database": registry.database_oid, "types": [_told(job) for job in jobs]}
    hashed = hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return Plan(hash=f"sha256:{hashed}", counts={job.name: len(job.keys) for job in jobs})


def approve(found: Plan, expected: str | None) -> None:
    """Refuse any plan but the one that was approved. Raises RefusedWrite; `expected` is `--plan`."""
    if expected is not None and expected != found.hash:
        raise RefusedWrite(
            f"the plan is not the one that was approved: expected {expected}, found {found.hash} ({found.total} rows)",
            hint="the gaps, the tables or the settings changed since; look at a new `cutover --dry-run` and approve its plan",
        )


def capped(found: Plan, limit: int | None) -> Refusal | None:
    """Refuse a plan above `--max-backfill`, whole: nothing of it is written."""
    if limit is None or found.total <= limit:
        return None
    return Refusal(
        reason=f"{found.total} rows would be inserted, and {CAPPED} {limit}: nothing was written",
        hint=f"find out why so many are missing; then raise the limit to {found.total} or more",
    )


def form(value: InsertValue) -> list[Any]:
    """An insert value as the hash covers it: what kind it is, and which."""
    if isinstance(value, FromSource):
        return ["source", value.source]
    if isinstance(value, Literally):
        return ["literal", type(value.value).__name__, value.value]
    if value == "now":
        return ["now"]
    return ["literal", type(value).__name__, value]


def _told(job: Job) -> dict[str, Any]:
    declared = job.data_type.registry
    return {
        "name": job.name,
        "table": [job.registry.schema, job.registry.name],
        "key": [list(job.registry.key), list(job.registry.kinds)],
        "source": [job.source.schema, job.source.name, list(job.source.key)],
        "scope": [[term.column, *term.operator] for term in job.data_type.source.scope],
        "insert": {column: form(value) for column, value in declared.insert.items()},
        "zone": declared.zone,  # of times in columns without one
        **({"source zone": zone} if (zone := job.data_type.source.zone) else {}),
        "count": len(job.keys),
        "keys": digest(job.keys),
    }


def digest(keys: KeySet) -> str:
    """Of the keys themselves, in order: a roaring bitmap may write one set in several ways."""
    hashed = hashlib.sha256()
    if isinstance(keys, IntKeys):
        for at in range(0, len(keys), _CHUNK):
            hashed.update(IntKeys(keys.bits[at : at + _CHUNK]).column().astype("<i8").tobytes())
    else:
        hashed.update(keys.serialize())
    return hashed.hexdigest()
