"""Ways to get a wrong write out of a backfill, its aftermath or an undo, each tried once: none writes anything wrong."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
import pytest

from reconciler import identity
from reconciler.backfill.run import Filler
from schemas.errors import FencepostError, RefusedWrite, UnavailableError
from tests.reconciler.backfill.conftest import World


def setting(world: World, words: str, *, of: str = "registry") -> None:
    """A setting of one whole database, as sessions find it when they begin."""
    dsn = getattr(world, of)
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET {words}")


@pytest.fixture
def crashed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A run inserted five rows and died before it looked at the source again."""

    def crash(*_: object) -> None:
        raise UnavailableError("crashed")

    with monkeypatch.context() as patched:
        patched.setattr(Filler, "_look_again", crash)
        patched.setattr(Filler, "_save", lambda *_: None)
        with pytest.raises(UnavailableError):
            world.backfill(range(1, 6))
    world.forget_the_lease()
    assert world.registered() == [1, 2, 3, 4, 5]
    return world


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_that_its_column_would_cut_is_inserted_under_no_other(world: World) -> None:
    """SQL cuts blanks off the end of a text that is too long for its column, and says nothing."""
    world.on_source("DROP TABLE items")
    world.on_source("CREATE TABLE items (id text PRIMARY KEY); INSERT INTO items VALUES ('abcde  '), ('ab ')")
    world.on_registry("ALTER TABLE item_registry ALTER item_id TYPE varchar(5)")
    with pytest.raises(RefusedWrite, match=r"key 'abcde  ' .* does not fit"):
        world.backfill(["abcde  "])
    assert world.registered() == []
    assert len(world.backfill(["ab "]).inserted) == 1
    assert world.registered() == ["ab "]


@pytest.mark.parametrize("how", ["GENERATED ALWAYS AS IDENTITY", "GENERATED ALWAYS AS (7) STORED"])
def test_a_key_that_the_database_generates_itself_is_refused_by_name(world: World, how: str) -> None:
    world.on_registry("ALTER TABLE item_registry DROP COLUMN item_id")
    world.on_registry(f"ALTER TABLE item_registry ADD item_id bigint {how}, ADD UNIQUE (item_id)")
    with pytest.raises(RefusedWrite, match=r"item_id.* cannot be inserted: the database generates it"):
        world.backfill([1])
    assert world.registered() == []


# -- what a role or database was given beforehand -----------------------------------------------------------------------


def test_no_row_is_written_where_foreign_keys_and_triggers_are_switched_off(world: World) -> None:
    world.on_registry("CREATE TABLE known (id bigint PRIMARY KEY)")
    world.on_registry("ALTER TABLE item_registry ADD FOREIGN KEY (item_id) REFERENCES known")
    setting(world, "session_replication_role = replica")
    with pytest.raises(RefusedWrite, match="session_replication_role"):
        world.backfill([1])
    assert world.registered() == []


def test_a_null_of_the_source_stays_one_and_a_row_is_on_disk_when_it_counts(world: World) -> None:
    """`array_nulls = off` makes a word of NULL; with `synchronous_commit = off` a crash would take back what was told."""
    setting(world, "array_nulls = off")
    setting(world, "synchronous_commit = off")
    world.on_registry("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.project_id := (current_setting('synchronous_commit') = 'on')::int; RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    world.on_source("UPDATE items SET name = NULL WHERE id = 2")
    world.insert = {**world.insert, "note": {"source": "name"}}
    world.backfill([1, 2])
    assert world.on_registry("SELECT note, project_id FROM item_registry ORDER BY item_id") == [("x", 1), (None, 1)]


def test_bytes_that_are_no_text_are_an_error_of_ours_and_no_row(world: World) -> None:
    world.source = _in_ascii(world.source)
    world.on_source("CREATE TABLE items (id bigint PRIMARY KEY, name text)")
    world.on_source(r"INSERT INTO items VALUES (1, E'caf\xe9')")
    world.insert = {**world.insert, "note": {"source": "name"}}
    with pytest.raises(FencepostError, match="UTF"):
        world.backfill([1])
    assert world.registered() == []


def _in_ascii(dsn: str) -> str:
    """Another database beside this one, whose text has no encoding; it goes with the server."""
    name = f"{psycopg.conninfo.conninfo_to_dict(dsn)['dbname']}_ascii"
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    return psycopg.conninfo.make_conninfo(dsn, dbname=name)


# -- the world moved before the aftermath ------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["scope", "table"])
def test_what_a_crash_left_is_not_held_against_another_question(crashed: World, changed: str) -> None:
    """Asked with today's scope, or of today's table, rows that stand would seem gone, and be taken back."""
    if changed == "scope":
        crashed.scope = [{"column": "project_id", "in": [8]}]
    else:
        crashed.on_source("ALTER TABLE items RENAME TO kept; CREATE TABLE items (LIKE kept INCLUDING ALL)")
    finished = crashed.finish()
    assert crashed.registered() == [1, 2, 3, 4, 5]
    assert (finished.batches, len(finished.left)) == (0, 1)
    assert "asked of the source" in finished.left[0]


def test_a_registry_whose_history_went_back_is_not_undone(world: World) -> None:
    """Transaction ids are given out a second time there: a row of somebody else's would pass for one of ours."""
    run = world.run()
    world.backfill(range(1, 6), run=run)
    with world.to_registry() as db:
        now = identity.identify(db, "registry")
    identity.record(world.ledger, replace(now, xid=now.xid + 100_000))
    with pytest.raises(RefusedWrite, match="its history went back"):
        world.undo(run)
    assert world.registered() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("rule", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_rows_that_a_deletion_would_take_along_or_change_keep_theirs(world: World, rule: str) -> None:
    run = world.run()
    world.backfill(range(1, 6), run=run)
    world.on_registry(f"CREATE TABLE child (item_id bigint REFERENCES item_registry (item_id) ON DELETE {rule})")
    world.on_registry("INSERT INTO child VALUES (3)")
    writer = psycopg.connect(world.registry)
    writer.execute("INSERT INTO child VALUES (4)")  # not committed yet: an undo has to wait for it
    undoing = threading.Thread(target=world.undo, args=(run,))
    undoing.start()
    undoing.join(0.5)
    assert undoing.is_alive()
    writer.commit()
    writer.close()
    undoing.join()
    assert world.registered() == [3, 4]
    assert world.on_registry("SELECT item_id FROM child ORDER BY 1") == [(3,), (4,)]
    again = world.undo(run)
    assert again is not None
    assert sorted(again.touched) == [3, 4]
