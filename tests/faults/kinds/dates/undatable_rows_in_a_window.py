"""Within `--since 1h`: whatever no clock can place is looked at all the same."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import dated, since
from tests.faults.world import World

FAULT = Fault(
    name="undatable rows in a window",
    about="rows without a date, infinite or in the future, with `--since 1h`",
    modes=(5, 7),
    right=CLEAR,
    asks=("--since", "1h"),
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    keys = {dated(world, expression) for expression in ("NULL", "'infinity'", "now() + interval '1 year'")}
    near = dated(world, "now() - interval '55 minutes'")
    since(world, "1 hour")
    yield
    assert keys | {near} <= world.registered()["item"], world.told()
