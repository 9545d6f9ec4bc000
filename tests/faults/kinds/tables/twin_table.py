"""An empty table of the same name stands first in the search path, with functions that shadow the server's."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.tables.steps import twin
from tests.faults.world import World

FAULT = Fault(
    name="twin table",
    about="`search_path` puts an empty twin, and shadowed functions, before the real table",
    modes=(12,),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    yield from twin(world)
