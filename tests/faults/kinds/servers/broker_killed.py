"""The log is away from some moment on. The rows are judged all the same, or the verdict is withheld."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, KAFKA, WITHHELD, Fault
from tests.faults.kinds.servers.steps import strike_the_broker
from tests.faults.phases import Phase
from tests.faults.world import World

FAULTS = [
    Fault(
        name=f"broker killed: {phase.name.lower()}",
        about=f"the broker is killed {words}, and stays away",
        modes=(15,),
        right=WITHHELD | CLEAR,
        given=(phase,),
        asks=("--wait", "3s"),
        stops=KAFKA,
        slow=phase not in (Phase.LOG, Phase.COMPARE),
    )
    for phase, words in {
        Phase.FENCE: "before the log is read",
        Phase.LOG: "while events are stored",
        Phase.COMPARE: "in the middle of the compare",
        Phase.INSERT: "at the first insert",
        Phase.VERDICT: "when the verdict is to be stored",
    }.items()
]


def inject(world: World, phase: Phase) -> Iterator[None]:
    yield from strike_the_broker(world, phase, comes_back=False)
