"""What goes wrong while missing rows are registered: deletions, appliers, triggers, caps, sides that are swapped."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, GAPS, NO_VERDICT, WITHHELD, Fault
from tests.faults.phases import Phase
from tests.faults.world import World


def deleted_meanwhile(world: World) -> Iterator[None]:
    """Rows go between the source's answer and the insert: their registry rows would be ghosts."""
    keys = world.lost(count=6)

    def delete() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("DELETE FROM items WHERE id = ANY(%s)", [keys[::2]])

    world.at(Phase.INSERT, delete)
    yield


def applier_meanwhile(world: World) -> Iterator[None]:
    """The applier registers some of the same rows right before we do."""
    keys = world.lost(count=6)

    def register() -> None:
        with psycopg.connect(world.target) as db:
            db.cursor().executemany("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [(key,) for key in keys[::2]])

    world.at(Phase.INSERT, register)
    yield


def swallowed(world: World) -> Iterator[None]:
    """A trigger drops our rows without an error: what was inserted must be counted, not believed."""
    world.lost(count=3)
    with psycopg.connect(world.target) as db:
        db.execute("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        db.execute("CREATE TRIGGER swallow BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION swallow()")
    yield
    with psycopg.connect(world.target) as db:
        db.execute("DROP FUNCTION swallow CASCADE")


def no_unique_index(world: World) -> Iterator[None]:
    world.lost(count=3)
    with psycopg.connect(world.target) as db:
        db.execute("ALTER TABLE item_registry DROP CONSTRAINT item_registry_item_id_key")
    yield
    with psycopg.connect(world.target) as db:
        db.execute("ALTER TABLE item_registry ADD CONSTRAINT item_registry_item_id_key UNIQUE (item_id)")


def above_the_cap(world: World) -> Iterator[None]:
    world.lost(count=10)
    yield


def swapped(world: World) -> Iterator[None]:
    """The DSNs of source and registry stand in each other's place."""
    world.extra = {
        **world.extra,
        "source/dsn": world.wired("source", world.target),
        "registry/dsn": world.wired("registry", world.source),
    }
    yield


def unaccepted(world: World) -> Iterator[None]:
    """A registry row that failed long ago is there, and does not count."""
    (key,) = world.lost()
    with psycopg.connect(world.target) as db:
        db.execute("INSERT INTO item_registry (item_id, state) VALUES (%s, 3)", [key])
    world.extra = {**world.extra, "data_types/item/registry/accepted": {"state": [0, 1, 2]}}
    yield
    assert world.told().of("item")["gaps"]["by_class"].get("unaccepted") == 1, world.told()


FAULTS = {
    "deleted before the insert": Fault(
        about="rows are deleted between the source's answer and the insert", modes=(60,), inject=deleted_meanwhile, right=CLEAR
    ),
    "applier before the insert": Fault(
        about="the applier registers some of the same rows right before the insert",
        modes=(63,),
        inject=applier_meanwhile,
        right=CLEAR,
    ),
    "trigger swallows": Fault(
        about="a trigger of the registry drops our rows without an error", modes=(26,), inject=swallowed, right=GAPS | WITHHELD
    ),
    "no unique index": Fault(
        about="nothing forbids two registry rows of one key", modes=(62,), inject=no_unique_index, right=GAPS, own=True
    ),
    "above the cap": Fault(
        about="more rows are missing than `--max-backfill` allows",
        modes=(68,),
        inject=above_the_cap,
        right=GAPS,
        asks=("--max-backfill", "5"),
        writes=False,
    ),
    "sides swapped": Fault(
        about="source and registry are swapped in the settings", modes=(67,), inject=swapped, right=NO_VERDICT, writes=False
    ),
    "state that does not count": Fault(
        about="a registry row exists in a state that is not accepted",
        modes=(18,),
        inject=unaccepted,
        right=GAPS,
        mended=None,
        own=True,
    ),
}
