"""Connections to the ledger in real PostgreSQL: one that went away while it lay idle keeps nobody from the next statement."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa

from databases.ledger import IDLE_S, Ledger
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


def test_a_connection_that_went_away_while_it_lay_idle_is_replaced(ledger: Ledger, database: str) -> None:
    before, since = backend(ledger), time.monotonic()
    with psycopg.connect(database, autocommit=True) as hand:
        hand.execute("SELECT pg_terminate_backend(%s)", [before])
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
        wait_until(lambda: hand.execute(gone, [before]).fetchone() == (True,), "the connection is gone")
    wait_until(lambda: time.monotonic() - since > 2 * IDLE_S, "it has lain idle")
    assert backend(ledger) != before
    assert backend(ledger) != before
