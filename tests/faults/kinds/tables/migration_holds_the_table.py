"""A migration holds the table; we do not queue up behind it for ever, for others would queue behind us."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import WITHHELD, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="migration holds the table",
    about="a migration holds an exclusive lock on a table",
    modes=(85,),
    right=WITHHELD,
)


def inject(world: World) -> Iterator[None]:
    world.extra = {**world.extra, "source/lock_timeout": "300ms"}
    with psycopg.connect(world.source) as db:

        def lock() -> None:
            db.execute("LOCK TABLE parts IN ACCESS EXCLUSIVE MODE")

        world.live(5)
        world.at(Phase.LOG, lock)
        world.afterwards.append(db.rollback)
        yield
