"""The applier registers some of the same rows right before we do."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="applier before the insert",
    about="the applier registers some of the same rows right before the insert",
    modes=(63,),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    keys = world.lost(count=6)

    def register() -> None:
        with psycopg.connect(world.target) as db:
            db.cursor().executemany("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [(key,) for key in keys[::2]])

    world.at(Phase.INSERT, register)
    yield
