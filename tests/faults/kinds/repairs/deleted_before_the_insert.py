"""Rows go between the source's answer and the insert: their registry rows would be ghosts."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="deleted before the insert",
    about="rows are deleted between the source's answer and the insert",
    modes=(60,),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    keys = world.lost(count=6)

    def delete() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("DELETE FROM items WHERE id = ANY(%s)", [keys[::2]])

    world.at(Phase.INSERT, delete)
    yield
