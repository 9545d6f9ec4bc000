"""A source, a registry and a ledger to backfill between; once with the ledger in the registry's database, once beside."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import history
from reconciler.backfill import Done, Finished, Job, Undone, backfill, finish_unfinished, undo
from reconciler.catalog import facts
from reconciler.lease import Held, acquire
from schemas.data_types import DataType
from schemas.keys import key_type
from schemas.settings import BackfillSettings, Dsn
from tests.stack.postgres import Postgres


@dataclass
class World:
    """One data type's two tables, and the ledger."""

    source: str
    registry: str
    ledger: Ledger
    batch: int = 10
    insert: dict[str, Any] = field(default_factory=lambda: {"state": 0, "created_at": "now"})
    more: dict[str, Any] = field(default_factory=dict)  #: of the registry's settings
    zone: str | None = None  #: of the source
    scope: list[dict[str, Any]] = field(default_factory=list)
    key: tuple[str, ...] = ("id",)
    registry_key: tuple[str, ...] = ("item_id",)

    def on_source(self, statement: str, *params: object) -> list[Any]:
        return _execute(self.source, statement, params)

    def on_registry(self, statement: str, *params: object) -> list[Any]:
        return _execute(self.registry, statement, params)

    def on_ledger(self, statement: str, *params: object) -> list[Any]:
        return _execute(self.ledger.dsn.get_secret_value(), statement, params)

    def registered(self) -> list[Any]:
        columns = sql.SQL(", ").join(map(sql.Identifier, self.registry_key)).as_string()
        rows = self.on_registry(f"SELECT {columns} FROM item_registry ORDER BY {columns}")
        return [row[0] if len(row) == 1 else row for row in rows]

    def to_source(self) -> psycopg.Connection[Any]:
        return connect(Dsn(self.source), "the source", read_only=True)

    def to_registry(self) -> psycopg.Connection[Any]:
        return connect(Dsn(self.registry), "the registry")

    def run(self) -> str:
        return history.begin(self.ledger, "cutover", "these settings")

    def lease(self, run: str, **options: Any) -> Held:
        held = acquire(self.ledger, run, **options)
        assert isinstance(held, Held)
        return held

    def job(self, values: Iterable[object], name: str = "item") -> Job:
        data_type = DataType.model_validate(
            {
                "topics": "t",
                "format": "debezium-json",
                "source": {"table": "public.items", "key": list(self.key), "scope": self.scope, "zone": self.zone},
                "registry": {
                    "table": "public.item_registry",
                    "key": list(self.registry_key),
                    "insert": self.insert,
                    **self.more,
                },
            }
        )
        with self.to_source() as db:
            source = facts(db, "the source", data_type.source.table, data_type.source.key).table
        with self.to_registry() as db:
            registry = facts(db, "the registry", data_type.registry.table, data_type.registry.key)
        kind = key_type(source.kinds if source.composite else source.kinds[0])
        keys = kind.of([kind.canonical(value) for value in values])
        return Job(
            name=name,
            data_type=data_type,
            key_type=kind,
            source=source,
            registry=registry.table,
            keys=keys,
            unique=registry.why_not_unique is None,
        )

    def backfill(self, values: Iterable[object], *, run: str | None = None, **options: Any) -> Done:
        run = run or self.run()
        job = self.job(values)
        settings = BackfillSettings(batch=self.batch)
        with self.lease(run) as held:
            given: dict[str, Any] = {"source": self.to_source, "registry": self.to_registry, "lease": held}
            return backfill(settings, self.ledger, run, [job], **given | options)["item"]

    def undo(self, run: str) -> Undone | None:
        with self.lease(self.run()) as held:
            return undo(self.ledger, run, registry=self.to_registry, lease=held).get("item")

    def finish(self) -> Finished:
        with self.lease(self.run()) as held:
            jobs = [self.job([])]
            return finish_unfinished(self.ledger, jobs, source=self.to_source, registry=self.to_registry, lease=held)

    def steps(self) -> list[str]:
        return [row[0] for row in self.on_ledger("SELECT state FROM fencepost.backfill ORDER BY at, batch")]

    def forget_the_lease(self) -> None:
        """As time does: the holder died fifteen seconds ago."""
        self.on_ledger("UPDATE fencepost.lease SET expires_at = now() - interval '1 second'")


def _execute(dsn: str, statement: str, params: Iterable[object]) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as db:
        cursor = db.execute(statement, list(params) or None)
        return cursor.fetchall() if cursor.description else []


#: For what depends on whether one transaction holds both the rows and their journal.
BOTH = pytest.mark.parametrize("world", ["inside", "beside"], indirect=True)
_NUMBERS = itertools.count(1)
ITEMS = """CREATE TABLE items (id bigint PRIMARY KEY, project_id int NOT NULL DEFAULT 7, name text DEFAULT 'x');
           INSERT INTO items SELECT g FROM generate_series(1, 100) g"""
REGISTRY = """CREATE TABLE item_registry (rid bigserial PRIMARY KEY, item_id bigint NOT NULL UNIQUE,
              state smallint NOT NULL, created_at timestamptz NOT NULL, project_id int, note varchar(5))"""


@pytest.fixture
def world(request: pytest.FixtureRequest, postgres: Postgres, with_a_ledger: str) -> Iterator[World]:
    """100 rows at the source, none in the registry; the ledger in the registry's database, or `beside` (see BOTH)."""
    number = next(_NUMBERS)
    names = [f"backfill_{side}_{number}" for side in ("source", "registry", "ledger")]
    inside = getattr(request, "param", "inside") == "inside"
    source = postgres.create_database(names[0])
    registry = postgres.create_database(names[1], template=with_a_ledger if inside else None)
    ledger = Ledger(Dsn(registry if inside else postgres.create_database(names[2], template=with_a_ledger)), "fencepost")
    _execute(source, ITEMS, ())
    _execute(registry, REGISTRY, ())
    yield World(source, registry, ledger)
    ledger.close()
    for name in names:
        postgres.drop_database(name)
