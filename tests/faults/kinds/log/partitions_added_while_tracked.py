"""A tracker is at work, and goes on with the partitions it knows until it asks again."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import announced, doubled
from tests.faults.world import World
from tests.stack.processes import wait_until

FAULT = Fault(
    name="partitions added while tracked",
    about="six partitions become twelve while a tracker reads them",
    modes=(39,),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    with world.process("track") as tracker:
        stored = world.taps["ledger"].heard
        wait_until(lambda: any("INSERT INTO fencepost.segment" in words for words in [*stored]), "the tracker stores")
        keys = doubled(world)
        yield
        announced(world, keys)
        tracker.process.terminate()
        assert tracker.ended().code == 0, tracker.err.read_text()
