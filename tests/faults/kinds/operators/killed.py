"""`kill -9` of one cutover right before a statement. The next run finishes, and doubles nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from tests.faults.beside import Child
from tests.faults.contract import CLEAR, Fault
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"killed: {phase.name.lower()}",
        about=f"`kill -9` of a cutover {words}; judged is the next run",
        modes=(64,),
        right=CLEAR,
        given=(phase,),
    )
    for phase, words in {
        Phase.LOG: "while events are stored",
        Phase.INSERT: "at the first insert",
        Phase.AGAIN: "before the second compare",
        Phase.VERDICT: "when the verdict is to be stored",
    }.items()
]


def inject(world: World, phase: Phase) -> Iterator[None]:
    world.lost(count=4)
    world.baseline = world.registered()
    children: list[Child] = []

    def kill() -> None:
        children[0].process.kill()
        raise Cut

    world.at(phase, kill)
    with world.process("cutover") as child:
        children.append(child)
        assert child.ended().code == -signal.SIGKILL, child.err.read_text()
    assert not world.forget(), f"nobody was killed at {phase.name}"
    world.kills += 1
    world.lease_over()
    yield
