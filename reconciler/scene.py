"""Resolve the data types asked for against the databases: what every recipe needs before it looks at a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeAlias

import psycopg
from psycopg import sql

from databases.connect import LACKING_GRANT, connect, renamed
from databases.ledger import Ledger
from reconciler import catalog, identity
from reconciler.connections import Connections, Wanted
from reconciler.probe import Table, condition
from reconciler.proofs.shown import Met, TypeShown
from schemas.data_types import DataType, FromSource
from schemas.errors import CatalogError
from schemas.keys import KeyType
from schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A data type's table in a copy of the source, and which of its rows belong to the type."""

    facts: catalog.Facts
    scope: sql.Composed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One data type with its tables as the databases have them."""

    name: str
    data_type: DataType
    key_type: KeyType
    source: catalog.Facts
    registry: catalog.Facts
    scope: sql.Composed | None  #: which source rows belong to it
    accepted: sql.Composed | None  #: which registry rows count
    copy: Copied | None = None  #: of a source that is a copy: the copy's own table; `source` is then its origin's

    @property
    def topics(self) -> tuple[str, ...]:
        return self.data_type.topics

    def shown(self) -> TypeShown:
        visible = [*self.source.seen, *self.registry.seen]
        hidden = [*self.source.hidden, *self.registry.hidden]
        if self.copy is not None:
            visible += [f"in the copy {words}" for words in self.copy.facts.seen]
            hidden += [f"in the copy {words}" for words in self.copy.facts.hidden]
        if self.data_type.source.scope:
            visible.append("scope: " + ", ".join(_scope_words(self.data_type)))
        if self.data_type.registry.accepted is None:
            visible.append("any registry row counts, whatever its state (settings name no accepted states)")
        return TypeShown(
            name=self.name,
            topics=self.topics,
            empty_allowed=self.data_type.empty == "allowed",
            hidden=hidden,
            visible=visible,
        )


def _scope_words(data_type: DataType) -> list[str]:
    words = []
    for term in data_type.source.scope:
        name, operand = term.operator
        words.append(f"{term.column} {name} {list(operand) if isinstance(operand, tuple) else operand}")
    return words


#: Runs that hold a copy against its origin in every look; the others refuse one.
PROVE_COPIES = frozenset({"gaps", "cutover", "recheck"})


@dataclass(slots=True)
class Scene:
    """Open connections beside the snapshots, and the subjects. Close it."""

    settings: Settings
    source: psycopg.Connection[Any]  #: where the rows are: of a copy, its origin
    fence_at: psycopg.Connection[Any]  #: the primary: the source itself, unless the source is a standby
    registry: psycopg.Connection[Any]
    subjects: list[Subject]
    met: list[Met]
    copy: psycopg.Connection[Any] | None = None  #: the copy itself, where the settings call the source one
    patience_s: float = 30.0  #: bounds what is waited for between two looks at a copy
    stack: ExitStack = field(default_factory=ExitStack)
    kept: Connections = field(default_factory=Connections)  #: of snapshots that ended a moment ago

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.close()
        self.stack.close()

    @property
    def key_types(self) -> dict[str, KeyType]:
        return {subject.name: subject.key_type for subject in self.subjects}

    @property
    def source_tables(self) -> list[Table]:
        return [subject.source.table for subject in self.subjects]

    @property
    def copy_tables(self) -> list[Table]:
        return [subject.copy.facts.table for subject in self.subjects if subject.copy is not None]

    @property
    def registry_tables(self) -> list[Table]:
        return [subject.registry.table for subject in self.subjects]

    def now(self) -> datetime:
        """By the source's clock."""
        with renamed("read the source's clock"):
            row = self.source.execute("SELECT clock_timestamp()").fetchone()
        assert row
        at: datetime = row[0]
        return at.astimezone(UTC)


#: The newest identity that the ledger knows of a side.
Recorded: TypeAlias = Callable[[str], identity.Identity | None]


def resolve(settings: Settings, names: Sequence[str], ledger: Ledger | None) -> Scene:
    """Connect and look everything up. Raises UnavailableError, CatalogError, SettingsError."""
    return _resolved(settings, names, partial(_recorded, ledger), None)


def resolve_ahead(settings: Settings, names: Sequence[str], recorded: Recorded) -> Scene:
    """The same where snapshots will follow at once: their connections are opened beside ours, and the catalogs are asked on
    them. A connection's first question about a table costs its server several times what the second does."""
    with ExitStack() as stack:
        kept = Connections()
        stack.callback(kept.close)
        for wanted in _wanted(settings):
            kept.ahead(wanted, settings.source.slices)
        scene = _resolved(settings, names, recorded, kept)
        stack.pop_all()
        return scene


