"""A trigger drops our rows without an error: what was inserted must be counted, not believed."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import GAPS, WITHHELD, Fault
from tests.faults.world import World

FAULT = Fault(
    name="trigger swallows",
    about="a trigger of the registry drops our rows without an error",
    modes=(26,),
    right=GAPS | WITHHELD,
)


def inject(world: World) -> Iterator[None]:
    world.lost(count=3)
    with psycopg.connect(world.target) as db:
        db.execute("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        db.execute("CREATE TRIGGER swallow BEFORE INSERT ON item_registry FOR EACH ROW EXECUTE FUNCTION swallow()")
    yield
    with psycopg.connect(world.target) as db:
        db.execute("DROP FUNCTION swallow CASCADE")
