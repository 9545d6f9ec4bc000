"""What stands behind the open transaction may be a deletion that nobody has heard of."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.log.steps import pinned
from tests.faults.world import World

FAULT = Fault(
    name="open producer transaction, deletes asked",
    about="the same, with `--deletes`",
    modes=(38,),
    right=CANNOT_TELL,
    asks=("--deletes", "--wait", "3s"),
)


def inject(world: World) -> Iterator[None]:
    yield from pinned(world)
