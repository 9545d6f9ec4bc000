"""A snapshot that was ended must not be read on, however busy it was."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import WITHHELD, Fault
from tests.faults.kinds.cuts.steps import struck
from tests.faults.world import World

FAULT = Fault(
    name="transaction timeout",
    about="`transaction_timeout` ends the snapshot in the middle of the compare",
    modes=(15,),
    right=WITHHELD,
)


def inject(world: World) -> Iterator[None]:
    yield from struck(world, "transaction_timeout")
