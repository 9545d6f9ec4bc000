"""Triggers and rules of the registry: they may skip a row, but not send it elsewhere."""

from __future__ import annotations

import pytest

from schemas.errors import RefusedWrite
from tests.reconciler.backfill.conftest import BOTH, World


def test_a_trigger_that_skips_rows_or_speaks_up(world: World) -> None:
    world.on_registry("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.item_id = 13 THEN RETURN NULL; END IF;
        IF NEW.item_id = 50 THEN RAISE EXCEPTION 'not fifty'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    done = world.backfill(range(1, 41))
    assert sorted(done.already) == [13]
    assert len(done.inserted) == 39
    with pytest.raises(RefusedWrite, match=r"a trigger of public\.item_registry refused it: not fifty"):
        world.backfill(range(41, 101))
    assert world.registered() == [k for k in range(1, 101) if k not in (13, 50)], (
        "the one that was spoken up against is left out alone"
    )


MEDDLERS = {
    "another key before": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.item_id := NEW.item_id + 1000;"
    " RETURN NEW; END $$; CREATE TRIGGER meddler BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()",
    "another key after": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " UPDATE public.item_registry SET item_id = item_id + 1000 WHERE item_id = NEW.item_id; RETURN NULL; END $$;"
    " CREATE TRIGGER meddler AFTER INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()",
    "removed after": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " DELETE FROM public.item_registry WHERE item_id = 7; RETURN NULL; END $$;"
    " CREATE TRIGGER meddler AFTER INSERT ON item_registry FOR EACH STATEMENT EXECUTE FUNCTION f()",
    "elsewhere": "CREATE TABLE elsewhere (LIKE item_registry); CREATE RULE meddler AS ON INSERT TO item_registry"
    " DO INSTEAD INSERT INTO elsewhere VALUES (1, NEW.item_id, NEW.state, NEW.created_at, 1, '')",
}


@BOTH
@pytest.mark.parametrize("how", MEDDLERS.values(), ids=MEDDLERS.keys())
def test_rows_that_end_up_under_other_keys_or_elsewhere_are_rolled_back(world: World, how: str) -> None:
    """No undo would find them: its journal has the keys that were meant."""
    world.on_registry(how)
    run = world.run()
    with pytest.raises(RefusedWrite, match=r"(trigger|rule) meddler") as told:
        world.backfill(range(1, 101), run=run)
    assert told.value.hint
    assert world.registered() == []
    if how == MEDDLERS["elsewhere"]:
        assert world.on_registry("SELECT count(*) FROM elsewhere") == [(0,)]
    world.forget_the_lease()
    world.finish()
    assert world.undo(run) is None or world.registered() == []


def test_a_rule_that_swallows_rows_inserts_nothing_and_claims_nothing(world: World) -> None:
    world.on_registry("CREATE RULE swallow AS ON INSERT TO item_registry DO INSTEAD NOTHING")
    run = world.run()
    done = world.backfill(range(1, 101), run=run)
    assert (len(done.inserted), len(done.already)) == (0, 100)
    assert world.undo(run) is None


def test_a_trigger_that_relies_on_a_search_path_is_told_as_such(world: World) -> None:
    world.on_registry("""CREATE TABLE log (id bigint); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO log VALUES (NEW.item_id); RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION f()""")
    with pytest.raises(RefusedWrite, match=r'a trigger of public\.item_registry failed: relation "log"') as told:
        world.backfill([1])
    assert "SET search_path" in (told.value.hint or "")
    world.on_registry("ALTER FUNCTION f() SET search_path = public")
    world.backfill([1])
    assert world.on_registry("SELECT id FROM log") == [(1,)]
