"""`kill -9` of the server of both databases, and a start, right before a statement: whatever was open is gone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import POSTGRES, WITHHELD, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"database restarted: {phase.name.lower()}",
        about=f"the database server is killed and started again {words}",
        modes=(15, 64),
        right=WITHHELD,
        given=(phase,),
        stops=POSTGRES,
    )
    for phase, words in {
        Phase.FENCE: "when the fence is taken",
        Phase.LOG: "while events are stored",
        Phase.SNAPSHOT: "when the snapshot is to be taken",
        Phase.SLICES: "between the slices of a snapshot",
        Phase.COMPARE: "in the middle of the compare",
        Phase.INSERT: "at the first insert",
        Phase.AGAIN: "before the second compare",
        Phase.VERDICT: "when the verdict is to be stored",
    }.items()
]


def inject(world: World, phase: Phase) -> Iterator[None]:
    def restart() -> None:
        world.server.kill()
        world.server.start()

    world.lost(count=3)
    world.at(phase, restart)
    yield
