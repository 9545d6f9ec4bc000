"""A registry row that failed long ago is there, and does not count."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import GAPS, Fault
from tests.faults.world import World

FAULT = Fault(
    name="state that does not count",
    about="a registry row exists in a state that is not accepted",
    modes=(18,),
    right=GAPS,
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    (key,) = world.lost()
    with psycopg.connect(world.target) as db:
        db.execute("INSERT INTO item_registry (item_id, state) VALUES (%s, 3)", [key])
    world.extra = {**world.extra, "data_types/item/registry/accepted": {"state": [0, 1, 2]}}
    yield
    assert world.told().of("item")["gaps"]["by_class"].get("unaccepted") == 1, world.told()
