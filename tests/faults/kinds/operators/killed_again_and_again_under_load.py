"""Cutovers are killed one after the other at random moments, while rows come, go and come back."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.beside import Aside, Child
from tests.faults.contract import CLEAR, Fault
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World

FAULT = Fault(
    name="killed again and again under load",
    about="six cutovers in a row are killed, beside writers; judged is the seventh",
    modes=(26, 60, 64),
    right=CLEAR,
    slow=True,
)


def inject(world: World) -> Iterator[None]:
    world.baseline = world.registered()
    for phase in world.rng.choices([Phase.FENCE, Phase.LOG, Phase.SLICES, Phase.COMPARE, Phase.INSERT, Phase.AGAIN], k=6):
        world.live(15)
        world.lost(count=2)
        children: list[Child] = []

        def kill(children: list[Child] = children) -> None:
            children[0].process.kill()
            raise Cut

        load = Aside(lambda: world.live(10))
        world.at(phase, kill)
        with world.process("cutover") as child:
            children.append(child)
            child.ended()
        load.join()
        world.kills += len(world.forget()) == 0
        world.lease_over()
    world.removed = {name: keys - world.registered()[name] for name, keys in world.baseline.items()}
    yield
