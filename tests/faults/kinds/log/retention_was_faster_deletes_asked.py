"""A deletion may have stood in what retention took."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.kinds.log.steps import overtaken
from tests.faults.world import World

FAULT = Fault(
    name="retention was faster, deletes asked",
    about="the same, with `--deletes`",
    modes=(32, 44),
    right=CANNOT_TELL,
    asks=("--deletes",),
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    yield from overtaken(world)
