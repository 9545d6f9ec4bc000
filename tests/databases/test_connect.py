"""The door to PostgreSQL: what is pinned, and that errors are renamed and show no password."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from databases.connect import connect, renamed
from schemas.errors import CatalogError, FencepostError, LedgerError, SettingsError, UnavailableError
from schemas.settings import Dsn

CANARY = "canary-7f3a"


def shown(connection: psycopg.Connection[object], name: str) -> str:
    row = connection.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone()
    assert isinstance(row, tuple)
    return str(row[0])


def test_what_could_change_an_answer_is_pinned_whatever_the_database_says(database_any: str) -> None:
    with psycopg.connect(database_any, autocommit=True) as db:
        name = db.info.dbname
        for setting in (
            "timezone = 'Asia/Tokyo'",
            "search_path = 'evil, public'",
            "datestyle = 'SQL, DMY'",
            "bytea_output = 'escape'",
        ):
            db.execute(f'ALTER DATABASE "{name}" SET {setting}')
    with connect(Dsn(database_any), "the source") as connection:
        pinned = {n: shown(connection, n) for n in ("timezone", "search_path", "datestyle", "bytea_output", "row_security")}
        assert pinned == {
            "timezone": "UTC",
            "search_path": "pg_catalog",
            "datestyle": "ISO, YMD",
            "bytea_output": "hex",
            "row_security": "off",
        }
        assert shown(connection, "client_encoding") == "UTF8"


@pytest.mark.parametrize(
    ("ended", "setting"),
    [
        (psycopg.errors.IdleInTransactionSessionTimeout, "idle_in_transaction_session_timeout"),
        (psycopg.errors.TransactionTimeout, "transaction_timeout"),
        (psycopg.errors.IdleSessionTimeout, "idle_session_timeout"),
    ],
)
def test_a_limit_of_the_role_that_ends_our_session_is_told_with_the_setting_to_change(
    ended: type[psycopg.Error], setting: str
) -> None:
    with pytest.raises(UnavailableError) as told, renamed("read public.items"):
        raise ended("terminating connection")
    assert f"SET {setting} = 0" in (told.value.hint or "")


def test_nothing_is_ever_prepared(database: str) -> None:
    with connect(Dsn(database), "the source") as connection:
        for _ in range(20):
            connection.execute("SELECT 1 WHERE 1 = %s", [1])
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


@pytest.mark.parametrize(
    ("value", "told"),
    [(timedelta(minutes=10), "10min"), (timedelta(microseconds=5), "1ms"), (timedelta(days=999), "2147483647ms")],
)
def test_a_timeout_is_never_rounded_to_none(database: str, value: timedelta, told: str) -> None:
    for attempts_left in reversed(range(50)):
        try:
            with connect(Dsn(database), "the source", statement_timeout=value, lock_timeout=value) as connection:
                assert (shown(connection, "statement_timeout"), shown(connection, "lock_timeout")) == (told, told)
            return
        except (psycopg.errors.QueryCanceled, UnavailableError):  # a busy machine needs longer than 1 ms to answer: ask again
            if not attempts_left:
                raise


def test_a_read_only_connection_refuses_writes(database: str) -> None:
    with (
        connect(Dsn(database), "the source", read_only=True) as connection,
        pytest.raises(UnavailableError, match="read-only"),
        renamed("write"),
    ):
        connection.execute("CREATE TABLE public.t (id int)")


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{CANARY}@127.0.0.1:notaport/db",
        f"postgresql://u:{CANARY}@127.0.0.1:1/db",
        f"postgresql://u:{CANARY}/x@127.0.0.1:1/db",
        f"postgresql://u:{CANARY}@[::1/db",
        f"host=127.0.0.1 port=1 password={CANARY} nonsense=1",
        f"host=127.0.0.1 port=1 password='{CANARY}",
        f"host=127.0.0.1 port=1 {CANARY}",
        f"host=127.0.0.1 port=1 password={CANARY}\0x",
        f"host=127.0.0.1 port=1 password={CANARY}\ud800",
        CANARY,
    ],
    ids=range(10),
)
def test_no_connection_string_that_fails_shows_its_password(dsn: str) -> None:
    with pytest.raises((SettingsError, UnavailableError)) as caught:
        connect(Dsn(dsn), "the source")
    error: FencepostError = caught.value
    assert "the source" in str(error)
    assert CANARY not in f"{error} {error.hint} {error!r} {error.__cause__!r}"


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        " ",
        f"postgresql://u:{CANARY}@name:port/d",
        f"postgresql://u:{CANARY}@127.0.0.1:port/d",
        "postgresql://127.0.0.1:99999/d",
        f"host=127.0.0.1 sslmode={CANARY}",
        "port=x",
    ],
)
def test_a_connection_string_that_no_server_could_be_asked_with_is_a_wrong_setting(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one would lead wherever PGHOST says."""
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    with pytest.raises(SettingsError, match="connection string of the source") as told:
        connect(Dsn(dsn), "the source")
    assert CANARY not in str(told.value)


def test_a_refused_connection_says_where_to_and_why() -> None:
    with pytest.raises(UnavailableError, match=r"cannot connect to the source \(u@127.0.0.1:1/db\): connection refused"):
        connect(Dsn("postgresql://u:p@127.0.0.1:1/db"), "the source")


@pytest.mark.parametrize(
    ("more", "words", "hint"),
    [
        ("?options=-c%20foo", "it does not know an option", "'options' in the connection string"),
        ("?options=-c%20foo%3D1", "it does not know an option", "'options' in the connection string"),
        ("?options=-c%20work_mem%3Dx", "it does not take the value of an option", "'options' in the connection string"),
        ("?target_session_attrs=standby", "not the kind of server that target_session_attrs wants", "target_session_attrs"),
        ("?target_session_attrs=read-only", "not the kind of server that target_session_attrs wants", "target_session_attrs"),
        ("?service=none", "no service of that name is defined", "PGSERVICEFILE"),
        ("?host=/none", "there is no such socket", "is the server up"),
        ("?dbname=template0", "that database takes no connections", "datallowconn"),
        ("?dbname=none", "does not exist", "database right"),
    ],
)
def test_what_a_server_or_the_driver_refuses_is_told_in_words(database: str, more: str, words: str, hint: str) -> None:
    with pytest.raises(UnavailableError, match=words) as told:
        connect(Dsn(database + more), "the source")
    assert hint in (told.value.hint or "")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT FROM public.none", CatalogError),
        ("SELECT none FROM pg_class", CatalogError),
        ("SELECT 1 / 0", UnavailableError),
        ("SELEC 1", UnavailableError),
    ],
)
def test_a_drivers_error_is_renamed_at_the_door(database: str, statement: str, kind: type[FencepostError]) -> None:
    with connect(Dsn(database), "the source") as connection, pytest.raises(kind, match="cannot look"), renamed("look"):
        connection.execute(statement.encode())


def test_our_own_errors_pass_the_door_unchanged() -> None:
    error = LedgerError("ours")
    with pytest.raises(LedgerError) as caught, renamed("look"):
        raise error
    assert caught.value is error


def test_a_roles_connection_limit_is_told_as_such(database: str) -> None:
    role = f"limited_{database.rpartition('/')[2]}"
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        try:
            dsn = Dsn(database.replace("postgres@", f"{role}@"))
            with closing(connect(dsn, "the source")), pytest.raises(UnavailableError, match="too many connections") as refused:
                connect(dsn, "the source")
            assert "CONNECTION LIMIT" in (refused.value.hint or "")
        finally:
            db.execute(f"DROP ROLE {role}")
