"""`gaps` names every lost creation with its class and cause, and nothing else."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from consumer import quarantine
from databases.ledger import Ledger
from schemas.errors import CatalogError, SettingsError
from schemas.verdict import Verdict, utc
from tests.recipes.world import World, found

HOUR = timedelta(hours=1)


def test_a_world_without_losses_is_clear(items: World) -> None:
    report = items.gaps().report
    assert report.verdict is Verdict.CLEAR
    assert report.claims.drop_rate == "complete"
    (told,) = report.data_types
    assert (told.rows, told.announced, told.registered) == (100, 100, 100)
    assert told.drop_rate.of == 100


def test_each_loss_falls_into_its_class(items: World) -> None:
    items.rows([201, 202])
    items.rows([301])
    items.announce([301])
    items.rows([401])
    items.registered([401])
    items.rows([501], items.now - 10 * HOUR)
    outcome = items.gaps()
    assert found(outcome) == {
        "201": ("dropped_create", "never_announced"),
        "202": ("dropped_create", "never_announced"),
        "301": ("unapplied_create", "unapplied"),
        "501": ("unheard_create", "outside_coverage"),
    }
    (told,) = outcome.report.data_types
    assert told.healed_drops == 1
    assert (told.drop_rate.dropped, told.drop_rate.of) == (3, 104)


def test_an_unapplied_gap_tells_where_its_event_stands(items: World) -> None:
    items.rows([301])
    items.announce([301], partition=1)
    (line,) = [line for lines in items.gaps().lines.values() for line in lines()]
    assert line["evidence"]["topic"] == items.topic
    assert (line["evidence"]["partition"], line["evidence"]["offset"]) == (1, 0)
    assert line["created_at"] is not None


def test_a_deleted_and_reused_id_is_not_credited_by_its_predecessor(items: World) -> None:
    items.announce([700], at=items.now - 0.9 * HOUR)
    items.announce([700], "deleted", at=items.now - 0.8 * HOUR)
    items.rows([700], items.now - 0.5 * HOUR)
    assert found(items.gaps()) == {"700": ("dropped_create", "never_announced")}


def test_an_event_clearly_older_than_its_row_does_not_credit_it(items: World) -> None:
    """The id was used before, and neither its deletion nor its second creation was announced."""
    items.announce([700], at=items.now - 0.9 * HOUR)
    items.rows([700], items.now - 0.1 * HOUR)
    assert found(items.gaps()) == {"700": ("dropped_create", "never_announced")}


def test_a_creation_after_the_deletion_in_another_partition_is_credited_by_time(items: World) -> None:
    items.announce([700], at=items.now - 0.3 * HOUR, partition=1)
    items.announce([700], "deleted", at=items.now - 0.8 * HOUR, partition=0)
    items.rows([700], items.now - 0.3 * HOUR)
    assert found(items.gaps()) == {"700": ("unapplied_create", "unapplied")}


def test_only_the_window_is_reported_and_its_start_is_inside(items: World) -> None:
    since = items.now - 2 * HOUR
    items.rows([801], since - timedelta(microseconds=1))
    items.rows([802], since)
    assert set(found(items.gaps(since=since.isoformat()))) == {"802"}


@pytest.mark.parametrize("at", [None, "infinity", "-infinity", "2199-01-01T00:00:00Z"])
def test_a_row_that_no_clock_can_place_is_in_every_window(items: World, at: str | None) -> None:
    items.rows([900], at)
    assert set(found(items.gaps(since="1h"))) == {"900"}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_time_without_zone_is_read_in_the_declared_one(world: World, zone: str) -> None:
    world.tables()
    world.source_extra = {"zone": zone}
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE timestamp")
        db.execute(f"INSERT INTO items SELECT 1, 1, (now() - interval '59 minutes') AT TIME ZONE '{zone}'")
        db.execute(f"INSERT INTO items SELECT 2, 1, (now() - interval '61 minutes') AT TIME ZONE '{zone}'")
    assert set(found(world.gaps(since="1h"))) == {"1"}


def test_a_time_without_zone_and_no_declared_zone_is_refused(world: World) -> None:
    world.tables()
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE timestamp")
    with pytest.raises(CatalogError, match="zone"):
        world.gaps()


def test_an_index_on_time_serves_a_small_window_exactly(items: World) -> None:
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items SELECT g, 1, now() - interval '30 days' FROM generate_series(10000, 30000) g")
        db.execute("CREATE INDEX ON items (created_at)")
        db.execute("ANALYZE items")
    with psycopg.connect(items.target) as db:
        db.execute("INSERT INTO item_registry (item_id) SELECT g FROM generate_series(10000, 30000) g")
    items.rows([201], items.now - timedelta(minutes=5))
    items.rows([202], None)
    items.rows([203], items.now - timedelta(days=20))
    outcome = items.gaps(since="10m")
    (told,) = outcome.report.data_types
    assert told.window.strategy == "created_at_index"
    assert set(found(outcome)) == {"201", "202"}


def test_a_monotonic_table_is_cut_by_key(items: World) -> None:
    items.source_extra = {"monotonic": True}
    items.always_dated()
    items.rows([150], items.now - timedelta(minutes=50))
    items.rows([300, 301], items.now - timedelta(minutes=5))
    outcome = items.gaps(since="30m")
    (told,) = outcome.report.data_types
    assert told.window.strategy == "key_bisect"
    assert set(found(outcome)) == {"300", "301"}
    assert told.window.cannot_see


def test_a_partitioned_source_and_quoted_names_are_compared_whole(world: World) -> None:
    world.tables()
    world.source_extra = {"table": '"My Schema"."Jobs ""x"""', "key": 'The "Id"', "created_at": "created at"}
    with psycopg.connect(world.source) as db:
        db.execute('CREATE SCHEMA "My Schema"')
        db.execute(
            'CREATE TABLE "My Schema"."Jobs ""x""" ("The ""Id""" bigint PRIMARY KEY, "created at" timestamptz)'
            ' PARTITION BY RANGE ("The ""Id""")'
        )
        for low in (0, 1000, 2000):
            db.execute(
                f'CREATE TABLE "My Schema"."p{low}" PARTITION OF "My Schema"."Jobs ""x"""'
                f" FOR VALUES FROM ({low}) TO ({low + 1000})"
            )
        db.execute('INSERT INTO "My Schema"."Jobs ""x""" SELECT g * 10, now() FROM generate_series(1, 250) g')
    world.registered(g * 10 for g in range(1, 251) if g not in (7, 120, 240))
    assert set(found(world.gaps())) == {"70", "1200", "2400"}


