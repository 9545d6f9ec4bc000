"""Our clock and the servers' are hours apart, in other time zones; one may even step back in the middle (libfaketime).

What is asked for is decided by the source server's clock: a row just inside of `--since` must be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault, Inject
from tests.faults.kinds.dates import dated, since
from tests.faults.phases import Phase
from tests.faults.world import World


def skewed(hours: int, zone: str, then: int | None = None) -> Inject:
    """Our clock is ahead of the servers' by `hours`, and from the first compare on by `then`; we live in `zone`."""

    def inject(world: World) -> Iterator[None]:
        world.clock.set(-hours)
        near = dated(world, "now() - interval '71 hours 55 minutes'")
        dated(world, "now() - interval '72 hours 5 minutes'")
        dated(world, "now() - interval '5 years'")
        world.lost(count=2)
        since(world, "72 hours")
        world.apart = True
        world.variables = world.variables | {"TZ": zone}
        if then is not None:
            world.at(Phase.COMPARE, lambda: world.clock.set(-then))
        yield
        assert near in world.registered()["item"], world.told()
        world.clock.set(0)

    return inject


FAULTS = {
    "clock steps back": Fault(
        about="our clock is seven hours ahead of the servers', and steps back by fourteen in the middle of the compare",
        modes=(6, 7),
        inject=skewed(7, "Asia/Tokyo", -7),
        right=CLEAR,
        asks=("--since", "72h"),
        mended=None,
        stops=frozenset({"clock"}),
    ),
    **{
        f"our clock {words}": Fault(
            about=f"our clock is {abs(hours)} hours {words} the servers', and our zone is {zone}",
            modes=(6, 7),
            inject=skewed(hours, zone),
            right=CLEAR,
            asks=("--since", "72h"),
            mended=None,
            stops=frozenset({"clock"}),
            slow=True,
        )
        for words, hours, zone in (("ahead of", 30, "America/Los_Angeles"), ("behind", -30, "Europe/Berlin"))
    },
}
