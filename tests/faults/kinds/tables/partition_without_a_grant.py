"""Read through its parent a partition needs no grant of its own; the rows in it count like all others."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.tables.steps import partitioned
from tests.faults.roles import plain_reader
from tests.faults.world import World

FAULT = Fault(
    name="partition without a grant",
    about="our role has a grant on the parent only",
    modes=(12,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    partitioned(world)
    with plain_reader(world):
        world.lost(count=3)
        yield
