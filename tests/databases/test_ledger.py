"""Connections to the ledger in real PostgreSQL: one that went away while it lay idle keeps nobody from the next statement."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa

from databases.ledger import IDLE_S, Ledger
from schemas.errors import LedgerAway
from schemas.settings import Dsn
from tests.stack.processes import wait_until


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    with closing(Ledger(Dsn(database), "fencepost")) as opened:
        yield opened


def backend(ledger: Ledger) -> int:
    with ledger.begin() as connection:
        return int(connection.scalar(sa.text("SELECT pg_catalog.pg_backend_pid()")) or 0)


def test_one_connection_serves_statement_after_statement(ledger: Ledger) -> None:
    assert len({backend(ledger) for _ in range(5)}) == 1


def end(backend: int, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as hand:
        hand.execute("SELECT pg_terminate_backend(%s)", [backend])
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
        wait_until(lambda: hand.execute(gone, [backend]).fetchone() == (True,), "the connection is gone")


def test_a_connection_that_went_away_while_it_lay_idle_is_replaced(ledger: Ledger, database: str) -> None:
    before, since = backend(ledger), time.monotonic()
    end(before, database)
    wait_until(lambda: time.monotonic() - since > 2 * IDLE_S, "it has lain idle")
    assert backend(ledger) != before
    assert backend(ledger) != before


def test_rows_that_are_not_read_to_their_end_leave_no_open_cursor_behind_where_the_connection_is_gone(
    ledger: Ledger, database: str
) -> None:
    numbers = sa.select(sa.func.generate_series(1, 100))

    def some() -> None:
        with ledger.begin() as connection, closing(ledger.stream(connection, numbers, 4)) as rows:  # type: ignore[type-var]
            assert next(rows) == (1,)
            end(int(connection.scalar(sa.text("SELECT pg_catalog.pg_backend_pid()")) or 0), database)

    with pytest.raises(LedgerAway):
        some()
    gc.collect()  # the driver warns of a cursor that is still open


def test_several_rows_go_without_a_pipeline_in_which_the_server_would_wait_for_ever(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psycopg.Connection, "pipeline", None)
    table = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer), schema="pg_temp")
    with ledger.begin() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE numbers (n int)"))
        connection.execute(sa.insert(table), [{"n": n} for n in range(3)])
        assert connection.scalars(sa.select(table.c.n).order_by(table.c.n)).all() == [0, 1, 2]
