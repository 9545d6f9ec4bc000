"""Half of the rows cannot be missed by whoever cannot see them; the other data type is judged all the same."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, Fault
from tests.faults.roles import plain_reader
from tests.faults.world import World

FAULT = Fault(
    name="row-level security",
    about="a policy hides half of the rows from our role",
    modes=(12,),
    right=CANNOT_TELL,
    names="row-level security",
)


def inject(world: World) -> Iterator[None]:
    with plain_reader(world):
        with psycopg.connect(world.source) as db:
            db.execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
            db.execute("CREATE POLICY half ON items USING (id % 2 = 0)")
        world.lost(count=4)
        yield
        assert world.told().of("part")["verdict"] == "CLEAR", world.told()
        with psycopg.connect(world.source) as db:
            db.execute("DROP POLICY half ON items")
            db.execute("ALTER TABLE items DISABLE ROW LEVEL SECURITY")
