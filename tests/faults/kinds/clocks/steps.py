"""Our clock and the servers' are hours apart, and we live in another zone (libfaketime).

What is asked for is decided by the source server's clock: a row just inside of `--since` must be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.kinds.dates.steps import dated, since
from tests.faults.world import World


def skewed(world: World, hours: int, zone: str) -> Iterator[None]:
    """Our clock is ahead of the servers' by `hours`."""
    world.clock.set(-hours)
    near = dated(world, "now() - interval '71 hours 55 minutes'")
    dated(world, "now() - interval '72 hours 5 minutes'")
    dated(world, "now() - interval '5 years'")
    world.lost(count=2)
    since(world, "72 hours")
    world.apart = True
    world.variables = world.variables | {"TZ": zone}
    yield
    assert near in world.registered()["item"], world.told()
    world.clock.set(0)
