"""A small world for probes: one database, tables made of key lists, connections inside snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any

import psycopg
import pytest
from psycopg import sql

from reconciler.probe import Reader, Side, Span, Table
from schemas.keys import Key, KeySet
from tests.stack.postgres import Postgres

_NUMBERS = count()


def among(keys: KeySet) -> Callable[[Span], KeySet]:
    """A ledger that announced these keys."""
    return lambda span: span.select(keys)


class World:
    """Make tables, then look at them through shared snapshots."""

    def __init__(self, dsn: str, stack: ExitStack) -> None:
        self.dsn, self._stack = dsn, stack
        self.hand = self.connection()

    def connection(self) -> psycopg.Connection[Any]:
        made = psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None, client_encoding="UTF8")
        self._stack.callback(made.close)
        made.execute("SET search_path = pg_catalog")
        made.execute("SET timezone = 'UTC'")
        return made

    def snapshot(self, workers: int = 1) -> list[psycopg.Connection[Any]]:
        connections = [self.connection() for _ in range(workers)]
        name = None
        for connection in connections:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if name is None:
                ((name,),) = connection.execute("SELECT pg_export_snapshot()").fetchall()
            else:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(name)))
        return connections

    def table(
        self,
        name: str,
        rows: Iterable[Sequence[Any]],
        *,
        columns: str = "id int8 PRIMARY KEY, state int",
        tail: str = "",
        **known: Any,
    ) -> Table:
        """A table in schema public; `columns` starts with the key."""
        self.hand.execute(f'DROP TABLE IF EXISTS public."{name}"')
        self.hand.execute(f'CREATE TABLE public."{name}" ({columns}) {tail}')
        with self.hand.cursor() as cursor, cursor.copy(f'COPY public."{name}" FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)
        facts: dict[str, Any] = {"key": ("id",), "kinds": ("int",), "unique": "PRIMARY" in columns} | known
        return Table(schema="public", name=name, **facts)

    def side(self, table: Table, workers: int = 1, where: sql.Composed | None = None) -> Side:
        return Side(table=table, connections=self.snapshot(workers), where=where)

    def reader(self, table: Table, where: sql.Composed | None = None) -> Reader:
        return Reader(self.snapshot()[0], table, where)


@pytest.fixture
def world(database: str) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(database, stack)


@pytest.fixture
def world_any(database_any: str) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(database_any, stack)


@pytest.fixture
def union() -> Callable[[Iterable[KeySet]], set[Key]]:
    """All keys of many disjoint sets; that they are disjoint is checked."""

    def joined(sets: Iterable[KeySet]) -> set[Key]:
        keys = [key for one in sets for key in one]
        assert len(keys) == len(set(keys)), "a key came in two spans"
        return set(keys)

    return joined


@pytest.fixture
def world15(postgres15: Postgres) -> Iterator[World]:
    """On Debian's PostgreSQL 15, the only build at hand that has ICU collations."""
    name = f"probe_{next(_NUMBERS)}"
    dsn = postgres15.create_database(name)
    try:
        with ExitStack() as stack:
            yield World(dsn, stack)
    finally:
        postgres15.drop_database(name)
