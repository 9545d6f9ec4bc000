"""A bulk load gives thousands of rows one time: whoever reads on behind the last time he saw loses the rest of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault
from tests.faults.kinds.dates.steps import since
from tests.faults.world import World

FAULT = Fault(
    name="rows of one instant",
    about="ten thousand rows of one creation time, in an index on it, with `--since 1h`; a hundred are not registered",
    modes=(16,),
    right=CLEAR,
    asks=("--since", "1h"),
    mended=None,
    own=True,
)


def inject(world: World) -> Iterator[None]:
    first = world.new_id() + 1
    world.next_id += 10_000
    with psycopg.connect(world.source) as db, psycopg.connect(world.target) as target:
        db.execute("CREATE INDEX ON items (created_at)")
        db.execute(
            "INSERT INTO items SELECT generate_series(%s::int, %s::int), NULL, now() - interval '1 min'", [first, first + 9_999]
        )
        target.execute(
            "INSERT INTO item_registry (item_id, state)"
            " SELECT n, 2 FROM generate_series(%s::int, %s::int) n WHERE n %% 100 <> 7",
            [first, first + 9_999],
        )
    since(world, "1 hour")
    yield
    assert {str(n) for n in range(first, first + 10_000) if n % 100 == 7} <= world.registered()["item"], world.told()
