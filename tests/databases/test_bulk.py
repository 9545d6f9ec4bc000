"""Many rows copied at once come as they were given, in the settings' schema, and fail as every other statement does."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
import sqlalchemy as sa

from databases.bulk import copy_rows
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import LedgerError, UnavailableError
from schemas.settings import Dsn

q = tables.quarantine
NAMES = ("incarnation", "topic", "partition", "offset", "reason", "value", "size")
ROWS: list[tuple[object, ...]] = [
    ("t", 0, 0, "", None, 0),
    ('o"d\\d, {x}', 2**31 - 1, 2**62, "NULL", b"", 2**40),
    ("ü%s", 1, 1, "a\nb\t\\.", b"\x00\xff\\", 3),
]


def insert(ledger: Ledger) -> None:
    with ledger.begin("set records aside") as db:
        incarnation = db.execute(sa.insert(tables.incarnation).returning(tables.incarnation.c.id)).scalar_one()
        copy_rows(db, q, NAMES, ((incarnation, *row) for row in ROWS))


def test_rows_come_as_they_were_given(ledger_database: str) -> None:
    with contextlib.closing(Ledger(Dsn(ledger_database), "fencepost")) as ledger:
        insert(ledger)
        with ledger.begin() as db:
            rows = db.execute(sa.select(*(q.c[name] for name in NAMES[1:])).order_by(q.c.id)).all()
            assert [tuple(row) for row in rows] == ROWS
            assert set(db.execute(sa.select(q.c.state)).scalars()) == {"open"}


def test_a_schema_without_the_table_is_named(ledger_database: str) -> None:
    def set_aside() -> None:
        with ledger.begin("set records aside") as db:
            copy_rows(db, q, NAMES, ((1, *row) for row in ROWS))

    with contextlib.closing(Ledger(Dsn(ledger_database), "elsewhere")) as ledger, pytest.raises(LedgerError, match="elsewhere"):
        set_aside()


def test_a_connection_lost_meanwhile_is_an_unavailable_ledger_and_the_next_one_works(ledger_database: str) -> None:
    def lose() -> None:
        with ledger.begin("set records aside") as db:
            pid = db.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            with psycopg.connect(ledger_database, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            copy_rows(db, q, NAMES, ((1, *row) for row in ROWS))

    with contextlib.closing(Ledger(Dsn(ledger_database), "fencepost")) as ledger:
        with pytest.raises(UnavailableError, match="cannot set records aside"):
            lose()
        insert(ledger)
