"""What a backfill writes, what it leaves alone, and what it refuses before its first row."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from databases.connect import connect
from databases.ledger import Ledger
from reconciler.backfill import Pace, backfill, writer
from schemas.errors import CatalogError, FencepostError, RefusedWrite, UnavailableError
from schemas.settings import BackfillSettings, Dsn
from tests.reconciler.backfill.conftest import BOTH, World
from tests.stack.postgres import Postgres


@BOTH
def test_missing_rows_are_inserted_and_nothing_else(world: World) -> None:
    world.on_registry("INSERT INTO item_registry (item_id, state, created_at) VALUES (5, 2, now()), (77, 2, now())")
    done = world.backfill(k for k in range(1, 101) if k not in (5, 77))
    assert world.registered() == list(range(1, 101))
    assert len(done.inserted) == done.backfilled == 98
    assert world.on_registry("SELECT count(*) FROM item_registry WHERE state = 0") == [(98,)]
    assert set(world.steps()) == {"reread"}


@BOTH
def test_a_second_backfill_of_the_same_keys_writes_nothing(world: World) -> None:
    world.backfill(range(1, 101))
    before = world.on_registry("SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1")
    done = world.backfill(range(1, 101))
    assert (len(done.inserted), len(done.already)) == (0, 100)
    assert world.on_registry("SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1") == before


@BOTH
def test_rows_that_a_live_applier_wrote_meanwhile_are_stepped_over_one_by_one(world: World) -> None:
    """Failure mode 63."""
    world.on_registry(
        "INSERT INTO item_registry (item_id, state, created_at) SELECT g, 2, now() FROM generate_series(3, 90, 7) g"
    )
    done = world.backfill(range(1, 101))
    assert sorted(done.already) == list(range(3, 91, 7))
    assert len(done.inserted) == 100 - len(done.already)
    assert world.on_registry("SELECT count(*) FROM item_registry WHERE state = 2") == [(len(done.already),)]
    assert world.registered() == list(range(1, 101))


def test_a_row_that_went_between_compare_and_backfill_is_not_resurrected(world: World) -> None:
    world.on_source("DELETE FROM items WHERE id % 3 = 0")
    done = world.backfill(range(1, 101))
    assert sorted(done.vanished) == list(range(3, 101, 3))
    assert world.registered() == [k for k in range(1, 101) if k % 3]


def test_a_row_that_left_the_scope_is_not_inserted(world: World) -> None:
    world.scope = [{"column": "project_id", "in": [7]}]
    world.on_source("UPDATE items SET project_id = 8 WHERE id = 50")
    done = world.backfill(range(1, 101))
    assert sorted(done.vanished) == [50]


def test_sparse_keys_far_apart_and_negative_ones(world: World) -> None:
    keys = [-(2**63), -5, 2**53 + 1, 2**63 - 1]
    world.on_source("INSERT INTO items SELECT unnest(%s::bigint[])", keys)
    done = world.backfill([*keys, 12])
    assert sorted(done.inserted) == sorted([*keys, 12])
    assert world.registered() == sorted([*keys, 12])


def test_values_of_the_source_are_those_of_the_moment(world: World) -> None:
    world.insert |= {"project_id": {"source": "project_id"}, "note": {"source": "name"}}
    world.on_source("UPDATE items SET project_id = id * 10, name = CASE WHEN id = 4 THEN NULL ELSE 'ü%s' END")
    world.on_source("DELETE FROM items WHERE id = 5")
    world.backfill(range(1, 101))
    found = world.on_registry("SELECT item_id, project_id, note FROM item_registry ORDER BY 1")
    assert found == [(k, k * 10, None if k == 4 else "ü%s") for k in range(1, 101) if k != 5]


def test_now_is_the_registrys_clock_in_the_columns_zone(world: World) -> None:
    world.on_registry("ALTER TABLE item_registry ALTER created_at TYPE timestamp")
    world.more = {"created_at": "created_at", "zone": "Asia/Tokyo"}
    world.backfill([1])
    ((at,),) = world.on_registry("SELECT created_at FROM item_registry")
    assert abs(at - (datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=9))) < timedelta(minutes=1)


def test_now_is_in_the_zone_in_which_the_registrys_dates_are_read(world: World) -> None:
    """Without one of its own that is the source's: else our own rows would look older than their source rows."""
    world.on_registry("ALTER TABLE item_registry ALTER created_at TYPE timestamp, ADD touched_at timestamp")
    world.more, world.zone = {"created_at": '"created_at"'}, "Asia/Tokyo"
    world.insert["touched_at"] = "now"
    world.backfill([1])
    ((at, touched),) = world.on_registry("SELECT created_at, touched_at FROM item_registry")
    assert at - touched == timedelta(hours=9)


NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"


