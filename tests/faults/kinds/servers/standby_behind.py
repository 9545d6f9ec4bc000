"""The last rows are on the primary, and not on the server that is read."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import POSTGRES, WITHHELD, Fault
from tests.faults.kinds.servers.steps import at, standby
from tests.faults.world import World

FAULT = Fault(
    name="standby behind",
    about="the source is a standby whose replay stands still",
    modes=(9,),
    right=WITHHELD,
    asks=("--wait", "1s"),
    stops=POSTGRES,
)


def inject(world: World) -> Iterator[None]:
    with standby(world) as server:
        server.pause_replay()
        world.lost(count=3)
        dsn = world.wired("source", world.source)
        world.extra |= {"source/dsn": at(world, dsn, server), "source/kind": "standby", "source/primary": dsn}
        yield
