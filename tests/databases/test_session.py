"""Through a transaction-mode pooler nothing of ours stays behind for others, and nothing of theirs changes our answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from databases.connect import connect, renamed
from databases.session import Session
from schemas.errors import UnavailableError
from schemas.settings import Dsn
from tests.conftest import needed
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Postgres

LEFT = "SET search_path = evil, public; SET timezone = 'Asia/Tokyo'; SET row_security = on; SET bytea_output = 'escape'"
ASKED = ("search_path", "timezone", "row_security", "bytea_output")
PINNED = ("pg_catalog", "UTC", "off", "hex")


@pytest.fixture(scope="module")
def one_session(postgres: Postgres, stand_folder: Path) -> Iterator[PgBouncer]:
    """A pooler that has a single server session for everybody."""
    with needed(), PgBouncer(stand_folder / "pgbouncer-one", postgres, size=1) as pooler:
        yield pooler


@pytest.fixture
def dsn(one_session: PgBouncer, database: str) -> str:
    return one_session.dsn(database.rpartition("/")[2])


@contextmanager
def stranger(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(dsn, autocommit=True, prepare_threshold=None)) as db:
        yield db


def asked(db: psycopg.Connection[Any], *names: str) -> tuple[str, ...]:
    columns = ", ".join(f"pg_catalog.current_setting('{name}')" for name in names)
    row = db.execute(f"SELECT {columns}").fetchone()
    assert row is not None
    return tuple(row)


def test_a_pooler_is_told_from_a_server(dsn: str, database: str) -> None:
    with connect(Dsn(dsn), "the registry") as pooled, connect(Dsn(database), "the registry") as direct:
        assert isinstance(pooled, Session)
        assert pooled.is_pooled()
        assert isinstance(direct, Session)
        assert not direct.is_pooled()


def test_nothing_of_ours_is_left_on_a_session_that_others_get_next(dsn: str) -> None:
    names = (*ASKED, "default_transaction_read_only", "transaction_read_only", "statement_timeout", "lock_timeout")
    with stranger(dsn) as other:
        before = asked(other, *names)
        with connect(
            Dsn(dsn), "the registry", read_only=True, statement_timeout=timedelta(seconds=7), lock_timeout=timedelta(seconds=3)
        ) as ours:
            assert asked(ours, "statement_timeout", "lock_timeout", "transaction_read_only") == ("7s", "3s", "on")
            with ours.transaction():
                ours.execute("SELECT 1")
        assert asked(other, *names) == before
        other.execute("CREATE TABLE still_writable (id int)")


def _alone(db: Session) -> tuple[str, ...]:
    return asked(db, *ASKED)


def _in_a_block(db: Session) -> tuple[str, ...]:
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return asked(db, *ASKED)


def _begun_by_a_statement(db: Session) -> tuple[str, ...]:
    db.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return asked(db, *ASKED)
    finally:
        db.execute("COMMIT")


def _begun_by_the_driver(db: Session) -> tuple[str, ...]:
    db.autocommit = False
    try:
        return asked(db, *ASKED)
    finally:
        db.commit()
        db.autocommit = True


WAYS = [_alone, _in_a_block, _begun_by_a_statement, _begun_by_the_driver]


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_what_a_stranger_left_behind_changes_no_answer(
    dsn: str, first: Callable[[Session], tuple[str, ...]], second: Callable[[Session], tuple[str, ...]]
) -> None:
    with connect(Dsn(dsn), "the registry") as ours, stranger(dsn) as other:
        assert isinstance(ours, Session)
        other.execute(LEFT)
        assert first(ours) == PINNED
        other.execute(LEFT)
        assert second(ours) == PINNED


def test_after_a_failed_statement_the_next_one_is_pinned_again(dsn: str) -> None:
    with connect(Dsn(dsn), "the registry") as ours, stranger(dsn) as other:
        other.execute(LEFT)
        with pytest.raises(psycopg.errors.DivisionByZero):
            ours.execute("SELECT 1 / 0")
        assert asked(ours, *ASKED) == PINNED
        with pytest.raises(psycopg.errors.DivisionByZero), ours.transaction():
            ours.execute("SELECT 1 / 0")
        assert asked(ours, *ASKED) == PINNED


def test_rows_of_a_statement_alone_are_kept(dsn: str) -> None:
    with connect(Dsn(dsn), "the registry") as ours:
        cursor = ours.execute("SELECT g FROM pg_catalog.generate_series(1, %s) g", [3])
        assert (cursor.rowcount, cursor.fetchall()) == (3, [(1,), (2,), (3,)])


def test_a_read_only_connection_refuses_writes_through_a_pooler_too(dsn: str) -> None:
    with (
        connect(Dsn(dsn), "the source", read_only=True) as ours,
        pytest.raises(UnavailableError, match="read-only"),
        renamed("write"),
    ):
        ours.execute("CREATE TABLE public.t (id int)")