@pytest.mark.parametrize(("theirs", "zone", "ours", "our_zone", "stored"), [
    ("timestamp", NEW_YORK, "timestamptz", None, "2026-03-01 17:30:00+00"),
    ("timestamp", None, "timestamptz", None, "2026-03-01 12:30:00+00"),
    ("timestamp", NEW_YORK, "timestamp", None, "2026-03-01 12:30:00"),
    ("timestamp", NEW_YORK, "timestamp", TOKYO, "2026-03-02 02:30:00"),
    ("timestamp", None, "timestamp", TOKYO, "2026-03-01 12:30:00"),
    ("timestamp", NEW_YORK, "date", TOKYO, "2026-03-02"),
    ("date", NEW_YORK, "timestamptz", None, "2026-03-01 05:00:00+00"),
    ("timestamptz", NEW_YORK, "timestamp", TOKYO, "2026-03-01 21:30:00"),
    ("timestamptz", NEW_YORK, "timestamp", None, "2026-03-01 07:30:00"),
    ("timestamptz", None, "timestamp", None, "2026-03-01 12:30:00"),
    ("timestamptz", NEW_YORK, "timestamptz", TOKYO, "2026-03-01 12:30:00+00"),
    ("timestamptz", NEW_YORK, "text", None, "2026-03-01 12:30:00+00"),
])  # fmt: skip
def test_a_time_of_the_source_is_the_same_instant_in_the_registry(
    world: World, theirs: str, zone: str | None, ours: str, our_zone: str | None, stored: str
) -> None:
    world.on_source(f"ALTER TABLE items ADD made {theirs} DEFAULT '2026-03-01 12:30:00+00'")
    world.on_registry(f"ALTER TABLE item_registry ALTER created_at TYPE {ours} USING NULL")
    world.zone, world.more = zone, {"created_at": "created_at", "zone": our_zone}
    world.insert["created_at"] = {"source": "made"}
    world.backfill([1])
    assert world.on_registry("SELECT (created_at)::text FROM item_registry") == [(stored,)]


@pytest.mark.parametrize(("kind", "value", "stored"), [
    ("varchar(3)", "0", "0"), ("varchar", 0, "0"), ("text", {"value": "now"}, "now"), ("boolean", False, False),
    ("jsonb", '{"a%b": 1}', {"a%b": 1}), ("numeric(5,2)", 1.5, pytest.approx(1.5)), ("int[]", "{1,2}", [1, 2]),
    ("text", None, None), ("text", "it's \\ 100% {x}", "it's \\ 100% {x}"), ('public."odd %s {type}"', "b", "b"),
])  # fmt: skip
def test_a_literal_is_read_in_its_columns_own_type(world: World, kind: str, value: Any, stored: Any) -> None:
    world.on_registry("""CREATE TYPE public."odd %s {type}" AS ENUM ('a', 'b')""")
    world.on_registry("ALTER TABLE item_registry DROP COLUMN state, ADD COLUMN state " + kind)
    world.insert["state"] = value
    world.backfill([1])
    ((found,),) = world.on_registry("SELECT state FROM item_registry")
    assert (float(found) if kind.startswith("numeric") else found) == stored


def test_a_value_of_the_source_is_read_in_its_columns_own_type(world: World) -> None:
    world.on_registry("""CREATE TYPE public."odd %s {type}" AS ENUM ('a', 'b')""")
    world.on_registry("""ALTER TABLE item_registry ADD COLUMN "50%" public."odd %s {type}", ADD COLUMN bits bit(3)""")
    world.on_source("UPDATE items SET name = 'b', project_id = 5")
    world.on_source("ALTER TABLE items ADD COLUMN bits text DEFAULT '101'")
    world.insert |= {"50%": {"source": "name"}, "bits": {"source": "bits"}}
    world.backfill([1, 2])
    assert world.on_registry("""SELECT DISTINCT "50%"::text, bits::text FROM item_registry""") == [("b", "101")]


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"state": "0", "created_at": "now", "note": "much too long"}, RefusedWrite, "too long"),
    ({"state": "0", "created_at": "now", "note": {"source": "long"}}, RefusedWrite, "too long"),
    ({"state": "zero", "created_at": "now"}, RefusedWrite, "smallint"),
    ({"state": 0}, RefusedWrite, "'created_at' must not be empty"),
    ({"state": 0, "created_at": None}, RefusedWrite, "'created_at' of public.item_registry must not be empty"),
    ({"state": "now", "created_at": "now"}, CatalogError, "'now' cannot be inserted"),
    ({"state": 0, "created_at": "now", "nite": 1}, CatalogError, "no column 'nite'"),
    ({"state": 0, "created_at": "now", "note": {"source": "nam"}}, CatalogError, "no column 'nam'"),
    ({"state": 0, "created_at": "now", "twice": 1}, RefusedWrite, "generates it"),
    ({"state": 0, "created_at": "now", "project_id": -1}, RefusedWrite, "positive"),
])  # fmt: skip
def test_what_cannot_be_inserted_is_refused_by_name_and_nothing_is_written(
    world: World, change: dict[str, Any], error: type[FencepostError], words: str
) -> None:
    world.on_source("ALTER TABLE items ADD COLUMN long text DEFAULT 'longer than five'")
    world.on_registry("ALTER TABLE item_registry ADD COLUMN twice int GENERATED ALWAYS AS (project_id * 2) STORED")
    world.on_registry("ALTER TABLE item_registry ADD CONSTRAINT positive CHECK (project_id >= 0)")
    world.insert = change
    with pytest.raises(error, match=words) as told:
        world.backfill(range(1, 101))
    assert told.value.hint
    assert world.registered() == []


