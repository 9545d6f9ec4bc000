"""All wires at once, right before a statement: what was not heard to the end was not heard, and nothing is half done."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import WITHHELD, Fault
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"connections cut: {phase.name.lower()}",
        about=f"every connection is cut ({words})",
        modes=(15, 64),
        right=WITHHELD,
        given=(phase,),
    )
    for phase, words in {
        Phase.FENCE: "when the fence is taken",
        Phase.LOG: "while events are stored",
        Phase.SLICES: "between the slices of a snapshot",
        Phase.INSERT: "at the first insert of the backfill",
        Phase.AGAIN: "before the second compare",
        Phase.VERDICT: "when the verdict is to be stored",
    }.items()
]


def inject(world: World, phase: Phase) -> Iterator[None]:
    def cut() -> None:
        world.cut()
        raise Cut

    world.lost()
    world.at(phase, cut)
    yield
