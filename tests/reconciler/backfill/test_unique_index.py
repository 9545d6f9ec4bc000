"""What keeps a key from being inserted twice: a unique index on exactly the key, or appliers that are stopped."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from reconciler.backfill.batches import batches
from reconciler.backfill.standing import prepared, twice
from schemas.errors import RefusedWrite, UnavailableError
from tests.reconciler.backfill.conftest import BOTH, World

#: As a CREATE INDEX CONCURRENTLY leaves it that found a duplicate.
INVALID = (
    "CREATE UNIQUE INDEX bad ON item_registry (item_id);"
    " UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'bad'::regclass"
)


@pytest.mark.parametrize("index", [
    "", "CREATE INDEX ON item_registry (item_id)", "CREATE UNIQUE INDEX ON item_registry (item_id) WHERE state = 0",
    "CREATE UNIQUE INDEX ON item_registry (item_id, state)",
    "ALTER TABLE item_registry ADD CONSTRAINT d UNIQUE (item_id) DEFERRABLE",
    "CREATE UNIQUE INDEX ON item_registry (abs(item_id))",
    INVALID,
])  # fmt: skip
def test_without_a_unique_index_on_exactly_the_key_nothing_is_written(world: World, index: str) -> None:
    """Failure mode 62."""
    world.on_registry("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    if index:
        world.on_registry(index)
    with pytest.raises(RefusedWrite, match=r"no valid unique index on exactly \(item_id\)") as told:
        world.backfill(range(1, 101))
    assert told.value.hint is not None
    assert "appliers_stopped" in told.value.hint
    assert world.registered() == []


@BOTH
def test_a_unique_index_that_is_dropped_in_the_middle_ends_it_and_nothing_is_doubled(world: World) -> None:
    """Failure mode 62: an applier that goes on inserting, and nothing that would stop the second row of a key."""

    def dropped(done: int, total: int | None) -> None:
        if done == 30:
            world.on_registry("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
            world.on_registry(
                "INSERT INTO item_registry (item_id, state, created_at) SELECT g, 2, now() FROM generate_series(31, 100) g"
            )

    with pytest.raises(RefusedWrite, match="was dropped while rows were inserted"):
        world.backfill(range(1, 101), progress=dropped)
    assert world.registered() == list(range(1, 101))


def test_with_the_appliers_stopped_it_looks_itself_and_counts_duplicates(world: World) -> None:
    world.on_registry("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    world.on_registry(
        "INSERT INTO item_registry (item_id, state, created_at) VALUES (5, 2, now()), (5, 2, now()), (6, 2, now())"
    )
    world.more = {"appliers_stopped": True}
    done = world.backfill(range(1, 101))
    assert sorted(done.already) == [5, 6]
    assert done.duplicates == 1
    assert world.registered() == sorted([*range(1, 101), 5])


def test_a_registry_without_any_index_is_read_once_for_a_batch_and_not_once_for_each_key(world: World) -> None:
    """5,000 keys against 42,000 rows took minutes a batch, and the statement outlived whoever had asked for it."""
    world.on_registry("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    world.on_registry(
        "INSERT INTO item_registry (item_id, state, created_at) SELECT g, 2, now() FROM generate_series(1, 20000) g"
    )
    world.on_registry("ANALYZE item_registry")
    job = world.job(range(1, 101))
    (batch,) = batches(job.keys, job.key_type, job.registry.kinds, size=100)
    with world.to_registry() as db:
        asked = sql.SQL("EXPLAIN {}").format(twice(job.registry, batch))
        plan = "\n".join(line for (line,) in prepared(db).execute(asked, batch.arrays()).fetchall())
    assert "Hash Join" in plan
    assert "SubPlan" not in plan


def test_with_the_appliers_stopped_one_that_is_not_is_waited_for_and_named(world: World) -> None:
    world.on_registry("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    world.more = {"appliers_stopped": True}
    with psycopg.connect(world.registry) as applier:
        applier.execute("INSERT INTO item_registry (item_id, state, created_at) VALUES (5, 2, now())")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("reconciler.backfill.writer._TRIES", 1)
            with pytest.raises(UnavailableError, match="lock timeout"):
                world.backfill(range(1, 101))
        applier.rollback()
    assert world.registered() == []


def test_a_row_that_another_unique_index_forbids_is_told_and_the_others_are_inserted(world: World) -> None:
    world.insert |= {"project_id": {"source": "project_id"}}
    world.on_source("UPDATE items SET project_id = id")
    world.on_registry("CREATE UNIQUE INDEX ON item_registry (project_id)")
    world.on_registry("INSERT INTO item_registry (item_id, state, created_at, project_id) VALUES (1000, 2, now(), 17)")
    done = world.backfill(range(1, 101))
    assert sorted(done.already) == [17]
    assert len(done.inserted) == 99
