"""Its row is dated before the fence, and nobody can say whether it will ever be there."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.writers.steps import INSERT, writer
from tests.faults.world import World

FAULT = Fault(
    name="idle in transaction",
    about="a session wrote, and neither commits nor ends",
    modes=(2, 3),
    right=CANNOT_TELL,
    asks=("--wait", "1s"),
    names="a-late-writer",
)


def inject(world: World) -> Iterator[None]:
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        yield
        db.commit()
