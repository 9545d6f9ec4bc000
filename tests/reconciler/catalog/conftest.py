"""Databases with tables of every shape, seen through the pinned connection that the recipes use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from databases.connect import connect
from schemas.settings import Dsn

Connection = psycopg.Connection[Any]
Made = Callable[[str], Connection]
SOURCE = "the source"


@pytest.fixture
def made(database: str) -> Iterator[Made]:
    """Run DDL on a fresh database of PostgreSQL 18, and get a connection to look at it."""
    yield from _made(database)


@pytest.fixture
def made_any(database_any: str) -> Iterator[Made]:
    """The same, once on each major version."""
    yield from _made(database_any)


def _made(dsn: str) -> Iterator[Made]:
    with closing(connect(Dsn(dsn), SOURCE)) as connection:

        def made(ddl: str) -> Connection:
            with psycopg.connect(dsn, autocommit=True) as db:
                db.execute(ddl.encode())
            return connection

        yield made
