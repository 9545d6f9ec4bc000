"""The main job: every loss is found and mended."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.world import World

FAULT = Fault(
    name="nothing but losses",
    about="events and applications are lost, nothing else happens",
    modes=(17, 28, 30),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    world.lost(count=5)
    yield
