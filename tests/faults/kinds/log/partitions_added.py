"""What stands in the new ones must be read from their start."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import announced, doubled
from tests.faults.world import World

FAULT = Fault(
    name="partitions added",
    about="six partitions become twelve between two runs",
    modes=(39,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("cutover").code == 0
    keys = doubled(world)
    yield
    announced(world, keys)