def test_the_scope_decides_which_rows_belong(items: World) -> None:
    items.source_extra = {"scope": [{"column": "project_id", "in": [1, 2]}]}
    items.rows([201])
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items VALUES (202, 3, now()), (203, NULL, now())")
    assert set(found(items.gaps())) == {"201"}


def test_a_stale_registration_is_told(items: World) -> None:
    items.registry_extra = {"created_at": "created_at"}
    items.rows([700], items.now - timedelta(minutes=5))
    items.registered([700], at=items.now - timedelta(days=3))
    outcome = items.gaps()
    assert found(outcome) == {"700": ("stale_registration", "stale")}
    (line,) = outcome.lines["item"]()
    assert line["created_at"] == utc(items.now - timedelta(minutes=5))


def test_orphans_are_judged_only_under_the_claim_deletes(items: World) -> None:
    items.registered([901, 902])
    items.announce([901])
    items.announce([902])
    items.announce([902], "deleted", at=items.now - 0.5 * HOUR)
    assert items.gaps().report.verdict is Verdict.CLEAR
    report = items.gaps(deletes=True).report
    assert report.claims.deletes == "GAPS"
    (told,) = report.data_types
    assert told.orphans.by_class == {"dropped_delete": 1, "unapplied_delete": 1}
    assert set(told.orphans.keys) == {"901", "902"}


def test_an_empty_source_proves_nothing_unless_it_may_be_empty(world: World) -> None:
    world.tables()
    assert world.gaps().report.verdict is Verdict.CANNOT_TELL
    world.type_extra = {"empty": "allowed"}
    assert world.gaps().report.verdict is Verdict.CLEAR


def test_a_log_of_another_world_is_noticed(world: World) -> None:
    """None of the newest announced creations is a row here: the topic and the table do not belong together."""
    world.tables()
    world.rows(range(1, 50))
    world.registered(range(1, 50))
    world.announce(range(5000, 5100))
    report = world.gaps().report
    assert report.verdict is Verdict.CANNOT_TELL
    assert [p.name for p in report.proofs if p.held is False] == ["control"]


def test_without_the_log_the_rows_decide_alone(items: World) -> None:
    items.rows([201])
    outcome = items.gaps(without_log=True)
    assert outcome.report.verdict is Verdict.GAPS
    assert set(found(outcome)) == {"201"}
    assert outcome.report.claims.drop_rate == "incomplete"


def test_since_auto_without_a_sweep_cannot_tell(items: World) -> None:
    report = items.gaps(since="auto").report
    assert report.verdict is Verdict.CANNOT_TELL
    assert [p.name for p in report.proofs if p.held is False] == ["window"]


def test_a_window_that_lies_ahead_is_refused_and_leaves_no_ledger(items: World) -> None:
    with psycopg.connect(items.target) as db:
        db.execute("DROP SCHEMA fencepost CASCADE")
    with pytest.raises(SettingsError, match="ahead"):
        items.gaps(since="2199-01-01T00:00:00Z")
    with psycopg.connect(items.target) as db:
        assert db.execute("SELECT to_regnamespace('fencepost')").fetchone() == (None,)


