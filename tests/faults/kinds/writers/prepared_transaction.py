"""No session holds it, it outlives restarts, and may be committed at any time."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.writers.steps import INSERT, writer
from tests.faults.world import World

FAULT = Fault(
    name="prepared transaction",
    about="a prepared transaction holds a row that nobody can see",
    modes=(2,),
    right=CANNOT_TELL,
    asks=("--wait", "1s"),
    names="left-",
)


def inject(world: World) -> Iterator[None]:
    gid = f"left-{world.rng.randrange(1 << 30)}"
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        db.execute(f"PREPARE TRANSACTION '{gid}'")
        db.commit()
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"COMMIT PREPARED '{gid}'")
