"""The settings name the table without its schema, and there are two of that name."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, CLEAR_OR_GAPS, NO_VERDICT, Fault
from tests.faults.kinds.tables.steps import twin
from tests.faults.world import World

FAULT = Fault(
    name="twin table, no schema given",
    about="the same, and the settings name the table without its schema",
    modes=(12, 14),
    right=NO_VERDICT | CANNOT_TELL | CLEAR_OR_GAPS,
)


def inject(world: World) -> Iterator[None]:
    world.extra = {**world.extra, "data_types/item/source/table": "items"}
    yield from twin(world)
