"""The fence waits for every transaction that could still make an old row visible, and for nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from databases.connect import connect
from reconciler import fence
from reconciler.ports import Silent
from schemas.settings import Dsn
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until


@pytest.fixture
def source(database_any: str) -> str:
    with psycopg.connect(database_any) as db:
        db.execute("CREATE TABLE rows (id bigint PRIMARY KEY, created_at timestamptz DEFAULT now())")
    return database_any


@contextmanager
def ours(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(Dsn(dsn), "the source", read_only=True) as connection:
        yield connection


def oid(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT 'public.rows'::regclass::oid::bigint").fetchone()
    assert row
    return int(row[0])


def take(dsn: str, wait_s: float = 0.3) -> fence.Fence:
    with ours(dsn) as connection:
        return fence.take(connection, [oid(connection)], wait_s=wait_s, say=Silent())


def test_a_quiet_database_is_fenced_at_once(source: str) -> None:
    taken = take(source)
    assert taken.held
    assert taken.lsn_number > 0


def test_an_open_writer_holds_the_fence_and_is_named(source: str) -> None:
    with psycopg.connect(source, application_name="late-job") as writer:
        writer.execute("INSERT INTO rows VALUES (1)")
        taken = take(source)
        assert not taken.held
        assert [t.pid for t in taken.open_] == [writer.info.backend_pid]
        assert "late-job" in taken.open_[0].described(taken.at)


def test_a_session_that_has_only_begun_holds_the_fence(source: str) -> None:
    """It has fixed its now(), has no transaction id yet, and may insert a row dated before the fence."""
    with psycopg.connect(source) as writer:
        writer.execute("SELECT now()")
        assert not take(source).held


def test_a_writer_that_ends_while_we_wait_lets_the_fence_pass_and_its_row_is_before_the_lsn(source: str) -> None:
    with psycopg.connect(source) as writer:
        writer.execute("INSERT INTO rows VALUES (1)")
        result: list[fence.Fence] = []
        waiter = threading.Thread(target=lambda: result.append(take(source, wait_s=60)))
        waiter.start()
        wait_until(lambda: _listening(source), "the fence's wait")
        writer.commit()
        waiter.join(60)
    assert result
    assert result[0].held
    with ours(source) as connection:
        row = connection.execute("SELECT count(*) FROM public.rows").fetchone()
        assert row == (1,)


def _listening(dsn: str) -> bool:
    with psycopg.connect(dsn) as db:
        row = db.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fencepost'").fetchone()
        return bool(row and row[0])


def test_a_prepared_transaction_holds_the_fence_and_is_named_by_its_gid(source: str) -> None:
    with psycopg.connect(source, autocommit=True) as db:
        db.execute("BEGIN")
        db.execute("INSERT INTO rows VALUES (1)")
        db.execute("PREPARE TRANSACTION 'left-over'")
        try:
            taken = take(source)
            assert not taken.held
            assert taken.open_[0].prepared
            assert "left-over" in taken.open_[0].described(taken.at)
        finally:
            db.execute("ROLLBACK PREPARED 'left-over'")
    assert take(source).held


def test_a_reader_whose_role_cannot_write_is_listed_and_not_waited_for(source: str) -> None:
    with psycopg.connect(source, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS only_reads")
        db.execute("CREATE ROLE only_reads LOGIN")
        db.execute("GRANT SELECT ON rows TO only_reads")
    try:
        with psycopg.connect(source, user="only_reads") as reader:
            reader.execute("SELECT count(*) FROM rows")
            taken = take(source)
            assert taken.held
            # Beside it, the server's own work (an analyze, say) may be open anywhere.
            told = [t.why_not for t in taken.passed_over if t.pid == reader.info.backend_pid]
            assert told == ["its role cannot write the source tables"]
    finally:
        with psycopg.connect(source, autocommit=True) as db:
            db.execute("DROP OWNED BY only_reads")
            db.execute("DROP ROLE only_reads")


@contextmanager
def role(dsn: str, name: str, grant: str) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"DROP ROLE IF EXISTS {name}")
        db.execute(f"CREATE ROLE {name} LOGIN")
        db.execute(f"GRANT {grant} TO {name}")
    try:
        yield
    finally:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(f"DROP OWNED BY {name}")
            db.execute(f"DROP ROLE {name}")


def test_a_writer_whose_grant_was_taken_back_is_waited_for(source: str) -> None:
    """That is how writers are stopped; what one has already inserted can still be committed."""
    with role(source, "stopped", "INSERT ON rows"), psycopg.connect(source, user="stopped") as writer:
        writer.execute("INSERT INTO rows VALUES (1)")
        with psycopg.connect(source, autocommit=True) as db:
            db.execute("REVOKE INSERT ON rows FROM stopped")
        assert [t.pid for t in take(source).open_] == [writer.info.backend_pid]
        writer.rollback()
        writer.execute("SELECT 1")
        assert take(source).held


@pytest.mark.parametrize("table", ["leaf", "root"])
def test_a_writer_who_may_write_a_partition_or_its_parent_only_is_waited_for(source: str, table: str) -> None:
    with psycopg.connect(source) as db:
        db.execute("DROP TABLE rows")
        db.execute("CREATE TABLE root (id bigint, at timestamptz) PARTITION BY RANGE (id)")
        db.execute("CREATE TABLE rows PARTITION OF root FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)")
        db.execute("CREATE TABLE leaf PARTITION OF rows FOR VALUES FROM (0) TO (50)")
    with role(source, "narrow", f"INSERT ON {table}"), psycopg.connect(source, user="narrow") as writer:
        writer.execute("SELECT 1")
        assert [t.pid for t in take(source).open_] == [writer.info.backend_pid]


def test_a_reader_that_may_become_a_writer_is_waited_for(source: str) -> None:
    """SET ROLE makes a writer of it in the middle of its transaction."""
    with psycopg.connect(source, autocommit=True) as db:
        for role in ("may_switch", "writes"):
            db.execute(f"DROP ROLE IF EXISTS {role}")
            db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute("GRANT INSERT ON rows TO writes")
        db.execute("GRANT writes TO may_switch")
    try:
        with psycopg.connect(source, user="may_switch") as reader:
            reader.execute("SELECT 1")
            assert not take(source).held
    finally:
        with psycopg.connect(source, autocommit=True) as db:
            db.execute("DROP OWNED BY writes, may_switch")
            db.execute("DROP ROLE may_switch")
            db.execute("DROP ROLE writes")


def test_a_writer_of_another_database_is_not_waited_for(source: str, postgres_any: Postgres) -> None:
    with psycopg.connect(postgres_any.dsn("postgres")) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id()")
        taken = take(source)
        assert taken.held
        assert [t.why_not for t in taken.passed_over if t.pid == elsewhere.info.backend_pid] == ["another database"]


def test_activity_tracking_switched_off_hides_no_writer(source: str) -> None:
    with psycopg.connect(source, options="-c track_activities=off") as writer:
        writer.execute("INSERT INTO rows VALUES (1)")
        assert not take(source).held


def test_a_role_without_sight_of_others_still_sees_the_writer(source: str) -> None:
    with psycopg.connect(source, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS plain_reader")
        db.execute("CREATE ROLE plain_reader LOGIN")
        db.execute("GRANT SELECT ON rows TO plain_reader")
    try:
        with psycopg.connect(source) as writer:
            writer.execute("INSERT INTO rows VALUES (1)")
            blind = psycopg.conninfo.make_conninfo(source, user="plain_reader")
            assert not take(blind).held
    finally:
        with psycopg.connect(source, autocommit=True) as db:
            db.execute("DROP OWNED BY plain_reader")
            db.execute("DROP ROLE plain_reader")


#: How a role without any grant on the table can still bring a row into it.
DETOURS = {
    "a view": ["CREATE VIEW detour AS SELECT * FROM rows", "GRANT INSERT ON detour TO has_a_way"],
    "a view of a view": [
        "CREATE VIEW inner_ AS SELECT * FROM rows; CREATE VIEW detour AS SELECT * FROM inner_",
        "GRANT INSERT ON detour TO has_a_way",
    ],
    "a rule": [
        "CREATE TABLE detour (id bigint)",
        "CREATE RULE r AS ON INSERT TO detour DO ALSO INSERT INTO rows VALUES (new.id)",
        "GRANT INSERT ON detour TO has_a_way",
    ],
    "a function": ["CREATE FUNCTION detour() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'INSERT INTO rows VALUES (1)'"],
    "a trigger": [
        "CREATE TABLE detour (id bigint)",
        """CREATE FUNCTION lends() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql
           AS 'BEGIN INSERT INTO rows VALUES (new.id); RETURN new; END'""",
        "CREATE TRIGGER t AFTER INSERT ON detour FOR EACH ROW EXECUTE FUNCTION lends()",
        "GRANT INSERT (id) ON detour TO has_a_way",
    ],
    "a cascade": [
        "CREATE TABLE detour (id bigint PRIMARY KEY)",
        "ALTER TABLE rows ADD FOREIGN KEY (id) REFERENCES detour ON UPDATE CASCADE",
        "GRANT UPDATE ON detour TO has_a_way",
    ],
}


@pytest.mark.parametrize("detour", DETOURS)
def test_a_role_that_can_write_only_by_a_detour_is_waited_for(source: str, detour: str) -> None:
    with role(source, "has_a_way", "SELECT ON rows"):
        with psycopg.connect(source, autocommit=True) as db:
            for statement in DETOURS[detour]:
                db.execute(statement)
        with psycopg.connect(source, user="has_a_way") as writer:
            writer.execute("SELECT now()")
            taken = take(source)
            assert [t.pid for t in taken.open_] == [writer.info.backend_pid]


def test_a_role_that_reads_a_view_or_may_not_call_the_function_is_not_waited_for(source: str) -> None:
    with role(source, "has_a_way", "SELECT ON rows"):
        with psycopg.connect(source, autocommit=True) as db:
            for statement in DETOURS["a function"]:
                db.execute(statement)
            db.execute("REVOKE EXECUTE ON FUNCTION detour FROM PUBLIC")
            db.execute("CREATE VIEW shows AS SELECT * FROM rows; GRANT SELECT ON shows TO has_a_way")
        with psycopg.connect(source, user="has_a_way") as reader:
            reader.execute("SELECT count(*) FROM shows")
            assert take(source).held
