"""The broker dies and comes back within the run: none of its errors may be taken for the end of the log."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, CLEAR, KAFKA, WITHHELD, Fault
from tests.faults.kinds.servers.steps import strike_the_broker
from tests.faults.phases import Phase
from tests.faults.world import World

FAULTS = [
    Fault(
        name=name,
        about=f"the broker is killed {words}, and comes back",
        modes=(42,),
        right=right,
        given=(phase,),
        stops=KAFKA,
        slow=phase not in (Phase.FENCE, Phase.LOG),
    )
    for name, phase, words, right in (
        ("broker restarted", Phase.FENCE, "before the log is read", CLEAR | CANNOT_TELL),  # it may not answer yet
        # Held up for long, a session is ended by its own idle timeout.
        ("broker restarted: log", Phase.LOG, "while events are stored", CLEAR | WITHHELD),
        ("broker restarted: compare", Phase.COMPARE, "in the middle of the compare", CLEAR | WITHHELD),
        ("broker restarted: insert", Phase.INSERT, "at the first insert", CLEAR | WITHHELD),
    )
]


def inject(world: World, phase: Phase) -> Iterator[None]:
    yield from strike_the_broker(world, phase, comes_back=True)
