"""The DSNs of source and registry stand in each other's place."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import NO_VERDICT, Fault
from tests.faults.world import World

FAULT = Fault(
    name="sides swapped",
    about="source and registry are swapped in the settings",
    modes=(67,),
    right=NO_VERDICT,
    writes=False,
)


def inject(world: World) -> Iterator[None]:
    world.extra = {
        **world.extra,
        "source/dsn": world.wired("source", world.target),
        "registry/dsn": world.wired("registry", world.source),
    }
    yield
