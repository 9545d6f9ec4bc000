"""A rewritten table looks empty to a snapshot that is older than it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.tables.steps import changed_between_slices
from tests.faults.world import World

FAULT = Fault(
    name="rewritten between slices",
    about="ALTER TABLE rewrites the table after the snapshot stands and before its second slice",
    modes=(15,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    yield from changed_between_slices(world, "ALTER TABLE items ALTER note TYPE varchar(77) USING left(note, 77)")
