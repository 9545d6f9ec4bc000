"""What looks see and count, one after another, on real Kafka and PostgreSQL: every drop once, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from tests.audit.conftest import Watch


def later(seconds: float = 1) -> datetime:
    """Told of as if it came later than everything seen so far."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def speak(watch: Watch, key: int) -> None:
    """The log goes on: a row that is fine, told now."""
    watch.world.fine([key], at=later())


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


def test_a_backdated_row_and_one_with_a_key_long_passed_are_found(watch: Watch) -> None:
    watch.world.fine(range(1001, 1101), at=datetime.now(UTC))
    watch.look(2)
    watch.world.rows([1101], at=datetime.now(UTC) - timedelta(days=30))
    watch.world.rows([500], at=datetime.now(UTC))
    watch.look()
    speak(watch, 1102)
    watch.look(2)
    # Nobody can say whether the log announced a row that is dated before its coverage.
    assert watch.totals() == {"rows": 103, "dropped_create": 1, "unheard_create": 1}


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


def test_what_was_found_is_kept_as_a_run(watch: Watch) -> None:
    watch.world.rows([101, 102], at=datetime.now(UTC))
    watch.look()
    speak(watch, 103)
    watch.look(2)
    with psycopg.connect(watch.world.target) as db:
        runs = db.execute("SELECT kind, state, verdict, report::json->'findings'->0->>'class' FROM fencepost.run").fetchall()
    assert runs == [("audit", "finished", None, "dropped_create")]
