"""What `--since` cannot see is not claimed: the report has to say so."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import dated, since
from tests.faults.world import World

FAULT = Fault(
    name="backdated outside the window",
    about="a row dated before `--since`: not claimed, and the report says so",
    modes=(4,),
    right=CLEAR,
    asks=("--since", "1h"),
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    dated(world, "now() - interval '2 years'")
    since(world, "1 hour")
    yield
    assert any("backdated" in words or "dated before" in words for words in world.told().of("item")["window"]["cannot_see"])
