"""A window ends where the source's clock says, whatever ours does."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, CLOCK, Fault
from tests.faults.kinds.clocks.steps import skewed
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"our clock {words}",
        about=f"our clock is {abs(hours)} hours {words} the servers', and our zone is {zone}",
        modes=(6, 7),
        right=CLEAR,
        given=(hours, zone),
        asks=("--since", "72h"),
        mended=None,
        stops=CLOCK,
    )
    for words, hours, zone in (("ahead of", 30, "America/Los_Angeles"), ("behind", -30, "Europe/Berlin"))
]


def inject(world: World, hours: int, zone: str) -> Iterator[None]:
    yield from skewed(world, hours, zone)
