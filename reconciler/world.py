"""What a verdict was about: servers, databases, tables, keys, scope, accepted states; and what of that is no longer so.

A run remembers the world it judged. Asked later whether its verdict still stands, it is answered only in that world: the
same sentence about other tables would be another sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from databases.connect import renamed
from reconciler import catalog, identity
from reconciler.identity import Identity
from reconciler.scene import Scene, Subject

#: A table that was emptied, or written anew, has another file; partitions have one each, the partitioned table none.
_FILES = """
SELECT n.nspname || '.' || c.relname, c.oid::bigint || ' in ' || coalesce(pg_catalog.pg_relation_filenode(c.oid)::text, '-')
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::oid[])"""


def bound(scene: Scene, subject: Subject) -> dict[str, Any]:
    """What one data type was compared between, and by what."""
    out: dict[str, Any] = {}
    for side, facts in (("source", subject.source), ("registry", subject.registry)):
        met = next(met.now for met in scene.met if met.now.side == side)
        out[f"{side} server"] = f"{met.system}, timeline {met.timeline}"
        out[f"{side} database"] = met.database_oid
        out[f"{side} table"] = f"{facts.table.qualified} (oid {facts.oid})"
        out[f"{side} key"] = ", ".join(f"{n} {k}" for n, k in zip(facts.table.key, facts.table.kinds, strict=True))
    declared = subject.data_type
    out["scope"] = [[term.column, *_plain(term.operator)] for term in declared.source.scope]
    accepted = declared.registry.accepted
    out["accepted states"] = None if accepted is None else {column: list(values) for column, values in accepted.items()}
    return out


def _plain(operator: tuple[str, Any]) -> tuple[str, Any]:
    name, operand = operator
    return name, list(operand) if isinstance(operand, tuple) else operand


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the world is no longer as it was, in words."""
    return [f"{what} was {before.get(what)} and is {now.get(what)}" for what in now if before.get(what) != now.get(what)]


# -- a run's own ------------------------------------------------------------------------------------------------------


def of(scene: Scene) -> dict[str, Any]:
    """The world of a run, to be kept with it."""
    servers = {
        met.now.side: {
            "system": met.now.system,
            "timeline": met.now.timeline,
            "database_oid": met.now.database_oid,
            "database": met.now.database,
            "lsn": met.now.lsn,
            "xid": met.now.xid,
        }
        for met in scene.met
    }
    return {"servers": servers, "types": {subject.name: _type(scene, subject) for subject in scene.subjects}}


def _type(scene: Scene, subject: Subject) -> dict[str, Any]:
    declared = subject.data_type
    return bound(scene, subject) | {
        # An id that was used again is told by both creation times, and only where both are declared.
        "creation times": [declared.source.created_at, declared.registry.created_at],
        "zones": [declared.source.zone, declared.registry.zone],
        "skew": str(scene.settings.fence.skew) if declared.registry.created_at else None,
        "source files": files(scene, subject.source.relation, "source"),
        "registry files": files(scene, subject.registry.relation, "registry"),
    }


def files(scene: Scene, relation: catalog.Relation, side: str) -> dict[str, str]:
    """Which file holds each part of a table."""
    connection = scene.source if side == "source" else scene.registry
    oids = [relation.oid, *(leaf.oid for leaf in relation.below)]
    with renamed(f"ask the {side} which files hold {relation.shown}"):
        return dict(connection.execute(_FILES, [oids]).fetchall())


def moved(before: Mapping[str, Any] | None, scene: Scene) -> list[str]:
    """Why a verdict of that world says nothing about this one; empty: it is the same world, some moments later."""
    if before is None:
        return ["the run was recorded without what it was about"]
    out = []
    for met in scene.met:
        was = before["servers"].get(met.now.side)
        why = identity.contradiction(None if was is None else Identity(side=met.now.side, **was), met.now)
        out += [why] if why else []
    if out:
        return out
    for subject in scene.subjects:
        was, now = before["types"].get(subject.name), _type(scene, subject)
        if was is None:
            out.append(f"{subject.name}: the run did not judge it")
            continue
        held = {side: (was.pop(f"{side} files"), now.pop(f"{side} files")) for side in ("source", "registry")}
        out += [f"{subject.name}: {words}" for words in changed(was, now)]
        out += [f"{subject.name}: {words}" for side in held for words in replaced(*held[side])]
    return out


def replaced(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Tables that were rewritten, dropped or detached. One that was added since is compared like any other."""
    out = []
    for name, file in before.items():
        if name not in now:
            out.append(f"{name} is no longer a part of it")
        elif now[name] != file:
            out.append(f"{name} was emptied or written anew (TRUNCATE, VACUUM FULL, CLUSTER, or an ALTER TABLE that rewrites)")
    return out
