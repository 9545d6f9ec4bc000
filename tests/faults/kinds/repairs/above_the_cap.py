"""What nobody expected is not written before somebody has seen it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import GAPS, Fault
from tests.faults.world import World

FAULT = Fault(
    name="above the cap",
    about="more rows are missing than `--max-backfill` allows",
    modes=(68,),
    right=GAPS,
    asks=("--max-backfill", "5"),
    writes=False,
)


def inject(world: World) -> Iterator[None]:
    world.lost(count=10)
    yield
