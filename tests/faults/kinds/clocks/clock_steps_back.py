"""What had passed may be ahead again: no wait and no window of a run may rest on our clock alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, CLOCK, Fault
from tests.faults.kinds.clocks.steps import skewed
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="clock steps back",
    about="our clock is seven hours ahead of the servers', and steps back by fourteen in the middle of the compare",
    modes=(6, 7),
    right=CLEAR,
    asks=("--since", "72h"),
    mended=None,
    stops=CLOCK,
)


def inject(world: World) -> Iterator[None]:
    world.at(Phase.COMPARE, lambda: world.clock.set(7))
    yield from skewed(world, 7, "Asia/Tokyo")
