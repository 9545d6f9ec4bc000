"""Connections are kept between two snapshots for seconds, outside any transaction, and never one that was silent for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from reconciler import connections
from reconciler.connections import Connections, Wanted
from schemas.errors import UnavailableError
from schemas.settings import Dsn


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connections]:
    monkeypatch.setattr(connections, "KEPT_S", 600.0)  # however long the machine takes from one line to the next
    with closing(Connections()) as made:
        yield made


def wanted(dsn: str, what: str = "the source") -> Wanted:
    return Wanted(dsn=Dsn(dsn), what=what, statement_timeout=timedelta(minutes=1), lock_timeout=timedelta(minutes=1))


def backends(taken: list[psycopg.Connection[object]]) -> set[int]:
    return {connection.info.backend_pid for connection in taken}


def test_what_was_given_back_is_taken_again_outside_any_transaction(kept: Connections, database: str) -> None:
    mine = wanted(database)
    first, second = kept.take(mine, 2)
    first.execute("BEGIN")
    second.execute("BEGIN")
    with pytest.raises(psycopg.errors.DivisionByZero):
        second.execute("SELECT 1 / 0")
    for connection in (first, second):
        kept.give_back(mine, connection)
    again = kept.take(mine, 2)
    assert backends(again) == backends([first, second])
    assert {connection.info.transaction_status.name for connection in again} == {"IDLE"}
    for connection in again:
        connection.close()


def test_another_side_or_another_limit_gets_connections_of_its_own(kept: Connections, database: str) -> None:
    (first,) = kept.take(wanted(database), 1)
    kept.give_back(wanted(database), first)
    (other,) = kept.take(wanted(database, "the registry"), 1)
    assert backends([other]) != backends([first])
    other.close()


@pytest.mark.parametrize("ahead", [True, False])
def test_a_connection_that_was_silent_for_long_is_not_taken(
    kept: Connections, database: str, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    monkeypatch.setattr(connections, "KEPT_S", 0.2)
    mine = wanted(database)
    if ahead:
        kept.ahead(mine, 1)
        for opener, _, _ in kept._openers:
            opener.join()
        ((_, old),) = kept._openers[0][2]
    else:
        (old,) = kept.take(mine, 1)
        kept.give_back(mine, old)
    pid = old.info.backend_pid
    time.sleep(0.3)  # past its time, however slow the machine
    (fresh,) = kept.take(mine, 1)
    assert backends([fresh]) != {pid}
    assert old.closed
    fresh.close()


def test_a_connection_that_was_lost_meanwhile_is_not_kept(kept: Connections, database: str) -> None:
    mine = wanted(database)
    (lost,) = kept.take(mine, 1)
    lost.execute("BEGIN")
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 60000)", [lost.info.backend_pid])
    kept.give_back(mine, lost)
    assert lost.closed
    (fresh,) = kept.take(mine, 1)
    assert fresh.execute("SELECT 1").fetchone() == (1,)
    fresh.close()


def test_an_opening_ahead_that_fails_tells_why_when_it_is_taken(kept: Connections) -> None:
    mine = wanted("postgresql://postgres@127.0.0.1:9/none")
    kept.ahead(mine, 2)
    with pytest.raises(UnavailableError, match="the source"):
        kept.take(mine, 2)


def test_what_was_opened_ahead_and_never_taken_is_closed_in_the_end(database: str) -> None:
    with closing(Connections()) as made:
        made.ahead(wanted(database), 2)
        opened = [entry[2] for entry in made._openers]
    assert all(connection.closed for into in opened for _, connection in into)
    assert sum(map(len, opened)) == 2