def test_a_key_too_big_for_the_registrys_column_is_refused_before_the_first_row(world: World) -> None:
    world.on_registry("ALTER TABLE item_registry ALTER item_id TYPE int")
    world.on_source("INSERT INTO items VALUES (2147483648)")
    with pytest.raises(RefusedWrite, match="2147483648 of item does not fit"):
        world.backfill([1, 2147483648])
    assert world.registered() == []


def test_a_disk_that_is_full_is_told_and_what_was_committed_is_finished_later(world: World) -> None:
    """Failure mode 64: half a backfill."""
    world.on_registry("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.item_id = 35 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    run = world.run()
    with pytest.raises(UnavailableError, match="could not extend file"):
        world.backfill(range(1, 101), run=run)
    assert world.registered() == list(range(1, 31))
    world.on_registry("DROP TRIGGER t ON item_registry")
    world.backfill(range(1, 101))
    assert world.registered() == list(range(1, 101))
    undone = world.undo(run)
    assert undone is not None
    assert sorted(undone.removed) == list(range(1, 31))


def test_a_statement_that_takes_too_long_is_ended_and_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.backfill.writer._BEGIN", writer._BEGIN.replace(b"'5min'", b"'300ms'"))
    world.on_registry("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(60); RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    with pytest.raises(UnavailableError, match="statement timeout"):
        world.backfill([1])
    assert world.registered() == []


def test_the_ledger_may_be_on_another_server(world: World, postgres16: Postgres) -> None:
    ledger = Ledger(Dsn(postgres16.create_database("ledger_elsewhere")), "fencepost")
    try:
        ledger.upgrade()
        world.ledger = ledger
        run = world.run()
        assert world.backfill(range(1, 51), run=run).backfilled == 50
        undone = world.undo(run)
        assert undone is not None
        assert len(undone.removed) == 50
        assert world.registered() == []
    finally:
        ledger.close()
        postgres16.drop_database("ledger_elsewhere")


def test_a_foreign_key_is_named_and_the_row_is_not_quoted(world: World) -> None:
    world.on_registry("CREATE TABLE projects (id int PRIMARY KEY)")
    world.on_registry("ALTER TABLE item_registry ADD CONSTRAINT to_project FOREIGN KEY (project_id) REFERENCES projects")
    world.insert["project_id"] = 424242
    with pytest.raises(RefusedWrite, match="to_project") as told:
        world.backfill([1])
    assert "424242" not in str(told.value)


@BOTH
def test_partitioned_tables_on_both_sides(world: World) -> None:
    for dsn, table, key in ((world.on_source, "items", "id"), (world.on_registry, "item_registry", "item_id")):
        dsn(f"DROP TABLE {table}")
        dsn(
            f"CREATE TABLE {table} ({key} bigint PRIMARY KEY, state smallint, created_at timestamptz)"
            f" PARTITION BY RANGE ({key})"
        )
        dsn(f"CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM (0) TO (50)")
        dsn(f"CREATE TABLE {table}_2 PARTITION OF {table} FOR VALUES FROM (50) TO (500)")
    world.on_source("INSERT INTO items SELECT generate_series(1, 100)")
    world.on_registry("INSERT INTO item_registry VALUES (49), (52)")
    run = world.run()
    done = world.backfill(range(1, 111), run=run)
    assert (sorted(done.already), sorted(done.vanished)) == ([49, 52], list(range(101, 111)))
    world.on_registry("UPDATE item_registry SET state = 1 WHERE item_id = 60")
    undone = world.undo(run)
    assert undone is not None
    assert (len(undone.removed), sorted(undone.touched)) == (97, [60])
    assert world.registered() == [49, 52, 60]


@pytest.mark.parametrize("kinds", [("uuid",), ("text",), ("varchar(80)",), ("int", "text"), ("uuid", "bigint", "varchar(80)")])
def test_keys_of_every_kind(world: World, kinds: tuple[str, ...]) -> None:
    columns = [f'"K%{i}"' for i in range(len(kinds))]
    defined = ", ".join(f"{name} {kind}" for name, kind in zip(columns, kinds, strict=True))
    named = ", ".join(columns)
    world.on_source(f"DROP TABLE items; CREATE TABLE items ({defined}, PRIMARY KEY ({named}))")
    world.on_registry(f"DROP TABLE item_registry; CREATE TABLE item_registry ({defined}, state varchar, UNIQUE ({named}))")
    world.key = world.registry_key = tuple(name.strip('"') for name in columns)
    world.insert = {"state": "0"}
    rows = [tuple(_value(kind, n) for kind in kinds) for n in range(300)]
    holes = ", ".join(["%s"] * len(kinds))
    with psycopg.connect(world.source) as source, psycopg.connect(world.registry) as registry:
        source.cursor().executemany(f"INSERT INTO items VALUES ({holes})", rows[:280])
        registry.cursor().executemany(f"INSERT INTO item_registry VALUES ({holes}, '2')", rows[:20])
    world.batch = 70
    wanted = [row[0] if len(row) == 1 else row for row in rows]
    run = world.run()
    done = world.backfill(wanted, run=run)
    assert (len(done.inserted), len(done.vanished), len(done.already)) == (260, 20, 20)
    assert sorted(map(str, world.registered())) == sorted(map(str, wanted[:280]))
    undone = world.undo(run)
    assert undone is not None
    assert len(undone.removed) == 260
    assert sorted(map(str, world.registered())) == sorted(map(str, wanted[:20]))


def _value(kind: str, n: int) -> Any:
    if kind == "uuid":
        return uuid.UUID(int=n << 119 | n % 2)  # half of them end in zero bytes
    if kind in ("int", "bigint"):
        return n - 150
    return ["plain", "ü", "a b ", "\\", "\x1f", "\\u", "a/b", "%s", "{}", '"', "'", "NULL", "", "x" * 60][n % 14] + str(n)


def test_the_largest_batches_and_more_keys_than_fit_one_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.backfill.batches._AT_ONCE", 37)
    told: list[tuple[int, int | None]] = []
    world.backfill(range(1, 101), progress=lambda done, total: told.append((done, total)))
    assert world.registered() == list(range(1, 101))
    assert told[-1] == (100, 100)
    assert told == sorted(told)


def test_rows_a_second_are_held_to(world: World) -> None:
    """Failure mode 68."""
    clock = itertools.accumulate([0.0] * 1000)
    slept: list[float] = []
    pace = Pace(25, clock=lambda: next(clock) + sum(slept), sleep=slept.append)
    world.batch = 1000
    world.backfill(range(1, 101), pace=pace)
    assert sum(slept) == pytest.approx(3.0)  # four batches of a second's worth; the first may go at once
    assert world.registered() == list(range(1, 101))


@BOTH
def test_a_pooler_may_hand_every_transaction_another_session(world: World) -> None:
    # What a session had set is gone, and what a stranger's session left behind is there instead.
    world.on_registry(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE sql AS 'SELECT 666'"
    )

    def pooled() -> psycopg.Connection[Any]:
        db = connect(Dsn(world.registry), "the registry")
        db.execute("RESET ALL")
        db.execute(
            "SET search_path = evil, public; SET default_transaction_isolation = 'serializable'; SET timezone = 'Asia/Tokyo'"
        )
        return db

    world.on_registry("INSERT INTO item_registry (item_id, state, created_at) VALUES (5, 2, now())")
    done = world.backfill(range(1, 101), registry=pooled)
    assert len(done.inserted) == 99
    assert world.registered() == list(range(1, 101))


@BOTH
def test_a_lost_connection_is_told_and_what_was_committed_is_kept(world: World) -> None:
    def cut(done: int, total: int | None) -> None:
        if done == 30:
            world.on_registry(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fencepost'"
                " AND datname = current_database() AND query NOT LIKE '%lease%'"
            )

    with pytest.raises(UnavailableError, match=r"cannot insert 10 rows into public\.item_registry"):
        world.backfill(range(1, 101), progress=cut)
    assert world.registered() == list(range(1, 31))
    world.forget_the_lease()
    assert world.finish().left == ()
    world.backfill(range(1, 101))
    assert world.registered() == list(range(1, 101))


@BOTH
def test_two_data_types_share_one_run_and_one_count(world: World) -> None:
    run, told = world.run(), list[tuple[int, int | None]]()
    with world.lease(run) as held:
        done = backfill(
            BackfillSettings(batch=10),
            world.ledger,
            run,
            [world.job(range(1, 31), "first"), world.job(range(31, 51), "second"), world.job([], "third")],
            source=world.to_source,
            registry=world.to_registry,
            lease=held,
            progress=lambda done, total: told.append((done, total)),
        )
    assert {name: len(one.inserted) for name, one in done.items()} == {"first": 30, "second": 20}
    assert told[-1] == (50, 50)
