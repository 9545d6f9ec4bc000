"""What looks see and count, one after another, on real Kafka and PostgreSQL: every drop once, nothing else."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import databases.ledger
from reconciler.auditing import reach
from schemas.errors import UnavailableError
from tests.audit.conftest import Watch, later, speak
from tests.stack.processes import wait_until


def test_what_was_there_before_the_first_look_is_in_no_count(watch: Watch) -> None:
    watch.look(2)
    assert watch.totals() == {}


def test_fine_rows_are_counted_once_whatever_often_it_looks(watch: Watch) -> None:
    watch.world.fine(range(101, 151))
    watch.look(4)
    assert watch.totals() == {"rows": 50}


def test_every_kind_of_loss_is_counted_once(watch: Watch) -> None:
    now = datetime.now(UTC)
    watch.world.rows(range(101, 111), at=now)
    watch.world.announce([104, 105, 106, 107, 108, 109, 110], at=now)
    watch.world.registered([103, 106, 107, 108, 109, 110])
    watch.look()
    assert watch.exposed()["fencepost_in_flight", ("item",)] == 5
    speak(watch, 200)
    watch.look(3)
    assert watch.totals() == {"rows": 11, "dropped_create": 2, "healed_drop": 1, "unapplied_create": 2}
    told = watch.exposed()
    assert told["fencepost_gaps_open", ("item",)] == 4
    assert told["fencepost_in_flight", ("item",)] == 0
    assert told["fencepost_drops_total", ("item", "dropped_create")] == 2
    assert told["fencepost_drops_total", ("item", "dropped_delete")] == 0
    watch.world.registered([101, 102, 104, 105])
    watch.look()
    assert watch.exposed()["fencepost_gaps_open", ("item",)] == 0
    assert watch.totals()["dropped_create"] == 2


def test_a_row_on_its_way_is_no_drop(watch: Watch) -> None:
    watch.world.rows([101], at=datetime.now(UTC))
    watch.look()
    watch.world.announce([101], at=datetime.now(UTC))
    watch.world.registered([101])
    watch.look(3)
    assert watch.totals() == {"rows": 1}


def test_a_silent_log_is_blindness_and_no_drop(watch: Watch) -> None:
    watch.world.rows(range(101, 106), at=datetime.now(UTC))
    watch.world.registered(range(101, 106))
    watch.look(4)
    assert watch.totals() == {}
    told = watch.exposed()
    assert told["fencepost_audit_blind", ("item", "log")] == 1
    stood = told["fencepost_last_audit_timestamp_seconds", ("item",)]
    watch.look(2)
    assert watch.exposed()["fencepost_last_audit_timestamp_seconds", ("item",)] == stood
    # It comes back, and first tells what it had not told: that it speaks is no proof that it has told all.
    watch.world.announce([101, 102], at=datetime.now(UTC) - timedelta(minutes=5))
    watch.look(2)
    assert watch.totals() == {"rows": 2}
    watch.world.announce([103, 104], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 5, "healed_drop": 1}
    assert watch.exposed()["fencepost_audit_blind", ("item", "log")] == 0
    assert watch.exposed()["fencepost_last_audit_timestamp_seconds", ("item",)] > stood


def test_a_broker_that_is_away_is_blindness_and_no_drop(watch: Watch) -> None:
    watch.world.rows(range(101, 106), at=datetime.now(UTC))
    watch.world.registered(range(101, 106))
    watch.log["away"] = True
    watch.look(3)
    assert watch.totals() == {}
    assert watch.exposed()["fencepost_audit_blind", ("item", "log")] == 1
    watch.log["away"] = False
    watch.world.announce(range(101, 106), at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 5}


def test_a_ledger_that_is_away_is_told_as_such_and_not_as_the_source(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setattr(databases.ledger, "connect", _refused)
        watch.ledger.engine.dispose()
        watch.look()
        assert watch.audit.local.blind["item"] == {"ledger"}
        # Nothing was read yet: zeros would be counters that go back.
        told = watch.exposed()
        assert {name for name, _ in told} == {"fencepost_audit_lease_held", "fencepost_build_info"}
    watch.look()
    assert watch.audit.local.blind["item"] == set()
    assert ("fencepost_rows_audited_total", ("item",)) in watch.exposed()


def _refused(*_: object, **__: object) -> None:
    raise UnavailableError("cannot connect to the ledger: connection refused")


def test_a_late_committer_and_a_prepared_transaction_fall_between_no_two_looks(watch: Watch) -> None:
    now = datetime.now(UTC)
    insert = "INSERT INTO items (id, project_id, created_at) VALUES (%s, 1, now())"
    with psycopg.connect(watch.world.source) as slow, psycopg.connect(watch.world.source) as prepares:
        slow.execute(insert, [101])
        prepares.execute(insert, [102])
        prepares.execute("PREPARE TRANSACTION 'later'")
        watch.world.fine(range(103, 203), at=now)
        watch.look(3)
        assert watch.totals() == {"rows": 100}
        slow.commit()
        watch.look()
    with psycopg.connect(watch.world.source, autocommit=True) as db:
        db.execute("COMMIT PREPARED 'later'")
    watch.look()
    speak(watch, 203)
    watch.look(2)
    assert watch.totals() == {"rows": 103, "dropped_create": 2}


def test_a_backdated_row_is_found_by_the_next_look(watch: Watch) -> None:
    watch.world.fine(range(1001, 1101), at=datetime.now(UTC))
    watch.look(3)
    assert watch.low_mark() is not None
    watch.world.rows([1101], at=datetime.now(UTC) - timedelta(days=30))
    watch.look()
    speak(watch, 1102)
    watch.look(2)
    # Nobody can say whether the log announced a row that is dated before its coverage.
    assert watch.totals() == {"rows": 102, "unheard_create": 1}


def test_a_key_that_comes_in_below_the_mark_is_counted_once_by_the_next_whole_look(watch: Watch) -> None:
    watch.world.fine(range(1001, 1101), at=datetime.now(UTC))
    watch.look(3)
    watch.world.rows([500], at=datetime.now(UTC))
    watch.look(2)
    speak(watch, 1101)
    watch.look(2)
    assert watch.totals() == {"rows": 101}
    watch.whole_is_due()
    watch.look()
    speak(watch, 1102)
    watch.look(2)
    assert watch.totals() == {"rows": 103, "dropped_create": 1}


def test_a_look_asks_the_source_for_what_is_new_and_not_for_the_table(watch: Watch) -> None:
    watch.world.fine(range(1001, 3001), at=datetime.now(UTC))
    watch.look(3)
    before = entries_read(watch)
    watch.world.fine(range(3001, 3011), at=datetime.now(UTC))
    watch.look(2)
    assert entries_read(watch) - before < 500
    before = entries_read(watch)
    watch.whole_is_due()
    watch.look()
    assert entries_read(watch) - before > 2000
    assert watch.totals() == {"rows": 2010}


def entries_read(watch: Watch) -> int:
    """Index entries and rows of the source's table that were ever read. A session tells them at the latest when it ends."""
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'fencepost' AND datname = current_database()"
    read = (
        "SELECT coalesce(sum(i.idx_tup_read), 0) + max(t.seq_tup_read) FROM pg_stat_user_tables t"
        " JOIN pg_stat_user_indexes i USING (relid) WHERE t.relname = 'items'"
    )
    with psycopg.connect(watch.world.source, autocommit=True) as db:
        wait_until(lambda: db.execute(gone).fetchone() == (True,), "the sessions of the look have ended", within_s=60)
        row = db.execute(read).fetchone()
    assert row
    return int(row[0])


