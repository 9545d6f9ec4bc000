"""Committed records of others stand behind the open transaction, and cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import pinned
from tests.faults.world import World

FAULT = Fault(
    name="open producer transaction",
    about="an open transaction hides committed records behind it",
    modes=(38,),
    right=CLEAR,
    asks=("--wait", "3s"),
)


def inject(world: World) -> Iterator[None]:
    yield from pinned(world)
