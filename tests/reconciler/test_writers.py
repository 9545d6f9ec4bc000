"""Who may still write is told from the catalogs: grants, memberships, owners, functions, limits, locks; no more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from databases.connect import connect
from reconciler.writers import Standing, standing
from schemas.settings import Dsn
from tests.stack.postgres import Postgres

Ask = Callable[[], Standing]


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A table `items` of `w_owner`, whom nothing is granted; every role goes with the test."""
    made = ["w_owner", "w_app", "w_group", "w_member"]
    with psycopg.connect(database, autocommit=True) as db:
        for role in made:
            db.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), sql.SQL("LOGIN" if role != "w_group" else "")))
        db.execute("GRANT CREATE ON SCHEMA public TO w_owner")
        db.execute("SET ROLE w_owner; CREATE TABLE items (id int); REVOKE ALL ON items FROM w_owner; RESET ROLE")
        try:
            yield db
        finally:
            for role in made:
                db.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def ask(db: psycopg.Connection, database: str) -> Ask:
    row = db.execute("SELECT 'items'::regclass::oid").fetchone()
    assert row
    oid = row[0]

    def asked() -> Standing:
        with connect(Dsn(database), "the source", read_only=True) as connection:
            return standing(connection, [oid])

    return asked


def test_revoked_grants_leave_superusers_and_the_owner_and_no_more_is_claimed(ask: Ask) -> None:
    told = ask().described
    assert "still accepts writes of superusers (" in told
    assert "), and of no other role that may log in" in told
    assert "postgres" in told
    assert "owners could grant themselves the right: w_owner" in told
    assert "pg_hba.conf and triggers were not looked at" in told


def test_a_grant_a_membership_and_a_column_are_ways_to_write(db: psycopg.Connection, ask: Ask) -> None:
    db.execute("GRANT INSERT ON items TO w_group; GRANT w_group TO w_member; GRANT UPDATE (id) ON items TO w_app")
    able = {role.name for role in ask().roles if role.has_way and not role.superuser}
    assert able == {"w_app", "w_member"}
    assert "still accepts writes of w_app, w_member, and of superusers" in ask().described


def test_a_function_that_lends_its_owners_right_is_told_as_one(db: psycopg.Connection, ask: Ask) -> None:
    db.execute("CREATE FUNCTION put() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO items VALUES (1)'")
    db.execute("REVOKE EXECUTE ON FUNCTION put() FROM public; GRANT EXECUTE ON FUNCTION put() TO w_app")
    assert "w_app (through a function or trigger with another's rights)" in ask().described


def test_a_limit_keeps_out_only_who_has_no_session(db: psycopg.Connection, database: str, ask: Ask) -> None:
    db.execute("GRANT INSERT ON items TO w_app")
    with ExitStack() as open_:
        open_.enter_context(psycopg.connect(database, user="w_app"))
        db.execute("ALTER ROLE w_app CONNECTION LIMIT 0")
        assert "writes of w_app (cannot connect anew, 1 sessions)" in ask().described
    db.execute("ALTER ROLE w_app CONNECTION LIMIT -1; ALTER ROLE w_app SET default_transaction_read_only = on")
    assert "w_app (starts read-only, which a session may override" in ask().described


def test_a_database_that_starts_sessions_read_only_or_takes_none_is_told_as_such(
    db: psycopg.Connection, database: str, postgres: Postgres
) -> None:
    """Neither is a promise: a session may override the one, and who is inside stays inside."""
    row = db.execute("SELECT 'items'::regclass::oid").fetchone()
    assert row
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(database)["dbname"]))
    db.execute("GRANT INSERT ON items TO w_app")
    db.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    with connect(Dsn(database), "the source", read_only=True) as ours, postgres.connect() as beside:
        told = standing(ours, [row[0]]).described
        assert "writes of w_app (starts read-only, which a session may override)" in told
        beside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        closed = standing(ours, [row[0]]).described
        beside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    assert "the database takes no new connections" in closed
    assert "w_app may write, but cannot connect and have no session" in closed


def test_a_login_that_cannot_reach_the_database_is_told_as_kept_out(db: psycopg.Connection, ask: Ask) -> None:
    db.execute("GRANT INSERT ON items TO w_app")
    db.execute("ALTER ROLE w_app CONNECTION LIMIT 0")
    assert "w_app may write, but cannot connect and have no session" in ask().described


def test_a_lock_on_all_tables_is_told_with_its_holder(db: psycopg.Connection, database: str, ask: Ask) -> None:
    with psycopg.connect(database) as holder:
        holder.execute("LOCK TABLE items IN SHARE MODE")
        assert f"pid {holder.info.backend_pid} holds the source tables locked" in ask().described
    assert "locked" not in ask().described


def test_a_server_in_recovery_refuses_every_write() -> None:
    told = Standing(in_recovery=True, connects=True, limit=-1, locked_by=(), roles=()).described
    assert told == "the server where the source's rows are created is in recovery and refuses every write"
