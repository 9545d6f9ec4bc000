"""As many registry rows too many as there are too few: every count agrees, and none of the rows may be taken for another."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.world import ITEM, World

FAULT = Fault(
    name="counts that agree",
    about="as many rows are registered and announced that never were as are lost",
    modes=(28,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("cutover").code == 0
    phantoms = [world.new_id() for _ in range(5)]
    with psycopg.connect(world.target) as db:
        db.execute("DELETE FROM item_registry WHERE NOT item_id = ANY(%s)", [[int(key) for key in world.rows()["item"]]])
        db.cursor().executemany("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [(key,) for key in phantoms])
    world.baseline = world.registered()
    for key in phantoms:
        world.event(ITEM, key)
    world.flush()
    keys = world.lost(count=len(phantoms))
    assert len(world.rows()["item"]) == len(world.registered()["item"])
    yield
    told = world.told().of("item")["gaps"]
    assert (told["count"], set(told["keys"])) == (len(keys), set(map(str, keys))), told
