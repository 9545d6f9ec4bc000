"""It begins after the fence and commits while the first snapshot is read."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR_OR_GAPS, Fault
from tests.faults.kinds.writers.steps import INSERT
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="commit during the scan",
    about="a session that began after the fence commits while the first snapshot is read",
    modes=(1, 3),
    right=CLEAR_OR_GAPS,
)


def inject(world: World) -> Iterator[None]:

    def insert() -> None:
        with psycopg.connect(world.source) as db:
            db.execute(INSERT, [world.new_id()])

    world.lost()
    world.at(Phase.COMPARE, insert)
    yield
