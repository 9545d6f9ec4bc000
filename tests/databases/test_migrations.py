"""The ledger in real PostgreSQL: migrations give the declared schema, from any door, however many knock at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql

from databases.ledger import Ledger, head
from schemas import audit_ledger, sequence_ledger
from schemas.errors import LedgerError, UnavailableError
from schemas.ledger import metadata
from schemas.settings import Dsn

SCHEMA = "fencepost"
assert audit_ledger.audit.metadata is sequence_ledger.sequence.metadata is metadata  # their tables are compared too


@contextmanager
def ledger(dsn: str, schema: str = SCHEMA) -> Iterator[Ledger]:
    opened = Ledger(Dsn(dsn), schema)
    try:
        yield opened
    finally:
        opened.close()


def differences(dsn: str, schema: str = SCHEMA) -> list[object]:
    """What alembic would have to change so that the database has what the code declares."""
    engine = sa.create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            # In its own schema, tables declared without one are compared as if it were the only one.
            connection.execute(sa.text(f'SET search_path = "{schema}"'))
            connection.dialect.default_schema_name = schema
            context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
            return [d for d in compare_metadata(context, metadata) if "alembic_version" not in str(d)]
    finally:
        engine.dispose()


SHAPE = """
SELECT table_name::text, column_name::text, data_type::text, is_nullable::text, column_default::text, is_identity::text
  FROM information_schema.columns WHERE table_schema = %(schema)s
UNION ALL
SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), '', '', '' FROM pg_constraint
 WHERE connamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s)
UNION ALL
SELECT tablename::text, indexname::text, indexdef::text, '', '', '' FROM pg_indexes WHERE schemaname = %(schema)s
 ORDER BY 1, 2, 3
"""


def shape(dsn: str, schema: str = SCHEMA) -> list[tuple[object, ...]]:
    """Columns, constraints and indexes, as the catalog tells them."""
    with psycopg.connect(dsn) as db:
        db.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        return db.execute(SHAPE, {"schema": schema}).fetchall()


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as db:
        return {row[0] for row in db.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}


def test_all_migrations_together_give_the_schema_the_code_declares(database: str) -> None:
    with ledger(database) as opened:
        assert opened.upgrade() is True
    assert differences(database) == []


def test_the_comparison_would_see_a_difference(database: str) -> None:
    with ledger(database) as opened:
        opened.upgrade()
    with psycopg.connect(database) as db:
        db.execute("ALTER TABLE fencepost.segment DROP COLUMN last_us")
    assert differences(database) != []


def test_a_second_upgrade_changes_nothing_and_says_so(database: str) -> None:
    with ledger(database) as opened:
        opened.upgrade()
        before = shape(database)
        assert opened.upgrade() is False
        opened.require()
        assert opened.exists()
    assert shape(database) == before


def test_everything_lives_in_the_settings_schema_whatever_its_name(database: str) -> None:
    with ledger(database, "other_place") as opened:
        opened.upgrade()
        with opened.begin() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(metadata.tables["segment"])).scalar() == 0
    assert schemas(database) == {"public", "information_schema", "other_place"}
    with psycopg.connect(database) as db:
        assert db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_four_who_upgrade_at_once_make_one_ledger(database: str) -> None:
    start, changed, failed = threading.Barrier(4), [], []

    def one() -> None:
        try:
            with ledger(database) as opened:
                start.wait(10)
                changed.append(opened.upgrade())
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sorted(changed) == [False, False, False, True]
    assert differences(database) == []


def test_the_ddl_for_a_dba_gives_the_same_ledger(database: str) -> None:
    with ledger(database) as opened, ledger(database, "by_hand") as by_hand:
        opened.upgrade()
        with psycopg.connect(database, autocommit=True) as db:
            db.execute(by_hand.ddl().encode())
        by_hand.require()
        assert by_hand.upgrade() is False
    assert differences(database, "by_hand") == []
    told = [tuple(str(value).replace("by_hand", SCHEMA) for value in row) for row in shape(database, "by_hand")]
    assert told == [tuple(map(str, row)) for row in shape(database)]


def test_an_upgrade_that_fails_leaves_nothing_behind(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from databases import ledger as module

    whole = module._alembic

    def torn(*args: object) -> None:
        whole(*args)  # type: ignore[arg-type]
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr(module, "_alembic", torn)
    with ledger(database) as opened, pytest.raises(RuntimeError, match="plug"):
        opened.upgrade()
    assert SCHEMA not in schemas(database)


def test_an_absent_ledger_is_said_to_be_absent_and_not_created(database: str) -> None:
    with ledger(database) as opened:
        assert opened.exists() is False
        with pytest.raises(LedgerError, match="there is no ledger yet in schema 'fencepost'") as caught:
            opened.require()
        assert "fencepost ledger upgrade" in (caught.value.hint or "")
        with pytest.raises(LedgerError, match="there is no ledger"), opened.begin() as connection:
            connection.execute(sa.select(metadata.tables["run"]))
    assert schemas(database) == {"public", "information_schema"}


def test_a_ledger_of_another_version_is_told_with_both_versions(database: str) -> None:
    with ledger(database) as opened:
        opened.upgrade()
        with psycopg.connect(database) as db:
            db.execute("UPDATE fencepost.alembic_version SET version_num = '9999'")
        with pytest.raises(LedgerError, match=f"version 9999, this fencepost of {head()}"):
            opened.require()


def test_a_ledger_newer_than_this_program_is_not_touched(database: str) -> None:
    with ledger(database) as opened:
        opened.upgrade()
        with psycopg.connect(database) as db:
            db.execute("UPDATE fencepost.alembic_version SET version_num = '9999'")
        before = shape(database)
        with pytest.raises(LedgerError, match="newer"):
            opened.upgrade()
        assert shape(database) == before


def test_a_role_that_may_not_create_schemas_can_fill_one_made_for_it(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS keeper")
        db.execute("CREATE ROLE keeper LOGIN")
        db.execute("CREATE SCHEMA fencepost AUTHORIZATION keeper")
    try:
        with ledger(database.replace("postgres@", "keeper@")) as opened:
            assert opened.upgrade() is True
        assert differences(database) == []
    finally:
        with psycopg.connect(database, autocommit=True) as db:
            db.execute("DROP OWNED BY keeper CASCADE")
            db.execute("DROP ROLE keeper")


def test_a_role_without_the_right_is_told_which(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS stranger")
        db.execute("CREATE ROLE stranger LOGIN")
    try:
        refusal = pytest.raises(UnavailableError, match=r"cannot create or upgrade the ledger .*permission denied")
        with ledger(database.replace("postgres@", "stranger@")) as opened, refusal:
            opened.upgrade()
    finally:
        with psycopg.connect(database, autocommit=True) as db:
            db.execute("DROP ROLE stranger")


def test_the_runner_of_a_statement_gets_a_fencepost_error_without_the_password(database: str) -> None:
    with (
        ledger(database.replace("postgres@", "postgres:canary-7f3a@")) as opened,
        pytest.raises(UnavailableError) as caught,
        opened.begin("count nothing") as connection,
    ):
        connection.execute(sa.text("SELECT 1 / 0"))
    assert "cannot count nothing (postgres@" in str(caught.value)
    assert "division by zero" in str(caught.value)
    assert "canary-7f3a" not in str(caught.value)
