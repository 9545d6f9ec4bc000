"""The transaction that is waited for gives up its virtual id, and has not ended."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.writers.steps import INSERT, writer
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="prepared while waited for",
    about="the transaction that the fence waits for is prepared meanwhile, not ended",
    modes=(2,),
    right=CANNOT_TELL,
    asks=("--wait", "1s"),
    names="slipped-",
)


def inject(world: World) -> Iterator[None]:
    gid = f"slipped-{world.rng.randrange(1 << 30)}"
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])

        def prepare() -> None:
            db.execute(f"PREPARE TRANSACTION '{gid}'")
            db.commit()

        world.at(Phase.WAITING, prepare)
        yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"COMMIT PREPARED '{gid}'")
