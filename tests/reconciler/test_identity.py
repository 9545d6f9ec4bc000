"""A server is recognised by what it says of itself, and a history that went back is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import identity, proofs
from reconciler.identity import Identity
from reconciler.proofs import Shown
from reconciler.proofs.shown import Met
from schemas.settings import Dsn
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until

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


def proved(before: Identity, now: Identity) -> tuple[bool | None, str]:
    """The proof `identity` of a run that met the server as it is now."""
    registry = replace(MET, side="registry")
    met = [
        Met(now=now, before=before, contradiction=identity.contradiction(before, now)),
        Met(now=registry, before=registry, contradiction=None),
    ]
    (proof,) = proofs.module("identity").look(Shown(kind="gaps", types={}, met=met))
    return proof.held, proof.seen


def test_a_restored_backup_a_promoted_standby_and_another_database_are_not_the_server_that_was_recorded(
    own_postgres: object,
) -> None:
    server: Postgres = own_postgres()  # type: ignore[operator]
    dsn = server.create_database("app")
    other = server.create_database("app2", template="app")
    backup, standby = server.standby(), server.standby()
    (backup.data / "standby.signal").unlink()  # it starts as a server of its own, as a backup that was put back
    with connect(Dsn(dsn), "the source") as db:
        for _ in range(20):
            db.execute("SELECT pg_current_xact_id()")
        db.execute("SELECT pg_switch_wal()")
        before = identity.identify(db, "source")
        assert proved(before, identity.identify(db, "source"))[0] is True
    with connect(Dsn(other), "the source") as db:
        held, seen = proved(before, identity.identify(db, "source"))
        assert (held, f"was app (oid {before.database_oid})" in seen) == (False, True), seen
    with backup, connect(Dsn(backup.dsn("app")), "the source") as db:
        restored = identity.identify(db, "source")
        assert (restored.system, restored.timeline) == (before.system, before.timeline)
        held, seen = proved(before, restored)
        assert (held, "its history went back" in seen) == (False, True), seen
        # With its WAL written further it is told by the ids of its transactions alone.
        assert "transaction id" in (identity.contradiction(before, replace(restored, lsn=before.lsn)) or "")
    with standby:
        standby.promote()
        with connect(Dsn(standby.dsn("app")), "the source") as db:
            held, seen = proved(before, identity.identify(db, "source"))
        assert (held, "promoted or restored" in seen) == (False, True), seen


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("0/4000028", "0/4000000"),  # as PostgreSQL tells it after pg_switch_wal(): behind a segment's header
        ("1/12018", "1/12000"),  # behind a page's
        ("0/12000", "0/12000"),
        ("0/12030", "0/12030"),
        ("A/FFFFFFF8", "A/FFFFFFF8"),
    ],
)
def test_a_place_behind_a_header_that_nobody_wrote_is_where_the_last_record_ended(told: str, meant: str) -> None:
    """A standby of a quiet primary never replays further than that."""
    assert identity.without_header(told) == meant


def test_a_standby_of_a_quiet_primary_reaches_its_position(own_postgres: object) -> None:
    server: Postgres = own_postgres(settings={"autovacuum": "off", "checkpoint_timeout": "1h"})  # type: ignore[operator]
    with server.standby() as standby, server.connect() as db, standby.connect() as behind:
        db.execute("CREATE TABLE t (id int)")
        db.execute("SELECT pg_switch_wal()")
        passed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_until(lambda: behind.execute(passed, [identity.position(db)]).fetchone() == (True,), "the standby is there")
