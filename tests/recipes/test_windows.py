"""A window decides which rows are told, never which are lost from sight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from schemas.errors import SettingsError
from schemas.verdict import Verdict
from tests.recipes.world import World, found


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("indexed", [False, True])
def test_a_day_that_ends_inside_the_window_is_in_it(world: World, zone: str, indexed: bool) -> None:
    """A date says no time: a row of the window's first day may have been created after its start."""
    world.tables()
    world.source_extra = {"zone": zone}
    midday = (datetime.now(UTC) - timedelta(days=3)).astimezone(ZoneInfo(zone)).replace(hour=12)
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE date")
        db.execute("INSERT INTO items SELECT g, 1, %s::date - 1000 FROM generate_series(1000, 9000) g", [midday.date()])
        for key, days in ((1, 0), (2, -1), (3, 1)):
            db.execute("INSERT INTO items VALUES (%s, 1, %s)", [key, midday.date() + timedelta(days=days)])
        if indexed:
            db.execute("CREATE INDEX ON items (created_at)")
            db.execute("ANALYZE items")
    outcome = world.gaps(since=midday.isoformat())
    assert outcome.report.data_types[0].window.strategy == ("created_at_index" if indexed else "full")
    assert set(found(outcome)) == {"1", "3"}


@pytest.mark.parametrize("scope", [[], [{"column": "part", "ge": 2}]])
@pytest.mark.parametrize("parts", [(1, 2), (2, 1)])
@pytest.mark.parametrize("newer", ["now() - interval '1 hour'", "NULL"])
def test_of_several_rows_of_one_key_any_that_is_in_the_window_counts(
    world: World, scope: list[dict[str, int]], parts: tuple[int, int], newer: str
) -> None:
    """A partitioned table is unique on its key and its partition's together: rows of a key may lie years apart."""
    world.tables()
    world.source_extra = {"scope": scope}
    old, new = (1, 2) if scope else parts
    with psycopg.connect(world.source) as db:
        db.execute("DROP TABLE items")
        db.execute(
            "CREATE TABLE items (id bigint, part int, created_at timestamptz, PRIMARY KEY (id, part)) PARTITION BY LIST (part)"
        )
        for part in (1, 2):
            db.execute(f"CREATE TABLE items_{part} PARTITION OF items FOR VALUES IN ({part})")
        db.execute("INSERT INTO items SELECT g, %s, now() - interval '2 years' FROM generate_series(1, 9) g", [old])
        db.execute(f"INSERT INTO items VALUES (5, %s, {newer})", [new])
    outcome = world.gaps(since="72h")
    assert set(found(outcome)) == {"5"}
    assert world.cutover(since="72h").report.verdict is Verdict.CLEAR
    assert world.in_registry() == {"5"}


@pytest.mark.parametrize("deletes", [False, True])
def test_a_quiet_window_of_a_table_with_rows_is_clear_by_every_strategy(items: World, deletes: bool) -> None:
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items SELECT g, 1, now() - interval '30 days' FROM generate_series(10000, 30000) g")
        db.execute("CREATE INDEX ON items (created_at)")
        db.execute("ANALYZE items")
    with psycopg.connect(items.target) as db:
        db.execute("INSERT INTO item_registry (item_id) SELECT g FROM generate_series(10000, 30000) g")
    report = items.gaps(since="10m", deletes=deletes).report
    assert report.data_types[0].window.strategy == ("full" if deletes else "created_at_index")
    assert report.verdict is Verdict.CLEAR
    items.source_extra = {"scope": [{"column": "project_id", "in": [99]}]}
    assert items.gaps(since="10m").report.verdict is Verdict.CANNOT_TELL


def test_a_quiet_window_of_a_monotonic_table_is_clear(items: World) -> None:
    items.source_extra = {"monotonic": True}
    items.always_dated()
    report = items.gaps(since="10m").report
    assert report.data_types[0].window.strategy == "key_bisect"
    assert report.verdict is Verdict.CLEAR


def test_a_row_without_a_date_is_found_below_the_window_of_a_monotonic_table(items: World) -> None:
    items.source_extra = {"monotonic": True}
    items.rows([0], None)
    outcome = items.gaps(since="10m")
    assert outcome.report.data_types[0].window.strategy == "full"
    assert set(found(outcome)) == {"0"}


def test_a_monotonic_table_with_text_keys_is_compared_whole(world: World) -> None:
    world.key = 'text COLLATE "C"'
    world.source_extra = {"monotonic": True}
    world.tables()
    world.fine(["a", "b"], world.now - timedelta(hours=3))
    world.rows(["c"])
    outcome = world.gaps(since="2h")
    assert outcome.report.data_types[0].window.strategy == "full"
    assert set(found(outcome)) == {"c"}


def test_a_row_of_the_future_is_no_stale_registration(items: World) -> None:
    items.registry_extra = {"created_at": "created_at"}
    items.rows([700], "2199-01-01T00:00:00Z")
    items.registered([700])
    assert items.gaps().report.verdict is Verdict.CLEAR


def test_a_row_of_the_future_keeps_the_credit_of_its_own_event(items: World) -> None:
    items.rows([700], "2199-01-01T00:00:00Z")
    items.announce([700])
    assert found(items.gaps()) == {"700": ("unapplied_create", "unapplied")}


def test_a_registration_dated_by_the_day_is_not_stale_on_its_first_day(items: World) -> None:
    items.registry_extra = {"created_at": "created_at", "zone": "UTC"}
    with psycopg.connect(items.target) as db:
        db.execute("ALTER TABLE item_registry ALTER created_at TYPE date")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    items.rows([700, 701], min(today + timedelta(hours=20), datetime.now(UTC)))
    items.registered([700], at=today)
    items.registered([701], at=today - timedelta(days=3))
    assert found(items.gaps()) == {"701": ("stale_registration", "stale")}


def test_of_several_registrations_of_one_key_the_newest_counts(items: World) -> None:
    items.registry_extra = {"created_at": "created_at"}
    with psycopg.connect(items.target) as db:
        db.execute("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
        db.execute("CREATE INDEX ON item_registry (item_id)")
    items.rows([700, 701], items.now - timedelta(minutes=5))
    for age in (timedelta(days=3), timedelta(0), timedelta(days=2)):
        items.registered([700], at=items.now - age)
    for age in (timedelta(days=3), timedelta(days=2)):
        items.registered([701], at=items.now - age)
    assert found(items.gaps()) == {"701": ("stale_registration", "stale")}


def test_a_stale_registration_is_in_flight_until_it_was_seen_twice(items: World) -> None:
    items.extra = {"fence": {"settle": "1m"}}
    items.registry_extra = {"created_at": "created_at"}
    items.rows([700], items.now - timedelta(minutes=5))
    items.registered([700], at=items.now - timedelta(days=3))
    report = items.gaps(wait=timedelta(0)).report
    assert report.verdict is Verdict.CANNOT_TELL
    assert (report.data_types[0].in_flight, report.data_types[0].gaps.count) == (1, 0)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "99999999999d"])
def test_a_window_from_the_dawn_of_time_is_refused_in_words(items: World, since: str) -> None:
    with pytest.raises(SettingsError, match="means nothing"):
        items.gaps(since=since)
