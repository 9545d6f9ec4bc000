"""Tables that change, or hide rows, while they are compared."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.beside import Aside
from tests.faults.phases import Phase
from tests.faults.world import World
from tests.stack.processes import wait_until


def changed_between_slices(world: World, statement: str) -> Iterator[None]:
    """The change waits for our lock, or it is over before the snapshot: never in between."""
    asides: list[Aside] = []

    def change() -> None:
        with psycopg.connect(world.source, autocommit=True, application_name="changer") as db:
            db.execute(statement)

    def begin() -> None:
        asides.append(Aside(change))
        wait_until(lambda: held_up(world), "the change waits for a lock")

    world.lost()
    world.at(Phase.SLICES, begin)
    yield
    for aside in asides:
        aside.join()


def held_up(world: World) -> bool:
    with psycopg.connect(world.source) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'changer' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone()
    return bool(row and row[0])


def twin(world: World) -> Iterator[None]:
    """An empty table of the same name stands first in the search path, with functions that shadow the server's."""
    world.lost(count=2)
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("CREATE SCHEMA shadow")
        db.execute("CREATE TABLE shadow.items (LIKE public.items INCLUDING ALL)")
        db.execute("CREATE FUNCTION shadow.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'")
        db.execute("CREATE FUNCTION shadow.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT false'")
        db.execute(f"ALTER DATABASE {name} SET search_path = shadow, public, pg_catalog")
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} RESET search_path")
        db.execute("DROP SCHEMA shadow CASCADE")


def partitioned(world: World) -> None:
    """The same rows, in a table of two partitions."""
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items RENAME TO items_before")
        db.execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, note text, created_at timestamptz DEFAULT now())"
            " PARTITION BY RANGE (id)"
        )
        db.execute("CREATE TABLE items_low PARTITION OF items FOR VALUES FROM (0) TO (20)")
        db.execute("CREATE TABLE items_high PARTITION OF items FOR VALUES FROM (20) TO (90000)")
        db.execute("INSERT INTO items SELECT * FROM items_before")
        db.execute("DROP TABLE items_before")
