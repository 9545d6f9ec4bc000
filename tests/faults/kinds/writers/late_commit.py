"""It commits while the fence waits for it, once the fence has listed it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.writers.steps import INSERT, writer
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="late commit",
    about="a writer that was open at the fence commits while it is waited for; its row is dated an hour ago",
    modes=(1, 2),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    with writer(world) as db:
        db.execute(INSERT, [world.new_id()])
        world.at(Phase.WAITING, db.commit)
        yield
