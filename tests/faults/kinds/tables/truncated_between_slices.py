"""The first compare is whole; in the second no row is left that could be missing."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.tables.steps import changed_between_slices
from tests.faults.world import World

FAULT = Fault(
    name="truncated between slices",
    about="TRUNCATE is issued after the snapshot stands and before its second slice",
    modes=(15,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    yield from changed_between_slices(world, "TRUNCATE parts")
