"""The log is read once; then more is announced, and deleted by retention before anybody reads it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.log.steps import overtaken
from tests.faults.world import World

FAULT = Fault(
    name="retention was faster",
    about="records are deleted before they were read",
    modes=(31, 32),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    yield from overtaken(world)