def test_keys_in_no_order_are_looked_at_whole_once_that_shows(watch: Watch) -> None:
    watch.world.fine(range(10_001, 10_101), at=datetime.now(UTC))
    watch.look(3)
    assert watch.low_mark() is not None
    watch.world.fine(range(2001, 2101), at=datetime.now(UTC))
    watch.whole_is_due()
    watch.look()
    assert watch.low_mark() is None
    watch.world.rows([2200], at=datetime.now(UTC))
    watch.look()
    speak(watch, 2300)
    watch.look(2)
    assert watch.totals() == {"rows": 202, "dropped_create": 1}


def test_the_mark_waits_for_an_open_writer_and_for_one_that_was_prepared_meanwhile(watch: Watch) -> None:
    with psycopg.connect(watch.world.source) as slow:
        slow.execute("INSERT INTO items (id, project_id, created_at) VALUES (101, 1, now())")
        watch.world.fine(range(102, 112), at=datetime.now(UTC))
        watch.look(3)
        stood = watch.low_mark()
        slow.execute("PREPARE TRANSACTION 'meanwhile'")
    watch.world.fine(range(112, 122), at=datetime.now(UTC))
    watch.look(3)
    assert watch.low_mark() == stood
    with psycopg.connect(watch.world.source, autocommit=True) as db:
        db.execute("COMMIT PREPARED 'meanwhile'")
    watch.look()
    speak(watch, 122)
    watch.look(2)
    assert watch.totals() == {"rows": 22, "dropped_create": 1}
    assert watch.low_mark() != stood


