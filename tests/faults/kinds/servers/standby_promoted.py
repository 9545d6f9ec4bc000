"""It has a history of its own from now on, under the same name: not the server that is meant."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CANNOT_TELL, POSTGRES, Fault
from tests.faults.kinds.servers.steps import at, standby
from tests.faults.world import World

FAULT = Fault(
    name="standby promoted",
    about="the DSN of the source leads to a promoted copy of the server that was recorded",
    modes=(11, 22),
    right=CANNOT_TELL,
    writes=False,
    stops=POSTGRES,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("gaps").code in (0, 3)  # whom we mean is recorded
    with standby(world) as server:
        server.promote()
        world.extra |= {"source/dsn": at(world, world.wired("source", world.source), server)}
        yield
