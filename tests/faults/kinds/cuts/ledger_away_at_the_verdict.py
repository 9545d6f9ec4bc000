"""The rows are written, the verdict cannot be stored: nothing may be said that nobody can read again."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import NO_VERDICT, Fault
from tests.faults.phases import Phase
from tests.faults.tap import Cut
from tests.faults.world import World

FAULT = Fault(
    name="ledger away at the verdict",
    about="the ledger cannot be reached when the verdict is to be stored",
    modes=(64,),
    right=NO_VERDICT,
)


def inject(world: World) -> Iterator[None]:

    def refuse() -> None:
        world.taps["ledger"].refuse()
        raise Cut

    world.lost()
    world.at(Phase.VERDICT, refuse)
    yield
    world.taps["ledger"].accept()