def test_a_look_waits_for_a_short_writer_so_that_the_mark_comes_no_look_later(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.world.fine(range(101, 111), at=datetime.now(UTC))
    watch.look()
    before = watch.low_mark()
    with psycopg.connect(watch.world.source) as short:
        short.execute("INSERT INTO items (id, project_id, created_at) VALUES (111, 1, now())")
        watch.world.fine(range(112, 122), at=datetime.now(UTC))
        monkeypatch.setattr(reach, "_pause", lambda _: short.commit())
        watch.look()
    assert watch.low_mark() not in (None, before)
    speak(watch, 122)
    watch.look(2)
    assert watch.totals() == {"rows": 22, "dropped_create": 1}


def test_random_keys_are_read_by_date_and_a_late_committer_is_among_them(scattered: Watch) -> None:
    watch, names = scattered, [str(uuid.uuid4()) for _ in range(40)]
    watch.world.fine(names[:20], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 20}
    with psycopg.connect(watch.world.source) as slow:
        slow.execute("INSERT INTO items (id, project_id, created_at) VALUES (%s, 1, now())", [names[20]])
        watch.world.fine(names[21:30], at=later())
        watch.look(3)
        assert watch.totals() == {"rows": 29}
        slow.commit()
    watch.look()
    watch.world.fine(names[30:31], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 31, "dropped_create": 1}


def test_a_backdated_row_with_a_random_key_is_counted_once_by_the_next_whole_look(scattered: Watch) -> None:
    watch, names = scattered, [str(uuid.uuid4()) for _ in range(4)]
    watch.look()
    watch.world.rows(names[:1], at=datetime.now(UTC) - timedelta(days=30))
    watch.world.fine(names[1:2], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 1}
    watch.whole_is_due()
    watch.look()
    watch.world.fine(names[2:3], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 3, "unheard_create": 1}


def test_an_announcement_that_comes_after_all_is_told_as_late(watch: Watch) -> None:
    watch.world.rows([101], at=datetime.now(UTC))
    watch.look()
    speak(watch, 102)
    watch.look(2)
    assert watch.totals() == {"rows": 2, "dropped_create": 1}
    watch.world.announce([101], at=later())
    watch.look(2)
    assert watch.totals() == {"rows": 2, "dropped_create": 1, "late": 1}


def test_a_restarted_audit_goes_on_where_the_last_one_was(watch: Watch) -> None:
    watch.world.rows([101, 102], at=datetime.now(UTC))
    watch.look()
    watch.lost()
    speak(watch, 103)
    watch.look()
    watch.lost()
    watch.look(2)
    assert watch.totals() == {"rows": 3, "dropped_create": 2}


def test_a_row_that_is_gone_before_it_could_be_judged_is_in_no_count(watch: Watch) -> None:
    watch.world.rows([101], at=datetime.now(UTC))
    watch.look()
    with psycopg.connect(watch.world.source) as db:
        db.execute("DELETE FROM items WHERE id = 101")
    speak(watch, 102)
    watch.look(3)
    assert watch.totals() == {"rows": 1}


def test_another_table_is_blindness_and_the_audit_begins_anew_where_it_is_told_to(watch: Watch) -> None:
    watch.world.rows([101], at=datetime.now(UTC))
    watch.look()
    speak(watch, 102)
    watch.look(2)
    counted = watch.totals()
    assert counted == {"rows": 2, "dropped_create": 1}
    with psycopg.connect(watch.world.source) as db:
        db.execute("CREATE TABLE other (LIKE items INCLUDING ALL)")
        db.execute("INSERT INTO other SELECT * FROM items")
        db.execute("DROP TABLE items")
        db.execute("ALTER TABLE other RENAME TO items")
    watch.look()
    assert watch.exposed()["fencepost_audit_blind", ("item", "source")] == 1
    with psycopg.connect(watch.world.target) as db:
        db.execute("DELETE FROM fencepost.audit WHERE data_type = 'item'")  # as the error's hint says
    watch.look()
    assert watch.exposed()["fencepost_audit_blind", ("item", "source")] == 0
    assert watch.totals() == counted
    assert watch.exposed()["fencepost_gaps_open", ("item",)] == 0, "what is there now was there before this audit"
    watch.world.rows([50_000], at=datetime.now(UTC))
    watch.look()
    speak(watch, 50_001)
    watch.look(2)
    assert watch.totals() == {"rows": 4, "dropped_create": 2}


def test_what_was_found_is_kept_as_a_run(watch: Watch) -> None:
    watch.world.rows([101, 102], at=datetime.now(UTC))
    watch.look()
    speak(watch, 103)
    watch.look(2)
    with psycopg.connect(watch.world.target) as db:
        runs = db.execute("SELECT kind, state, verdict, report::json->'findings'->0->>'class' FROM fencepost.run").fetchall()
    assert runs == [("audit", "finished", None, "dropped_create")]