def test_rows_below_retention_are_unheard_and_in_no_rate(items: World) -> None:
    items.announce(range(1000, 1010), at=items.now - timedelta(minutes=30))
    items.rows(range(1000, 1010), items.now - timedelta(minutes=30))
    items.registered(range(1000, 1010))
    items.kafka.delete_records(items.topic, {0: 105})
    items.rows([201], items.now - timedelta(minutes=50))
    items.rows([202], items.now - timedelta(minutes=20))
    outcome = items.gaps()
    assert found(outcome) == {
        "201": ("unheard_create", "below_retention"),
        "202": ("dropped_create", "never_announced"),
    }


def test_a_row_whose_event_is_on_its_way_is_in_flight_until_the_log_is_read(items: World) -> None:
    """The registry row comes between the two looks: no gap."""
    items.extra = {"fence": {"settle": "1h"}}
    items.rows([201])
    assert items.gaps(wait=timedelta(seconds=0)).report.verdict is Verdict.CANNOT_TELL
    (told,) = items.gaps(wait=timedelta(seconds=0)).report.data_types
    assert (told.in_flight, told.gaps.count) == (1, 0)
    items.extra = {"fence": {"settle": "1s"}}
    assert items.gaps().report.verdict is Verdict.GAPS


def test_rows_older_than_the_log_are_no_healed_drops_however_many(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that covers the last hour of a table of years: the older rows were never announced to us, and count nowhere."""
    monkeypatch.setattr("reconciler.look.LOOKED_UP_MOST", 50)
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items SELECT g, 1, now() - interval '3 years' FROM generate_series(10000, 14000) g")
    with psycopg.connect(items.target) as db:
        db.execute("INSERT INTO item_registry (item_id) SELECT g FROM generate_series(10000, 14000) g")
    items.rows([201], items.now - timedelta(minutes=5))
    items.registered([201])
    items.rows([202], None)
    items.registered([202])
    (told,) = items.gaps().report.data_types
    # 202 has no date, but lies above the lowest announced key of a log that was read from its beginning.
    assert told.healed_drops == 2
    assert (told.drop_rate.dropped, told.drop_rate.of) == (2, 102)


def test_a_gap_whose_event_lies_in_quarantine_is_told_with_that_record_and_is_in_no_rate(items: World) -> None:
    items.rows([201, 202])
    items.publish([b'{"id": 201, "op": "created", "at": "the day before yesterday"}'])
    outcome = items.gaps()
    assert found(outcome) == {
        "201": ("unheard_create", "quarantined"),
        "202": ("dropped_create", "never_announced"),
    }
    line = next(line for lines in outcome.lines.values() for line in lines() if line["key"] == "201")
    assert line["evidence"]["offset"] == 100
    (told,) = outcome.report.data_types
    assert told.drop_rate.dropped == 1
    # Its loss accepted, the record still names the key: nobody can say now either whether the creation was announced.
    with closing(Ledger.of(items.settings())) as ledger:
        quarantine.accept(ledger, [r.id for r in quarantine.list_(ledger)], reason="a bad client", by="ana@here")
    outcome = items.gaps()
    assert found(outcome)["201"] == ("unheard_create", "quarantined")
    (told,) = outcome.report.data_types
    assert (told.drop_rate.dropped, told.drop_rate.incomplete) == (1, [])
    assert "1 accepted record" in told.drop_rate.left_out[0]


def test_source_rows_without_a_key_are_never_passed_over(world: World) -> None:
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items (id bigint UNIQUE, project_id int, created_at timestamptz)")
    with psycopg.connect(world.target) as db:
        db.execute("CREATE TABLE item_registry (item_id bigint UNIQUE, state int, created_at timestamptz)")
    world.fine(range(1, 50))
    assert world.gaps().report.verdict is Verdict.CLEAR
    world.rows([None])
    report = world.gaps().report
    assert report.verdict is Verdict.CANNOT_TELL
    visible = next(p for p in report.proofs if p.name == "visible")
    assert "1 rows of public.items have no key" in visible.seen
    assert visible.try_ == "give those rows a key, or delete them, and make the key NOT NULL"


def test_the_first_row_may_be_out_of_scope_and_the_first_registration_in_a_state_that_does_not_count(items: World) -> None:
    """Both were announced, so that the guess holds them: that is no sign of a database that cannot be trusted."""
    with psycopg.connect(items.source) as db:
        db.execute("UPDATE items SET project_id = 2 WHERE id = 1")
    items.source_extra = {"scope": [{"column": "project_id", "eq": 1}]}
    outcome = items.gaps()
    assert (outcome.report.verdict, outcome.report.data_types[0].rows) == (Verdict.CLEAR, 99)
    with psycopg.connect(items.target) as db:
        db.execute("UPDATE item_registry SET state = 7 WHERE item_id = 2")
    items.registry_extra = {"accepted": {"state": [2]}}
    outcome = items.gaps()
    assert found(outcome) == {"2": ("unaccepted", "unaccepted_state")}