def _wanted(settings: Settings) -> list[Wanted]:
    """The connections of snapshots: source (or its origin), registry, copy."""
    s = settings.source
    sides = [(s.rows, "the source"), (settings.registry.dsn, "the registry")]
    if s.kind == "copy":
        sides = [(s.rows, "the copy's origin"), sides[1], (s.dsn, "the copy")]
    return [
        Wanted(dsn=dsn, what=what, statement_timeout=s.statement_timeout, lock_timeout=s.lock_timeout) for dsn, what in sides
    ]


def _subjects(settings: Settings, names: Sequence[str], connections: Sequence[psycopg.Connection[Any]]) -> list[Subject]:
    return [subject_of(name, t, *connections) for name, t in settings.chosen(list(names)).items()]


def _on_leaders(settings: Settings, names: Sequence[str], kept: Connections) -> list[Subject]:
    """Ask the catalogs on connections that will lead the snapshots."""
    with ExitStack() as stack:
        leaders = []
        for wanted in _wanted(settings):
            (leader,) = kept.take(wanted, 1)
            stack.callback(kept.give_back, wanted, leader)
            leaders.append(leader)
        return _subjects(settings, names, leaders)


def _resolved(settings: Settings, names: Sequence[str], recorded: Recorded, kept: Connections | None) -> Scene:
    with ExitStack() as stack:
        timeout = settings.source.statement_timeout
        what = "the copy's origin" if settings.source.kind == "copy" else "the source"
        source = connect(settings.source.rows, what, statement_timeout=timeout, read_only=True)
        stack.callback(source.close)
        copy = None
        if settings.source.kind == "copy":
            copy = connect(settings.source.dsn, "the copy", statement_timeout=timeout, read_only=True)
            stack.callback(copy.close)
        fence_at = source
        if settings.source.kind == "standby" and settings.source.primary is not None:
            fence_at = connect(settings.source.primary, "the source's primary", statement_timeout=timeout, read_only=True)
            stack.callback(fence_at.close)
        registry = connect(settings.registry.dsn, "the registry", statement_timeout=timeout)
        stack.callback(registry.close)
        if kept is None:
            subjects = _subjects(settings, names, [source, registry, *([copy] if copy is not None else [])])
        else:
            subjects = _on_leaders(settings, names, kept)
        sides = [(source, "source"), (registry, "registry"), *([(copy, "copy")] if copy is not None else [])]
        primary = None if fence_at is source else identity.identify(fence_at, "source")
        met = [_met(identity.identify(c, side), recorded, primary if side == "source" else None) for c, side in sides]
        scene = Scene(
            settings=settings,
            source=source,
            fence_at=fence_at,
            registry=registry,
            subjects=subjects,
            met=met,
            copy=copy,
            kept=Connections() if kept is None else kept,
        )
        scene.stack = stack.pop_all()
        return scene


def source_faults(scene: Scene, run: str) -> list[str]:
    """Why the source is not what the settings call it, or cannot be proved by such a run. Empty: nothing speaks against it."""
    kind = scene.settings.source.kind
    if kind == "copy" and run not in PROVE_COPIES:
        return [f"the source is a copy (settings), which {run} does not hold against its origin"]
    oids = [oid for s in scene.subjects for oid in (s.source.oid, *(leaf.oid for leaf in s.source.relation.below))]
    with renamed("ask the source whether it is filled by a subscription"):
        fed = scene.source.execute(
            "SELECT srrelid::regclass::text FROM pg_subscription_rel WHERE srrelid = ANY(%s::oid[]) ORDER BY 1", [oids]
        ).fetchall()
        row = scene.source.execute("SELECT pg_is_in_recovery()").fetchone()
    called = "its origin is itself a copy" if kind == "copy" else f"the source is a copy, the settings call it {kind}"
    faults = [f"{name} is filled by a logical subscription: {called}" for (name,) in fed]
    if kind == "primary" and row and row[0]:
        faults.append("the source is a standby, and the settings call it a primary")
    if kind == "copy" and row and row[0]:
        faults.append("source.origin is a standby: name the primary, where rows are created")
    if scene.copy is not None and _one_database(scene, "source", "copy"):
        faults.append("the copy and its origin are the same database: it would be held against itself")
    if kind == "standby" and row and not row[0]:
        faults.append("the source is no standby (promoted?), and the settings call it one")
    if scene.fence_at is not scene.source:
        faults += _primary_faults(scene)
    return faults


