"""An undo removes exactly what the run inserted and nobody touched since."""

from __future__ import annotations

import threading

import psycopg
import pytest

from schemas.errors import RefusedWrite
from tests.reconciler.backfill.conftest import BOTH, World

pytestmark = BOTH


def test_what_nobody_touched_is_removed_and_all_else_stays(world: World) -> None:
    world.on_registry("INSERT INTO item_registry (item_id, state, created_at) SELECT g, 2, now() FROM generate_series(1, 20) g")
    run = world.run()
    world.backfill(range(1, 81), run=run)
    other = world.run()
    world.backfill(range(81, 101), run=other)
    world.on_registry("UPDATE item_registry SET state = 2 WHERE item_id IN (30, 31)")
    world.on_registry("UPDATE item_registry SET state = state WHERE item_id = 32")  # touched, though nothing changed
    world.on_registry("DELETE FROM item_registry WHERE item_id IN (40, 41)")
    world.on_registry("INSERT INTO item_registry (item_id, state, created_at) VALUES (41, 0, now())")
    world.on_registry("SELECT * FROM item_registry WHERE item_id = 50 FOR UPDATE")  # looked at is not touched
    undone = world.undo(run)
    assert undone is not None
    assert sorted(undone.touched) == [30, 31, 32, 41]
    assert sorted(undone.gone) == [40]
    assert sorted(undone.removed) == [k for k in range(21, 81) if k not in (30, 31, 32, 40, 41)]
    assert world.registered() == [*range(1, 21), 30, 31, 32, 41, *range(81, 101)]


def test_a_second_undo_removes_nothing(world: World) -> None:
    run = world.run()
    world.backfill(range(1, 101), run=run)
    world.on_registry("UPDATE item_registry SET state = 1 WHERE item_id = 7")
    world.undo(run)
    world.backfill(range(1, 101))  # the same rows again, by another run
    undone = world.undo(run)
    assert undone is not None
    assert (len(undone.removed), len(undone.touched), len(undone.gone)) == (0, 100, 0)
    assert world.registered() == list(range(1, 101))


def test_a_run_that_inserted_nothing_has_nothing_to_undo(world: World) -> None:
    assert world.undo("no such run") is None


def test_a_change_that_commits_while_the_undo_waits_for_it_is_kept(world: World) -> None:
    run = world.run()
    world.backfill(range(1, 101), run=run)
    with psycopg.connect(world.registry) as applier:
        applier.execute("UPDATE item_registry SET state = 2 WHERE item_id = 55")
        undoing = threading.Thread(target=world.undo, args=(run,))
        undoing.start()
        undoing.join(1)
        assert undoing.is_alive()
        applier.commit()
    undoing.join()
    assert world.registered() == [55]
    assert world.on_registry("SELECT state FROM item_registry") == [(2,)]


def test_a_row_changed_by_a_trigger_of_the_insert_itself_is_still_ours(world: World) -> None:
    world.on_registry("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE public.item_registry SET note = 'seen' WHERE item_id = NEW.item_id; RETURN NULL; END $$;
        CREATE TRIGGER t AFTER INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    run = world.run()
    world.backfill(range(1, 11), run=run)
    undone = world.undo(run)
    assert undone is not None
    assert len(undone.removed) == 10


def test_a_row_that_others_refer_to_is_left_alone_and_keeps_no_other_from_being_taken_back(world: World) -> None:
    run = world.run()
    world.backfill(range(1, 11), run=run)
    world.on_registry("CREATE TABLE child (item_id bigint CONSTRAINT to_item REFERENCES item_registry (item_id))")
    world.on_registry("INSERT INTO child VALUES (3)")
    undone = world.undo(run)
    assert undone is not None
    assert (len(undone.removed), list(undone.touched)) == (9, [3])
    assert world.registered() == [3]


def test_an_undo_that_fails_half_way_says_how_many_rows_went_and_goes_on_when_it_is_asked_again(world: World) -> None:
    run = world.run()
    world.backfill(range(1, 31), run=run)  # three batches
    world.on_registry("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                      " IF OLD.item_id = 15 THEN RAISE EXCEPTION 'fifteen stays'; END IF; RETURN OLD; END $$")  # fmt: skip
    world.on_registry("CREATE TRIGGER t BEFORE DELETE ON item_registry FOR EACH ROW EXECUTE FUNCTION f()")
    with pytest.raises(RefusedWrite, match="fifteen stays") as told:
        world.undo(run)
    assert told.value.__notes__ == [
        "10 of 30 rows were taken back before that, for good; the same undo goes on with the others"
    ]
    assert world.registered() == list(range(11, 31))
    world.on_registry("DROP TRIGGER t ON item_registry")
    undone = world.undo(run)
    assert undone is not None
    assert world.registered() == []


def test_rows_of_another_server_are_never_undone_here(world: World) -> None:
    run = world.run()
    world.backfill(range(1, 101), run=run)
    world.on_ledger("""UPDATE fencepost.backfill SET target = jsonb_set(target, '{system}', '"42"') WHERE batch = 9""")
    with pytest.raises(RefusedWrite, match="of server 42; this is database"):
        world.undo(run)
    assert world.registered() == list(range(1, 101))


def test_a_transaction_number_of_long_ago_proves_nothing(world: World) -> None:
    # xmin holds 32 bits: the row's could be that of a transaction four billion later.
    run = world.run()
    world.backfill(range(1, 11), run=run)
    world.on_ledger("UPDATE fencepost.backfill SET xid = xid - (1::bigint << 32)")
    undone = world.undo(run)
    assert undone is not None
    assert (len(undone.removed), len(undone.touched)) == (0, 10)
