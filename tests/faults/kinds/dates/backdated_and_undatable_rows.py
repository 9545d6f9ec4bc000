"""Without `--since` a date decides nothing: every row is looked at."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import dated
from tests.faults.world import World

FAULT = Fault(
    name="backdated and undatable rows",
    about="rows dated two years ago, before all times, NULL, infinite, in the future; no `--since`",
    modes=(4, 5),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    for _ in range(5):
        dated(world, "now() - interval '2 years'")
    for expression in ("NULL", "'infinity'", "'-infinity'", "now() + interval '1 year'", "'4713-01-01 BC'"):
        dated(world, expression)
    yield
