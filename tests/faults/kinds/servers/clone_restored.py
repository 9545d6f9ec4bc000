"""It stands behind what was recorded: rows that were announced since are not in it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, POSTGRES, Fault
from tests.faults.kinds.servers.steps import restored
from tests.faults.world import World

FAULT = Fault(
    name="clone restored",
    about="the source is a restored copy of itself, behind what was recorded",
    modes=(11,),
    right=CANNOT_TELL,
    writes=False,
    names="its history went back",
    stops=POSTGRES,
)


def inject(world: World) -> Iterator[None]:
    with restored(world):
        yield
