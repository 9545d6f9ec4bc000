"""The primary is gone, and with it rows whose events had left already; the new one gives their ids to other rows, for which log
and registry would vouch."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CANNOT_TELL, POSTGRES, Fault
from tests.faults.kinds.servers.steps import at, standby
from tests.faults.world import ITEM, World

FAULT = Fault(
    name="failover",
    about="a standby that lacked the last rows was promoted, and their ids, announced and registered, are other rows there",
    modes=(21, 22),
    right=CANNOT_TELL,
    writes=False,
    names="timeline",
    stops=POSTGRES,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("cutover").code == 0  # whom we mean is recorded
    with standby(world) as server:
        server.cut_off()
        keys = world.lost(count=4)
        with psycopg.connect(world.target) as db:
            db.cursor().executemany("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [(key,) for key in keys])
        for key in keys:
            world.event(ITEM, key)
        world.flush()
        assert world.run("track", "--until-end").code == 0
        server.promote()
        with psycopg.connect(at(world, world.source, server)) as db:
            db.cursor().executemany("INSERT INTO items (id, note) VALUES (%s, 'another')", [(key,) for key in keys])
        world.extra |= {"source/dsn": at(world, world.wired("source", world.source), server)}
        yield
