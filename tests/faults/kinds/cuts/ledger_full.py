"""No event can be stored any more: to the one who stores, a full disk is this error."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import WITHHELD, Fault
from tests.faults.world import World

FAULT = Fault(
    name="ledger full",
    about="the ledger has no room for what the log says",
    modes=(87,),
    right=WITHHELD,
    names="No space left on device",
)


def inject(world: World) -> Iterator[None]:
    assert world.run("gaps").code in (0, 3)  # the ledger is there
    with psycopg.connect(world.target) as db:
        db.execute(
            "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        db.execute("CREATE TRIGGER full_disk BEFORE INSERT ON fencepost.segment EXECUTE FUNCTION no_space()")
    world.live(10, lossy=False)
    world.lost(count=2)
    yield
    with psycopg.connect(world.target) as db:
        db.execute("DROP FUNCTION no_space CASCADE")
