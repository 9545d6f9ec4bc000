"""Our snapshot is idle while the registry is asked: one that was ended must not be read on."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import WITHHELD, Fault
from tests.faults.kinds.cuts.steps import struck
from tests.faults.world import World

FAULT = Fault(
    name="idle timeout",
    about="`idle_in_transaction_session_timeout` ends the snapshot while the other side is asked",
    modes=(15,),
    right=WITHHELD,
)


def inject(world: World) -> Iterator[None]:
    yield from struck(world, "idle_in_transaction_session_timeout")
