"""A snapshot tells which transactions it sees, so that a second look may know that nothing has changed since the first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from reconciler.snapshot import Limits, snapshot
from schemas.errors import UnavailableError
from schemas.settings import Dsn
from tests.stack.processes import wait_until

SOME = timedelta(minutes=1)
LIMITS = Limits(slices=2, statement_timeout=SOME, lock_timeout=SOME, held_at_most=SOME)


def sees(dsn: str) -> str | None:
    with snapshot(Dsn(dsn), "the source", [], LIMITS) as taken:
        return taken.sees


def test_two_snapshots_with_nothing_in_between_see_the_same(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE TABLE t (id int)")
        seen: list[str | None] = []

        def the_same() -> bool:
            seen[:] = [sees(database)]
            db.execute("SELECT count(*) FROM t")
            seen.append(sees(database))
            return seen[0] == seen[1]

        # Transactions are counted for a whole server, whose own work (an analyze, say) may come in between.
        wait_until(the_same, "two snapshots with nothing in between")
        assert seen[0] is not None


@pytest.mark.parametrize(
    "change", ["INSERT INTO t VALUES (2)", "UPDATE t SET id = 3", "DELETE FROM t", "TRUNCATE t", "ALTER TABLE t ADD x int"]
)
def test_whatever_was_committed_in_between_shows(database: str, change: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE TABLE t (id int)")
        db.execute("INSERT INTO t VALUES (1)")
        first = sees(database)
        db.execute(change.encode())
        assert sees(database) != first


def test_a_writer_that_was_open_before_and_committed_in_between_shows(database: str) -> None:
    with psycopg.connect(database) as writer, psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE TABLE t (id int)")
        writer.execute("INSERT INTO t VALUES (1)")
        db.execute("INSERT INTO t VALUES (2)")
        first = sees(database)
        writer.commit()
        assert sees(database) != first


def test_a_standby_tells_nothing(database: str, postgres: object) -> None:
    from tests.stack.postgres import Postgres

    assert isinstance(postgres, Postgres)
    with postgres.standby() as standby:
        assert sees(standby.dsn(database.rpartition("/")[2])) is None


def test_a_snapshot_that_is_held_for_too_long_says_so(database: str) -> None:
    with snapshot(Dsn(database), "the source", [], LIMITS) as taken:
        taken.may_be_held()
    with (
        snapshot(Dsn(database), "the source", [], replace(LIMITS, held_at_most=timedelta(0))) as taken,
        pytest.raises(UnavailableError, match=r"a snapshot of the source was held for longer than source\.snapshot_max"),
    ):
        taken.may_be_held()
