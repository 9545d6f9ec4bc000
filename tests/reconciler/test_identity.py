"""A server is recognised by what it says of itself, and a history that went back is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import identity
from reconciler.identity import Identity
from schemas.settings import Dsn
from tests.stack.postgres import Postgres

MET = Identity(side="source", system="7", timeline=1, database_oid=5, database="app", lsn=1000, xid=50)


def test_every_version_tells_who_it_is_and_moves_forward(database_any: str) -> None:
    with connect(Dsn(database_any), "the source") as db:
        first = identity.identify(db, "source")
        db.execute("SELECT pg_current_xact_id()")
        second = identity.identify(db, "source")
    assert first.system.isdigit()
    assert first.timeline >= 1
    assert second.xid > first.xid
    assert identity.contradiction(first, second) is None


def test_an_lsn_reads_back_as_it_was_written() -> None:
    assert replace(MET, lsn=identity.lsn_number("16/B374D848")).lsn_text == "16/B374D848"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"system": "8"}, "another server"),
        ({"database_oid": 6}, "oid"),
        ({"timeline": 2}, "promoted"),
        ({"lsn": 999}, "history went back"),
        ({"xid": 49}, "history went back"),
    ],
)
def test_a_server_that_cannot_be_the_recorded_one_is_named(change: dict[str, object], words: str) -> None:
    found = identity.contradiction(MET, replace(MET, **change))  # type: ignore[arg-type]
    assert found is not None
    assert words in found


def test_the_newest_record_of_a_side_counts(database: str) -> None:
    ledger = Ledger(Dsn(database), "fencepost")
    ledger.upgrade()
    assert identity.recorded(ledger, "source") is None
    identity.record(ledger, MET)
    identity.record(ledger, replace(MET, lsn=2000, xid=60))
    assert identity.recorded(ledger, "source") == replace(MET, lsn=2000, xid=60)
    assert identity.recorded(ledger, "registry") is None
    ledger.close()


def test_a_promoted_standby_is_on_another_timeline(own_postgres: object) -> None:
    server: Postgres = own_postgres()  # type: ignore[operator]
    dsn = server.create_database("app")
    with connect(Dsn(dsn), "the source") as db:
        before = identity.identify(db, "source")
    with server.standby() as standby:
        standby.promote()
        with connect(Dsn(standby.dsn("app")), "the source") as db:
            after = identity.identify(db, "source")
    assert after.system == before.system
    assert "promoted" in (identity.contradiction(before, after) or "")