def _one_database(scene: Scene, *sides: str) -> bool:
    return len({(met.now.system, met.now.database_oid) for met in scene.met if met.now.side in sides}) == 1


def _primary_faults(scene: Scene) -> list[str]:
    """The fence is taken on the primary that the settings name: it must be this standby's own."""
    standby = next(met.now for met in scene.met if met.now.side == "source")
    primary = identity.identify(scene.fence_at, "source's primary")
    if (primary.system, primary.database_oid) != (standby.system, standby.database_oid):
        return [f"source.primary is {primary.described}, not the primary of this standby: {standby.described}"]
    with renamed("ask the source's primary whether it is one"):
        row = scene.fence_at.execute("SELECT pg_is_in_recovery()").fetchone()
    return ["source.primary is itself a standby"] if row and row[0] else []


def _readable(what: str, found: catalog.Facts) -> None:
    """Without SELECT on the table itself it cannot even be locked for a snapshot. Raises CatalogError."""
    relation = found.relation
    if not relation.usage:
        raise CatalogError(
            f"our role may not look into the schema of {relation.shown} in {what}",
            hint=f"GRANT USAGE ON SCHEMA; {LACKING_GRANT}",
        )
    if "select" not in relation.rights:
        raise CatalogError(
            f"our role may not read {relation.shown} in {what}", hint=f"GRANT SELECT ON {relation.shown} TO it; {LACKING_GRANT}"
        )


def _recorded(ledger: Ledger | None, side: str) -> identity.Identity | None:
    return None if ledger is None else identity.recorded(ledger, side)


def _met(now: identity.Identity, recorded: Recorded, primary: identity.Identity | None) -> Met:
    """A standby that is behind another one, which was asked before, has gone back no history: its primary's counts. How far
    the standby has come itself is asked before every look."""
    before = recorded(now.side)
    held = now if primary is None else replace(now, lsn=max(now.lsn, primary.lsn), xid=max(now.xid, primary.xid))
    return Met(now=now, before=before, contradiction=identity.contradiction(before, held))


def subject_of(
    name: str,
    data_type: DataType,
    source: psycopg.Connection[Any],
    registry: psycopg.Connection[Any],
    copy: psycopg.Connection[Any] | None = None,
) -> Subject:
    """What the catalogs say of one data type, in the transactions of these connections.

    Asked again inside every snapshot: a partition attached since the scene was resolved conflicts with no lock of ours.
    """
    s, r = data_type.source, data_type.registry
    with ThreadPoolExecutor(1) as beside:  # each is a dozen questions on a connection of its own
        asked = beside.submit(
            catalog.facts, registry, "the registry", r.table, r.key, created_at=r.created_at, zone=r.zone or s.zone
        )
        source_facts = catalog.facts(source, "the source", s.table, s.key, created_at=s.created_at, zone=s.zone)
        registry_facts = asked.result()
    for what, found in (("the source", source_facts), ("the registry", registry_facts)):
        _readable(what, found)
    marked = r.orphans if isinstance(r.orphans, dict) else {}
    columns = catalog.columns_exist(registry_facts.relation, "the registry", [*(r.accepted or {}), *r.insert, *marked])
    catalog.columns_exist(
        source_facts.relation, "the source", [value.source for value in r.insert.values() if isinstance(value, FromSource)]
    )
    accepted = None if r.accepted is None else {columns[name].name: values for name, values in r.accepted.items()}
    catalog.matched(name, source_facts, registry_facts)
    return Subject(
        name=name,
        data_type=data_type,
        key_type=catalog.type_of(source_facts.table.kinds),
        source=source_facts,
        registry=registry_facts,
        scope=condition(catalog.scope_of(source_facts.relation, "the source", s.scope)),
        accepted=condition((), accepted),
        copy=None if copy is None else _copied(name, data_type, source_facts, copy),
    )


def _copied(name: str, data_type: DataType, origin: catalog.Facts, copy: psycopg.Connection[Any]) -> Copied:
    s = data_type.source
    found = catalog.facts(copy, "the copy", s.table, s.key, created_at=s.created_at, zone=s.zone)
    _readable("the copy", found)
    if found.table.kinds != origin.table.kinds:
        raise CatalogError(
            f"data type {name!r}: the key of {found.relation.shown} is {', '.join(found.table.kinds)} in the copy and"
            f" {', '.join(origin.table.kinds)} in its origin",
            hint="a copy is held against its origin key by key: both need keys of one kind",
        )
    return Copied(facts=found, scope=condition(catalog.scope_of(found.relation, "the copy", s.scope)))
